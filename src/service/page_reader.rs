//! A page whose items may be large, read in small parts: a call holds little more than its answer can carry.

use crate::domain::command::{Listed, Page};
use crate::domain::limits::MESSAGE_MAX_BYTES;

/// Items of one statement. More: what is read beyond the end of the answer is larger. Fewer: a long page takes more statements.
const ITEMS_PER_QUERY: u32 = 100;

/// A page on its way.
pub(super) struct PageReader<K, T> {
    page: Page<K>,
    items: Vec<T>,
    bytes: usize,
    is_last: bool,
}

impl<K: Clone, T> PageReader<K, T> {
    pub fn new(page: &Page<K>) -> Self {
        Self { page: page.clone(), items: Vec::new(), bytes: 0, is_last: false }
    }

    /// Returns what to read next; none when the page is full, or the list ended.
    pub fn next(&self) -> Option<Page<K>> {
        let read = u32::try_from(self.items.len()).unwrap_or(u32::MAX);
        let size = self.page.size.saturating_sub(read).min(ITEMS_PER_QUERY);
        let is_over = self.is_last || size == 0 || self.bytes > MESSAGE_MAX_BYTES;
        (!is_over).then(|| Page { size, after: self.page.after.clone() })
    }

    /// Adds what was read of `asked`; `measure` returns the key of an item and, roughly, its size in bytes.
    pub fn add(&mut self, asked: &Page<K>, found: Vec<T>, measure: impl Fn(&T) -> (K, usize)) {
        self.is_last = found.len() < asked.size as usize;
        for item in found {
            let (key, bytes) = measure(&item);
            self.page.after = Some(key);
            self.bytes = self.bytes.saturating_add(bytes);
            self.items.push(item);
        }
    }

    pub fn done(self) -> Listed<T> {
        Listed { items: self.items, is_last: self.is_last }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a page of a list of items that all have one size. Returns how many were read, in how many statements, and whether
    /// the list ended.
    fn read(list: u32, size: u32, item_bytes: usize) -> (usize, usize, bool) {
        let (mut reader, mut statements) = (PageReader::new(&Page { size, after: None }), 0);
        while let Some(asked) = reader.next() {
            let from = asked.after.map_or(0, |after: u32| after + 1);
            let found: Vec<u32> = (from..list.min(from + asked.size)).collect();
            reader.add(&asked, found, |item| (*item, item_bytes));
            statements += 1;
        }
        let Listed { items, is_last } = reader.done();
        assert!(items.iter().copied().eq(0..u32::try_from(items.len()).unwrap()), "in order, each once");
        (items.len(), statements, is_last)
    }

    #[test]
    fn a_page_is_read_until_it_is_full_or_large_enough() {
        assert_eq!(read(7, 50, 10), (7, 1, true));
        assert_eq!(read(50, 50, 10), (50, 1, false), "nobody knows yet that it was the last one");
        assert_eq!(read(1_000, 250, 10), (250, 3, false));
        assert_eq!(read(1_000, 1_000, 100 * 1024), (100, 1, false));
        assert_eq!(read(1_000, 1_000, 10 * 1024), (300, 3, false));
        assert_eq!(read(0, 10, 1), (0, 1, true));
    }
}
