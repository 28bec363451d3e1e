//! Page sizes and page tokens (AIP-158), and where a page ends: after its last item, or before it gets too large.
//!
//! A token holds a hash of the list it belongs to, and the key its page ended at. It is no secret; one of another list is
//! refused. Invariant: no page is above `MESSAGE_MAX_BYTES`, as far as one item fits into it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message;

use crate::domain::command::{ListPage, PageRequest};
use crate::domain::digest::short_hash;
use crate::domain::limits::{MESSAGE_MAX_BYTES, PAGE_DEFAULT_ITEMS, PAGE_MAX_ITEMS};
use crate::domain::{Error, Reason, Result};

/// Longest token: the longest key fits, which has a checkpoint.
const TOKEN_MAX_CHARS: usize = 4 * 1024;
/// Bounds what an answer has beside items and token: cursors, times, flags, and an id of a store.
const PAGE_FIELDS_MAX_BYTES: usize = 1024;
/// Bounds what a field takes in a message beside its value: its number, and its length of up to 2 MiB.
pub const FIELD_OVERHEAD_BYTES: usize = 6;

/// A list: a hash of its RPC, its parent and all that decides its order and content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListIdentity(String);

/// Says where the read for a page ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageEnd {
    /// The key at which the read ended; none at the end of the list.
    pub key: Option<String>,
    /// Holds what the answer has beside the items, beyond the fixed fields and the token.
    pub beside_bytes: usize,
}

impl PageEnd {
    /// Returns the end of a read that took the list up to a key, and to its end when `is_last`.
    #[must_use]
    pub fn at(key: Option<String>, is_last: bool) -> Self {
        Self { key: key.filter(|_| !is_last), beside_bytes: 0 }
    }
}

impl ListIdentity {
    /// Names a list. Two with the same parts are the same list.
    #[must_use]
    pub fn new<'a>(parts: impl IntoIterator<Item = &'a str>) -> Self {
        Self(short_hash(parts.into_iter().map(str::as_bytes)))
    }

    /// Reads `page_size` and `page_token`; `key` reads where the page before ended.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a negative size, `INVALID_PAGE_TOKEN`.
    pub fn page<T>(&self, size: i32, token: &str, key: impl Fn(&str) -> Option<T>) -> Result<PageRequest<T>> {
        let size = match u32::try_from(size) {
            Ok(0) => PAGE_DEFAULT_ITEMS,
            Ok(size) => size.min(PAGE_MAX_ITEMS),
            Err(_) => return Err(Error::invalid("page_size", "must not be negative")),
        };
        if token.is_empty() {
            return Ok(PageRequest { size, after: None });
        }
        let after = self.open(token).and_then(|text| key(&text)).ok_or_else(|| {
            Error::new(Reason::InvalidPageToken, "page_token is not one of this list; start without it")
        })?;
        Ok(PageRequest { size, after: Some(after) })
    }

    fn open(&self, token: &str) -> Option<String> {
        if token.len() > TOKEN_MAX_CHARS {
            return None;
        }
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        let (list, key) = text.split_once(' ')?;
        (list == self.0).then(|| key.to_owned())
    }

    /// Returns the token of the page after one that ended at a key.
    #[must_use]
    pub fn token(&self, key: &str) -> String {
        URL_SAFE_NO_PAD.encode(format!("{} {key}", self.0))
    }

    /// Answers a page: what was read for it, as `write` puts it on the wire, as far as it fits, and the token of the page after it.
    pub fn answer<K: ToString, S, T: Message>(
        &self,
        read: ListPage<K, S>,
        key: impl Fn(&S) -> String,
        write: impl Fn(S) -> T,
    ) -> (Vec<T>, String) {
        let end = PageEnd::at(read.reached.as_ref().map(ToString::to_string), read.is_last);
        self.fill(read.items.into_iter().map(|item| (key(&item), write(item))), end)
    }

    /// Fills a page with as many of the items found, each after its key, as fit into an answer, the first one in any case.
    /// Returns with them the token of the next page; empty on the last one.
    #[must_use]
    pub fn fill<T: Message>(&self, found: impl IntoIterator<Item = (String, T)>, end: PageEnd) -> (Vec<T>, String) {
        let room = (MESSAGE_MAX_BYTES - TOKEN_MAX_CHARS - PAGE_FIELDS_MAX_BYTES).saturating_sub(end.beside_bytes);
        let (mut items, mut last, mut left) = (Vec::new(), None::<String>, PageBudget(room));
        for (key, item) in found {
            if !left.takes(&item) && last.is_some() {
                return (items, last.map(|key| self.token(&key)).unwrap_or_default());
            }
            items.push(item);
            last = Some(key);
        }
        (items, end.key.map(|key| self.token(&key)).unwrap_or_default())
    }
}

/// Takes as many of the first items as fit into some bytes of an answer.
#[must_use]
pub fn first_that_fit<T: Message>(items: Vec<T>, room_bytes: usize) -> Vec<T> {
    let mut room = PageBudget(room_bytes);
    items.into_iter().take_while(|item| room.takes(item)).collect()
}

/// Says how many bytes of an answer are left.
struct PageBudget(usize);

impl PageBudget {
    /// Takes the bytes of an item, if it fits.
    fn takes(&mut self, item: &impl Message) -> bool {
        let left = self.0.checked_sub(item.encoded_len() + FIELD_OVERHEAD_BYTES);
        self.0 = left.unwrap_or_default();
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(list: &ListIdentity, sizes: &[usize], end: PageEnd) -> (usize, String) {
        let found = sizes.iter().enumerate().map(|(at, size)| (at.to_string(), "x".repeat(*size)));
        let (items, token) = list.fill(found, end);
        let key = list.page(1, &token, |key| Some(key.to_owned())).ok().and_then(|page| page.after);
        (items.len(), key.unwrap_or_default())
    }

    #[test]
    fn a_page_ends_before_it_is_too_large() {
        let list = ListIdentity::new(["l"]);
        let more = |beside_bytes| PageEnd { key: Some("end".to_owned()), beside_bytes };
        let kib = |count: usize| count * 1024;
        assert_eq!(fill(&list, &[10, 20, 30], PageEnd::default()), (3, String::new()), "the last page");
        assert_eq!(fill(&list, &[10, 20, 30], more(0)), (3, "end".to_owned()));
        assert_eq!(fill(&list, &[], more(0)), (0, "end".to_owned()));
        assert_eq!(fill(&list, &[kib(1000), kib(1000), kib(1000)], PageEnd::default()), (2, "1".to_owned()));
        assert_eq!(fill(&list, &[kib(1000), kib(1000)], more(kib(100))), (1, "0".to_owned()));
        assert_eq!(fill(&list, &[kib(3000), 1], PageEnd::default()), (1, "0".to_owned()), "one item is always there");
        assert_eq!(first_that_fit(vec!["x".repeat(40), "y".repeat(40)], 100).len(), 2);
        assert_eq!(first_that_fit(vec!["x".repeat(40), "y".repeat(60), String::new()], 100).len(), 1);
    }

    #[test]
    fn tokens_belong_to_one_list() {
        let list = ListIdentity::new(["ListVersions", "p", "BASIC"]);
        let number = |text: &str| text.parse::<i64>().ok();
        let token = list.token("7");
        assert_eq!(list.page(10, &token, number).ok(), Some(PageRequest { size: 10, after: Some(7) }));
        let others =
            [ListIdentity::new(["ListVersions", "q", "BASIC"]), ListIdentity::new(["ListVersions", "pBASIC", ""])];
        let wrong = others.iter().map(|other| (other, token.as_str()));
        for (list, token) in wrong.chain([(&list, "?"), (&list, "AAAA"), (&list, "a 7")]) {
            let error = list.page(10, token, number).err().map(|error| error.reason);
            assert_eq!(error, Some(Reason::InvalidPageToken), "{token}");
        }
    }

    #[test]
    fn sizes_are_bounded() {
        let list = ListIdentity::new(["l"]);
        let size = |asked| list.page(asked, "", |_| None::<i64>).map(|page| page.size).ok();
        assert_eq!((size(0), size(7), size(5_000), size(-1)), (Some(50), Some(7), Some(1_000), None));
    }
}
