//! Linearizability, witnessed by revisions: one sweep over the calls in order of time (G2, G4).

use std::time::Duration;

use super::Findings;
use super::log::Replay;
use super::record::History;

struct Span<'a> {
    start: Duration,
    end: Duration,
    revision: i64,
    /// None for a read.
    write: Option<&'a str>,
}

/// What returned before a call began is not above it: a later write has a higher revision than every write and read that
/// returned before it was called, a later read at least theirs. Reads marked degraded promise nothing.
pub fn check_order(history: &History, findings: &mut Findings) {
    let writes = history.operations.iter().filter_map(|operation| {
        let (last, effect) = operation.acknowledgement()?;
        let write = Some(operation.request_id.as_str());
        Some(Span { start: operation.start(), end: last.end, revision: effect.revision, write })
    });
    let reads = history.reads.iter().filter(|read| !read.degraded);
    let reads =
        reads.map(|read| Span { start: read.start, end: read.end, revision: read.cursor.revision, write: None });
    let mut by_start: Vec<Span> = writes.chain(reads).collect();
    by_start.sort_by_key(|span| span.start);
    let mut ends: Vec<(Duration, i64)> = by_start.iter().map(|span| (span.end, span.revision)).collect();
    ends.sort_unstable();
    let mut ends = ends.into_iter().peekable();
    let mut seen = 0;
    for span in by_start {
        while let Some((_, revision)) = ends.next_if(|(end, _)| *end < span.start) {
            seen = seen.max(revision);
        }
        let revision = span.revision;
        match span.write {
            Some(id) => findings
                .check(revision > seen, || format!("{id} was called after {seen} was known, and is at {revision}")),
            None => findings.check(revision >= seen, || {
                format!("a read was called after {seen} was known, and answered {revision} without a word")
            }),
        }
    }
}

/// What a read said is what the log says at its revision, and its revision is in the log.
pub fn check_contents(history: &History, findings: &mut Findings) {
    let replay = Replay::of(&history.log);
    for read in &history.reads {
        let revision = read.cursor.revision;
        match replay.at(revision) {
            None => findings.check(false, || {
                format!("a read answered {revision}, the log ends at {}: it was never committed", replay.head())
            }),
            Some(state) => findings.check(*state == read.pointers, || {
                format!("a read said {:?} at {revision}, the log says {state:?}", read.pointers)
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::crafted::{history, violations};
    use super::*;

    #[test]
    fn a_stale_read_and_a_write_out_of_order_are_seen() {
        let good = history();
        assert_eq!(violations(check_order, &good), Vec::<String>::new());
        let mut stale = good.clone();
        stale.reads[1].cursor.revision = 2;
        assert!(violations(check_order, &stale)[0].contains("answered 2 without a word"));
        stale.reads[1].degraded = true;
        assert_eq!(violations(check_order, &stale).len(), 0, "it said so");
        let mut late = good.clone();
        let last = late.operations.len() - 1;
        for each in &mut late.operations[last].tries {
            (each.start, each.end) = (Duration::ZERO, Duration::from_nanos(1));
        }
        assert!(!violations(check_order, &late).is_empty(), "6 returned before 1 was called");
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
