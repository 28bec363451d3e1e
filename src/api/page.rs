//! Page sizes and page tokens (AIP-158).
//!
//! A token holds the list it belongs to and the key its page ended at. It is no secret; one of another list is refused.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::command::Page;
use crate::domain::limits::{PAGE_DEFAULT_ITEMS, PAGE_MAX_ITEMS};
use crate::domain::{Error, Reason, Result};

/// Longest token: the longest names, every filter, and the longest key, which has a checkpoint, fit.
const TOKEN_MAX_CHARS: usize = 4 * 1024;

/// A list: its RPC, its parent and all that decides its order and content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List(String);

impl List {
    /// Names a list. Two with the same parts are the same list.
    #[must_use]
    pub fn new(parts: &[&str]) -> Self {
        Self(parts.join("\n"))
    }

    /// Reads `page_size` and `page_token`; `key` reads where the page before ended.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a negative size, `INVALID_PAGE_TOKEN`.
    pub fn page<T>(&self, size: i32, token: &str, key: impl Fn(&str) -> Option<T>) -> Result<Page<T>> {
        let size = match u32::try_from(size) {
            Ok(0) => PAGE_DEFAULT_ITEMS,
            Ok(size) => size.min(PAGE_MAX_ITEMS),
            Err(_) => return Err(Error::invalid("page_size", "must not be negative")),
        };
        if token.is_empty() {
            return Ok(Page { size, after: None });
        }
        let after = self.open(token).and_then(|text| key(&text)).ok_or_else(|| {
            Error::new(Reason::InvalidPageToken, "page_token is not one of this list; start without it")
        })?;
        Ok(Page { size, after: Some(after) })
    }

    fn open(&self, token: &str) -> Option<String> {
        if token.len() > TOKEN_MAX_CHARS {
            return None;
        }
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        let (list, key) = text.rsplit_once('\n')?;
        (list == self.0).then(|| key.to_owned())
    }

    /// The token of the page after one that ended at `key`; empty when that page was not full.
    #[must_use]
    pub fn next(&self, full: bool, key: Option<String>) -> String {
        match key {
            Some(key) if full => URL_SAFE_NO_PAD.encode(format!("{}\n{key}", self.0)),
            _ => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_belong_to_one_list() {
        let list = List::new(&["ListVersions", "p", "BASIC"]);
        let number = |text: &str| text.parse::<i64>().ok();
        let token = list.next(true, Some("7".to_owned()));
        assert_eq!(list.page(10, &token, number).ok(), Some(Page { size: 10, after: Some(7) }));
        assert_eq!(list.next(false, Some("7".to_owned())), "");
        let other = List::new(&["ListVersions", "q", "BASIC"]);
        for (list, token) in [(&other, token.as_str()), (&list, "?"), (&list, "AAAA"), (&list, "a\n7")] {
            let error = list.page(10, token, number).err().map(|error| error.reason);
            assert_eq!(error, Some(Reason::InvalidPageToken), "{token}");
        }
    }

    #[test]
    fn sizes_are_bounded() {
        let list = List::new(&["l"]);
        let size = |asked| list.page(asked, "", |_| None::<i64>).map(|page| page.size).ok();
        assert_eq!((size(0), size(7), size(5_000), size(-1)), (Some(50), Some(7), Some(1_000), None));
    }
}
