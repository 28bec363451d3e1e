//! Reads a list page by page, up to a limit.

use crate::cli::output::document::{Format, say};
use crate::client::{ClientError, PageGuard};

/// Largest page that is requested.
const PAGE_ITEMS: usize = 500;

/// Returns items until the limit or the end, and the token of the next page, empty at the end.
///
/// `page` takes a token and a size, and returns the items and the next token.
///
/// # Errors
/// `page` fails, or the pages do not end.
pub async fn collect<T>(
    limit: usize,
    mut page: impl AsyncFnMut(String, i32) -> Result<(Vec<T>, String), ClientError>,
) -> Result<(Vec<T>, String), ClientError> {
    let mut items = Vec::new();
    let mut token = String::new();
    let mut guard = PageGuard::default();
    while items.len() < limit {
        let size = i32::try_from((limit - items.len()).min(PAGE_ITEMS)).unwrap_or(i32::MAX);
        let (more, next) = page(token, size).await?;
        let leads_on = guard.leads_on(more.len(), &next)?;
        items.extend(more);
        items.truncate(limit);
        token = next;
        if !leads_on {
            break;
        }
    }
    Ok((items, token))
}

/// Says that a list ends before its last item, when people read it; a document has the token of the next page.
pub fn say_if_cut(format: Format, shown: usize, next_page_token: &str, next: &str) {
    if format == Format::Text && !next_page_token.is_empty() {
        say(&format!("only the first {shown} are shown: {next}"));
    }
}

/// What shows more of a list that is cut.
pub const HIGHER_LIMIT: &str = "a higher --limit shows more";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::EMPTY_PAGES_MAX;

    #[tokio::test]
    async fn pages_are_read_up_to_the_limit() {
        let numbers = async |limit: usize| {
            collect(limit, async |token: String, size: i32| {
                let from: i32 = token.parse().unwrap_or(0);
                let to = (from + size.min(2)).min(5);
                Ok(((from..to).collect(), if to == 5 { String::new() } else { to.to_string() }))
            })
            .await
            .expect("pages")
        };
        assert_eq!(numbers(9).await, (vec![0, 1, 2, 3, 4], String::new()));
        assert_eq!(numbers(3).await, (vec![0, 1, 2], "3".to_owned()));
        assert_eq!(numbers(0).await, (vec![], String::new()));
    }

    #[tokio::test]
    async fn pages_of_nothing_end() {
        let mut asked = 0;
        let pages = async |_: String, _| {
            asked += 1;
            Ok((Vec::<i32>::new(), asked.to_string()))
        };
        let error = collect(9, pages).await.expect_err("no end");
        assert!(error.to_string().contains("pages of nothing") && asked == EMPTY_PAGES_MAX + 1, "{asked}: {error}");
    }

    #[tokio::test]
    async fn a_token_that_comes_back_is_an_error() {
        let error = collect(9, async |_, _| Ok((vec![0], "same".to_owned()))).await.expect_err("no end");
        assert!(error.to_string().contains("the same page again"), "{error}");
        let (items, token) = collect(2, async |_, _| Ok((vec![0, 1], "same".to_owned()))).await.expect("a page");
        assert_eq!((items.len(), token.as_str()), (2, "same"), "no more was asked for");
    }
}
