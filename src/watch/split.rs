//! Splits a set or an activation into messages.
//!
//! Pure. Invariant: no message is larger than `MESSAGE_MAX_BYTES`, provided that one bundle fits, which every bundle does.

use std::ops::Range;

use crate::domain::bundle::Bundle;
use crate::domain::limits::{CONTENT_MAX_BYTES, MESSAGE_MAX_BYTES, STATEMENT_MAX_BYTES};

/// Maximal size of a bundle's message besides content and manifest: name, label, digest, media type and their framing.
const BUNDLE_OVERHEAD_BYTES: usize = 1024;
// As a token, a manifest is larger by a third and a header.
const _: () = assert!(CONTENT_MAX_BYTES + 2 * STATEMENT_MAX_BYTES + BUNDLE_OVERHEAD_BYTES <= MESSAGE_MAX_BYTES);

/// Returns the maximal size of a bundle in a message, in bytes.
pub(super) fn bundle_bytes(bundle: &Bundle, metadata_only: bool) -> usize {
    let content = if metadata_only { 0 } else { bundle.content.len() };
    content + bundle.version.manifest.len() + BUNDLE_OVERHEAD_BYTES
}

/// Splits items of these sizes into messages, in order. The last message, which may be empty, has `end_bytes` left; the others are never
/// empty.
pub(super) fn split(sizes: impl Iterator<Item = usize>, end_bytes: usize) -> Vec<Range<usize>> {
    let (mut parts, mut start, mut end, mut part_bytes) = (Vec::new(), 0, 0, 0);
    for size in sizes {
        if part_bytes > 0 && part_bytes + size > MESSAGE_MAX_BYTES {
            parts.push(start..end);
            (start, part_bytes) = (end, 0);
        }
        part_bytes += size;
        end += 1;
    }
    if end_bytes > 0 && part_bytes > 0 && part_bytes + end_bytes > MESSAGE_MAX_BYTES {
        parts.push(start..end);
        start = end;
    }
    parts.push(start..end);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    #[test]
    fn a_message_is_full_before_the_next_begins() {
        let check = |sizes: &[usize], end_bytes, expected: &[usize]| {
            let parts = split(sizes.iter().copied(), end_bytes);
            let counts: Vec<usize> = parts.iter().map(ExactSizeIterator::len).collect();
            assert_eq!(counts, expected, "{sizes:?}");
            assert_eq!(parts.iter().map(|part| part.start).collect::<Vec<_>>(), starts(&counts));
        };
        check(&[], 0, &[0]);
        check(&[10, 20], 30, &[2]);
        check(&[MIB, MIB, 1], 0, &[2, 1]);
        check(&[MIB, MIB], 1, &[2, 0]);
        check(&[MIB, MIB], 0, &[2]);
        check(&[MIB, MIB / 2], MIB / 2, &[2]);
        check(&[2 * MIB, 2 * MIB], 0, &[1, 1]);
    }

    /// Returns the start of each part when the parts follow one another.
    fn starts(counts: &[usize]) -> Vec<usize> {
        let before = |index| counts.iter().take(index).sum();
        (0..counts.len()).map(before).collect()
    }
}
