//! Linearizability, checked by revisions: one pass over the calls in order of time (docs/guarantees.md#g2, #g4).

use std::collections::BTreeMap;
use std::time::Duration;

use super::CheckFindings;
use super::branches::{Logs, in_doubt};
use super::record::{Cursor, Marks, RecordedHistory};

struct Span<'a> {
    replica: usize,
    start: Duration,
    end: Duration,
    at: Cursor,
    /// `None` for a read.
    write: Option<&'a str>,
    /// A read while an older copy was in place of the log: a replica knows only its own answers.
    by_itself: bool,
}

/// Checks that a later write has a higher revision than every write and read that returned before its call, and a later read at least
/// theirs. Reads that are marked as degraded or in doubt promise nothing. Between the restore of an older copy and the end of suspected
/// data loss, an unmarked read is not below its replica's earlier answers.
pub fn check_order(history: &RecordedHistory, findings: &mut CheckFindings) {
    let logs = Logs::of(history);
    let epoch = history.log.last().map_or(1, |event| event.cursor.epoch);
    let writes = history.operations.iter().filter_map(|operation| {
        let (last, effect) = operation.acknowledgement()?;
        let write = Some(operation.request_id.as_str());
        // A revision that is nowhere is reported by the ledger.
        let nowhere = Cursor { epoch, revision: effect.revision };
        let at = logs.event_of(operation, effect).map_or(nowhere, |event| event.cursor);
        Some(Span { replica: last.replica, start: operation.start(), end: last.end, at, write, by_itself: false })
    });
    let reads = history.reads.iter().filter(|read| read.marks == Marks::default());
    let reads = reads.map(|read| Span {
        replica: read.replica,
        start: read.start,
        end: read.end,
        at: read.cursor,
        write: None,
        by_itself: in_doubt(history, (read.start, read.end)),
    });
    let mut by_start: Vec<Span> = writes.chain(reads).collect();
    by_start.sort_by_key(|span| span.start);
    let mut ends: Vec<_> = by_start.iter().map(|span| (span.end, span.at, span.replica)).collect();
    ends.sort_unstable();
    let mut ends = ends.into_iter().peekable();
    let (mut seen, mut said) = (Cursor::default(), BTreeMap::<usize, Cursor>::new());
    for span in by_start {
        while let Some((_, at, replica)) = ends.next_if(|(end, ..)| *end < span.start) {
            seen = seen.max(at);
            let said = said.entry(replica).or_default();
            *said = at.max(*said);
        }
        let seen = if span.by_itself { said.get(&span.replica).copied().unwrap_or_default() } else { seen };
        let (at, known) = (span.at.revision, seen.revision);
        match span.write {
            Some(id) => {
                findings.check(span.at > seen, || format!("{id} was called after {known} was known, and is at {at}"))
            }
            None => findings.check(span.at >= seen, || {
                format!(
                    "a read was called after {known} was known, and answered {at} without a word, at {:?}",
                    span.start
                )
            }),
        }
    }
}

/// Checks that a read has the contents of the log at its revision, and that the log has that revision.
pub fn check_contents(history: &RecordedHistory, findings: &mut CheckFindings) {
    let logs = Logs::of(history);
    for read in &history.reads {
        let revision = read.cursor.revision;
        match logs.at(read.cursor) {
            None => findings.check(false, || {
                let head = history.log.last().map(|event| event.cursor);
                format!("a read answered {:?}, the log ends at {head:?}: it was never committed", read.cursor)
            }),
            Some(state) => findings.check(*state == read.pointers, || {
                format!("a read said {:?} at {revision}, the log says {state:?}", read.pointers)
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::crafted::{history, restored, violations};
    use super::*;

    #[test]
    fn a_stale_read_and_a_write_out_of_order_are_seen() {
        let good = history();
        assert_eq!(violations(check_order, &good), Vec::<String>::new());
        let mut stale = good.clone();
        stale.reads[1].cursor.revision = 2;
        assert!(violations(check_order, &stale)[0].contains("answered 2 without a word"));
        stale.reads[1].marks.degraded = true;
        assert_eq!(violations(check_order, &stale).len(), 0, "it said so");
        stale.reads[1].marks = Marks { degraded: false, in_doubt: true };
        assert_eq!(violations(check_order, &stale).len(), 0, "it said so, too");
        let mut late = good.clone();
        let last = late.operations.len() - 1;
        for each in &mut late.operations[last].tries {
            (each.start, each.end) = (Duration::ZERO, Duration::from_nanos(1));
        }
        assert!(!violations(check_order, &late).is_empty(), "6 returned before 1 was called");
    }

    #[test]
    fn a_read_in_doubt_without_a_word_is_seen_where_its_replica_knew_better() {
        let mut restored = restored();
        let at = restored.branches[0].replaced + Duration::from_millis(1);
        let mut read = restored.reads[1].clone();
        (read.start, read.end, read.cursor.revision) = (at, at, 3);
        restored.reads.push(read);
        let stale = restored.reads.len() - 1;
        assert!(violations(check_order, &restored)[0].contains("answered 3 without a word"));
        restored.reads[stale].replica = 1;
        assert_eq!(violations(check_order, &restored), Vec::<String>::new(), "it never said more");
        restored.reads[stale].replica = 0;
        restored.reads[stale].marks.in_doubt = true;
        assert_eq!(violations(check_order, &restored), Vec::<String>::new());
    }

    #[test]
    fn calls_that_overlap_may_be_in_any_order() {
        let mut overlap = history();
        for each in overlap.operations.iter_mut().flat_map(|operation| &mut operation.tries) {
            (each.start, each.end) = (Duration::ZERO, Duration::from_secs(60));
        }
        assert_eq!(violations(check_order, &overlap), Vec::<String>::new());
    }

    #[test]
    fn a_read_of_something_else_and_of_what_never_was_are_seen() {
        let good = history();
        assert_eq!(violations(check_contents, &good), Vec::<String>::new());
        let mut other = good.clone();
        other.reads[0].pointers.clear();
        assert_eq!(violations(check_contents, &other).len(), 1);
        let mut dirty = good.clone();
        dirty.reads[0].cursor.revision = 7;
        assert!(violations(check_contents, &dirty)[0].contains("never committed"));
    }
}
