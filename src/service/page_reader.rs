//! Reads a page whose items may be large in small parts, so that a call holds little more than its answer can carry.

use crate::domain::command::{ListPage, PageRequest};
use crate::domain::limits::MESSAGE_MAX_BYTES;

/// Number of items of one statement. More: more is read beyond the end of the answer. Fewer: a long page takes more statements.
const ITEMS_PER_QUERY: u32 = 100;

/// A page that is being read.
pub struct PageReader<K, T> {
    page: PageRequest<K>,
    items: Vec<T>,
    bytes: usize,
    is_last: bool,
    /// How many items may still be scanned, when only some of them are wanted.
    left: Option<usize>,
}

impl<K: Clone, T> PageReader<K, T> {
    pub fn new(page: &PageRequest<K>) -> Self {
        Self { page: page.clone(), items: Vec::new(), bytes: 0, is_last: false, left: None }
    }

    /// Creates the reader of a page. If `is_search`, some items may be left out, and at most `scanned_max` are scanned.
    pub fn searching(page: &PageRequest<K>, is_search: bool, scanned_max: usize) -> Self {
        Self { left: is_search.then_some(scanned_max), ..Self::new(page) }
    }

    /// Returns what to read next; none when the page is full, or the list ended.
    pub fn next(&self) -> Option<PageRequest<K>> {
        let read = u32::try_from(self.items.len()).unwrap_or(u32::MAX);
        let wanted = self.page.size.saturating_sub(read).min(ITEMS_PER_QUERY);
        let size = match self.left {
            // Only a few of the items that are read may be wanted.
            Some(left) if wanted > 0 => u32::try_from(left).unwrap_or(u32::MAX).min(ITEMS_PER_QUERY),
            _ => wanted,
        };
        let is_over = self.is_last || size == 0 || self.bytes > MESSAGE_MAX_BYTES;
        (!is_over).then(|| PageRequest { size, after: self.page.after.clone() })
    }

    /// Adds the wanted items of those read for `asked`; `measure` returns the key of an item and its approximate size in bytes.
    pub fn add(
        &mut self,
        asked: &PageRequest<K>,
        found: Vec<T>,
        measure: impl Fn(&T) -> (K, usize),
        is_wanted: impl Fn(&T) -> bool,
    ) {
        self.is_last = found.len() < asked.size as usize;
        self.left = self.left.map(|left| left.saturating_sub(found.len()));
        for item in found {
            if self.items.len() >= self.page.size as usize {
                // Items read beyond a full page are read again for the next one.
                self.is_last = false;
                return;
            }
            let (key, bytes) = measure(&item);
            self.page.after = Some(key);
            if is_wanted(&item) {
                self.bytes = self.bytes.saturating_add(bytes);
                self.items.push(item);
            }
        }
    }

    /// Returns the page, which ends at the last item that was scanned, whether it was added or not.
    pub fn done(self) -> ListPage<K, T> {
        ListPage { items: self.items, reached: self.page.after, is_last: self.is_last }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a page of a list of items that all have one size. Returns how many were read, in how many statements, and whether
    /// the list ended.
    fn read(list: u32, size: u32, item_bytes: usize) -> (usize, usize, bool) {
        let (mut reader, mut statements) = (PageReader::new(&PageRequest { size, after: None }), 0);
        while let Some(asked) = reader.next() {
            let from = asked.after.map_or(0, |after: u32| after + 1);
            let found: Vec<u32> = (from..list.min(from + asked.size)).collect();
            reader.add(&asked, found, |item| (*item, item_bytes), |_| true);
            statements += 1;
        }
        let ListPage { items, is_last, .. } = reader.done();
        assert!(items.iter().copied().eq(0..u32::try_from(items.len()).unwrap()), "in order, each once");
        (items.len(), statements, is_last)
    }

    #[test]
    fn a_search_ends_at_its_bound_and_goes_on_from_there() {
        let search = |size: u32, after: Option<u32>, scanned_max: usize| {
            let mut reader = PageReader::searching(&PageRequest { size, after }, true, scanned_max);
            while let Some(asked) = reader.next() {
                let from = asked.after.map_or(0, |after: u32| after + 1);
                let found: Vec<u32> = (from..1_000.min(from + asked.size)).collect();
                reader.add(&asked, found, |item| (*item, 1), |item| item % 150 == 0);
            }
            reader.done()
        };
        let listed =
            |reached, items: &[u32], is_last| ListPage { items: items.to_vec(), reached: Some(reached), is_last };
        assert_eq!(search(50, None, 250), listed(249, &[0, 150], false), "the bound");
        assert_eq!(search(50, Some(249), 250), listed(499, &[300, 450], false));
        assert_eq!(search(50, Some(949), 250), listed(999, &[], true), "the end of the list");
        assert_eq!(search(2, None, 1_000), listed(150, &[0, 150], false), "a full page");
        assert_eq!(search(2, Some(150), 1_000), listed(450, &[300, 450], false));
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
