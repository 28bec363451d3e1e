//! Heads of logs that were seen, and whether a head follows them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::digest::{Digest, Hash};
use crate::domain::event::{Cursor, Head};
use crate::domain::name::NamespaceId;
use crate::domain::{Error, Result};

/// The newest head seen of each namespace.
pub(in crate::store) type SeenHeads = BTreeMap<NamespaceId, SeenHead>;

/// A head that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WrittenHead", into = "WrittenHead")]
pub(in crate::store) struct SeenHead {
    pub cursor: Cursor,
    /// Hash of the event there; none in a file of a release that did not record it.
    pub hash: Option<Hash>,
}

/// A head that was seen, as the file of the high-water marks has it.
#[derive(Debug, Serialize, Deserialize)]
struct WrittenHead {
    epoch: i64,
    revision: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hash: Option<Digest>,
}

impl TryFrom<WrittenHead> for SeenHead {
    type Error = Error;

    fn try_from(WrittenHead { epoch, revision, hash }: WrittenHead) -> Result<Self> {
        let hash = hash.map(|hash| hash.to_sha256()).transpose()?;
        Ok(Self { cursor: Cursor { epoch, revision }, hash })
    }
}

impl From<SeenHead> for WrittenHead {
    fn from(SeenHead { cursor: Cursor { epoch, revision }, hash }: SeenHead) -> Self {
        Self { epoch, revision, hash: hash.map(|hash| Digest::from_sha256(&hash)) }
    }
}

impl From<Head> for SeenHead {
    fn from(head: Head) -> Self {
        Self { cursor: head.cursor, hash: Some(head.hash) }
    }
}

impl SeenHead {
    /// Describes why a head does not follow this one; none when it does, or when only the event at this cursor can show it.
    pub fn contradicts(&self, namespace: &NamespaceId, head: Head) -> Option<String> {
        if head.cursor < self.cursor {
            return Some(describe_truncated_log(namespace, head.cursor, self.cursor));
        }
        (head.cursor == self.cursor && self.differs(&head.hash)).then(|| describe_other_event(namespace, self.cursor))
    }

    /// Whether only the event at this cursor shows whether a head follows it: another event may have replaced it, and the log continued
    /// from that. Not in another epoch: there an operator has accepted the loss.
    pub fn needs_event_check(&self, head: Head) -> bool {
        self.hash.is_some()
            && self.cursor.revision > 0
            && head.cursor > self.cursor
            && head.cursor.epoch == self.cursor.epoch
    }

    /// Whether the event of this hash is not the one that was seen at the same cursor.
    pub fn differs(&self, hash: &Hash) -> bool {
        self.hash.is_some_and(|seen| seen != *hash)
    }
}

/// Describes a log whose event is not the one that was seen at its cursor.
pub(in crate::store) fn describe_other_event(namespace: &NamespaceId, at: Cursor) -> String {
    let (name, Cursor { epoch, revision }) = (namespace.name(), at);
    format!(
        "the log of {name} has another event at epoch {epoch}, revision {revision} than the one that was seen there"
    )
}

/// Describes a log that lost its tail.
pub(in crate::store) fn describe_truncated_log(namespace: &NamespaceId, found: Cursor, seen: Cursor) -> String {
    format!(
        "the log of {} ends at epoch {}, revision {}, but epoch {}, revision {} was seen",
        namespace.name(),
        found.epoch,
        found.revision,
        seen.epoch,
        seen.revision
    )
}

/// Describes a log that is missing: a namespace that does not exist counts as empty, in the epoch of `system`.
pub(in crate::store) fn find_lost_log(seen: &SeenHeads, found: &BTreeMap<NamespaceId, Head>) -> Option<String> {
    let epoch = found.get(&NamespaceId::system()).map_or(0, |head| head.cursor.epoch);
    let empty = Head { cursor: Cursor { epoch, revision: 0 }, ..Head::EMPTY };
    let mut missing = seen.iter().filter(|(namespace, _)| !found.contains_key(namespace));
    missing.find_map(|(namespace, seen)| seen.contradicts(namespace, empty))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(epoch: i64, revision: i64) -> Head {
        Head { cursor: Cursor { epoch, revision }, hash: [u8::try_from(epoch * 16 + revision).expect("a byte"); 32] }
    }

    fn heads(heads: &[(&str, i64, i64)]) -> BTreeMap<NamespaceId, Head> {
        let entry = |(id, epoch, revision): &(&str, i64, i64)| {
            (NamespaceId::parse("namespace", id).expect("an id"), head(*epoch, *revision))
        };
        heads.iter().map(entry).chain([(NamespaceId::system(), head(2, 9))]).collect()
    }

    fn seen(seen: &[(&str, i64, i64)]) -> SeenHeads {
        heads(seen).into_iter().map(|(namespace, head)| (namespace, head.into())).collect()
    }

    #[test]
    fn what_contradicts_what_was_seen_is_told() {
        let (remembered, a) = (SeenHead::from(head(2, 5)), NamespaceId::parse("namespace", "a").expect("an id"));
        for (epoch, revision, contradicts, is_asked) in
            [(2, 5, false, false), (2, 6, false, true), (3, 1, false, false), (2, 4, true, false), (1, 9, true, false)]
        {
            let found = head(epoch, revision);
            assert_eq!(remembered.contradicts(&a, found).is_some(), contradicts, "{found:?}");
            assert_eq!(remembered.needs_event_check(found), is_asked, "{found:?}");
        }
        assert_eq!(
            remembered.contradicts(&a, head(1, 4)).as_deref(),
            Some("the log of namespaces/a ends at epoch 1, revision 4, but epoch 2, revision 5 was seen")
        );
        let other = Head { hash: [7; 32], ..head(2, 5) };
        let said = remembered.contradicts(&a, other).expect("another event");
        assert!(said.contains("another event at epoch 2, revision 5"), "{said}");
        let without = SeenHead { hash: None, ..remembered };
        assert_eq!(without.contradicts(&a, other), None, "its hash is not known");
        assert!(!without.needs_event_check(head(2, 6)), "its hash is not known");
    }

    #[test]
    fn a_log_that_is_not_there_is_an_empty_one_of_the_epoch_of_system() {
        let remembered = seen(&[("a", 2, 5), ("b", 1, 3)]);
        assert_eq!(find_lost_log(&remembered, &heads(&[("a", 2, 5), ("b", 1, 3)])), None);
        // `b` was of an earlier epoch: after it was lost, it is created again in the second one.
        assert_eq!(find_lost_log(&remembered, &heads(&[("a", 2, 5)])), None);
        assert!(find_lost_log(&remembered, &heads(&[("b", 1, 3)])).is_some());
    }
}
