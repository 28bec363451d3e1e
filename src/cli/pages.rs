//! Reading a list page by page, up to a limit.

use crate::client::ClientError;

/// Largest page asked for.
const PAGE_ITEMS: usize = 500;

/// Items until the limit or the end, and the token of what was left, empty at the end.
///
/// `page` takes a token and a size, and answers the items and the next token.
pub async fn collect<T>(
    limit: usize,
    mut page: impl AsyncFnMut(String, i32) -> Result<(Vec<T>, String), ClientError>,
) -> Result<(Vec<T>, String), ClientError> {
    let mut items = Vec::new();
    let mut token = String::new();
    while items.len() < limit {
        let size = i32::try_from((limit - items.len()).min(PAGE_ITEMS)).unwrap_or(i32::MAX);
        let (more, next) = page(token.clone(), size).await?;
        items.extend(more);
        // A token that comes back would ask for the same page for ever.
        let stuck = next == token;
        token = next;
        if token.is_empty() || stuck {
            break;
        }
    }
    Ok((items, token))
}

#[cfg(test)]
mod tests {
    use super::*;

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
    async fn a_token_that_comes_back_ends_it() {
        let (items, _) = collect(9, async |_, _| Ok((vec![0], "same".to_owned()))).await.expect("pages");
        assert_eq!(items.len(), 2);
    }
}
