//! Lists in pages: whether what a server answers leads to an end.
//!
//! Boundary: pure; it sees how many items a page has and the token of the next one, and keeps one token.

use tonic::Code;

use super::error::ClientError;

/// Most pages of nothing, one after the other, that still lead on. An honest server leaves out a few; one that answers them for ever
/// would keep a reader for ever.
pub const EMPTY_PAGES_MAX: u32 = 100;
/// Most items of one list. Whoever has more of something reads it in parts.
pub const LIST_ITEMS_MAX: u64 = 10_000_000;

/// A list that does not come to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EndlessList {
    /// Page follows page, and nothing is in them.
    #[error("the server answers pages of nothing without end")]
    Nothing,
    /// The token of a page is one that it answered before.
    #[error("the server answers the same page again and again; ask another replica, or its operator")]
    Again,
    /// More than `LIST_ITEMS_MAX`.
    #[error("the server answers more than {LIST_ITEMS_MAX} items in one list; ask for a part of it")]
    TooMany,
}

impl From<EndlessList> for ClientError {
    fn from(error: EndlessList) -> Self {
        Self::local(Code::Internal, error.to_string())
    }
}

/// Looks at each page of a list.
#[derive(Debug, Default)]
pub struct PageGuard {
    empty_pages: u32,
    pages: u64,
    items: u64,
    /// The token of the page whose number is the last power of two: it comes again when the tokens go round in a circle, however
    /// long that is.
    kept: String,
}

impl PageGuard {
    /// Returns whether another page follows one that brought so many items, with this token.
    ///
    /// # Errors
    /// Fails when the list would not come to an end.
    pub fn leads_on(&mut self, items: usize, next_page_token: &str) -> Result<bool, EndlessList> {
        self.items = self.items.saturating_add(items as u64);
        self.empty_pages = if items == 0 { self.empty_pages + 1 } else { 0 };
        if next_page_token.is_empty() {
            return Ok(false);
        }
        if self.pages > 0 && next_page_token == self.kept {
            return Err(EndlessList::Again);
        }
        if self.empty_pages > EMPTY_PAGES_MAX {
            return Err(EndlessList::Nothing);
        }
        if self.items > LIST_ITEMS_MAX {
            return Err(EndlessList::TooMany);
        }
        self.pages += 1;
        if self.pages.is_power_of_two() {
            next_page_token.clone_into(&mut self.kept);
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns after how many pages the list ends, and why.
    fn ends(items: usize, token: impl Fn(u64) -> String) -> (u64, Result<bool, EndlessList>) {
        let mut guard = PageGuard::default();
        for page in 1.. {
            match guard.leads_on(items, &token(page)) {
                Ok(true) => {}
                end => return (page, end),
            }
        }
        unreachable!("it has an end")
    }

    #[test]
    fn a_list_ends_where_its_server_says() {
        let token = |page: u64| if page == 5 { String::new() } else { page.to_string() };
        assert_eq!(ends(3, token), (5, Ok(false)));
    }

    #[test]
    fn tokens_that_go_round_in_a_circle_are_an_end() {
        assert_eq!(ends(1, |_| "same".to_owned()), (2, Err(EndlessList::Again)));
        for length in [2, 3, 7, 100] {
            let (pages, end) = ends(1, |page| (page % length).to_string());
            assert_eq!(end, Err(EndlessList::Again));
            assert!(pages <= 4 * length, "{pages} pages of {length}");
        }
    }

    #[test]
    fn pages_of_nothing_and_too_many_items_are_an_end() {
        assert_eq!(ends(0, |page| page.to_string()), (u64::from(EMPTY_PAGES_MAX) + 1, Err(EndlessList::Nothing)));
        let (pages, end) = ends(500, |page| page.to_string());
        assert_eq!((pages, end), (LIST_ITEMS_MAX / 500 + 1, Err(EndlessList::TooMany)));
    }
}
