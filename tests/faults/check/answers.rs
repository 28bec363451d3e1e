//! Answers to callers: errors have names (docs/guarantees.md#g8, #g17), and servers end in time (docs/guarantees.md#g22).

use super::CheckFindings;
use super::record::{OperationOutcome, RecordedHistory, StreamEnd};

/// Reasons that no fault of a network, a process or a database may cause.
const NEVER: [&str; 2] = ["INTERNAL", "DATA_LOSS"];

/// Checks that no call and no stream is answered with INTERNAL or DATA_LOSS, and that nothing was overdue.
pub fn check_named(history: &RecordedHistory, findings: &mut CheckFindings) {
    for operation in &history.operations {
        for each in &operation.tries {
            let OperationOutcome::Refused(reason) = &each.outcome else { continue };
            findings.check(!NEVER.contains(&reason.as_str()), || {
                format!("{} was answered with {reason} by replica {}", operation.request_id, each.replica)
            });
        }
    }
    for reason in &history.failed_reads {
        findings.check(!NEVER.contains(&reason.as_str()), || format!("a read was answered with {reason}"));
    }
    for stream in &history.streams {
        let StreamEnd::Ended(reason) = &stream.end else { continue };
        // Within one epoch, every cursor up to the head can be resumed from, and cursors ahead of it wait.
        let gone = reason == "RESUME_POINT_GONE" && history.branches.is_empty();
        let refused = NEVER.contains(&reason.as_str()) || gone;
        findings
            .check(!refused, || format!("watcher {} resumed at {:?} and got {reason}", stream.watcher, stream.resume));
    }
    let doubtful = history.reads.iter().filter(|read| read.marks.in_doubt).count();
    findings.check(doubtful == 0 || !history.branches.is_empty(), || {
        format!("{doubtful} reads were marked in doubt, and nothing was lost")
    });
    for text in &history.overdue {
        findings.check(false, || text.clone());
    }
}

/// Checks that a server that was told to end did so in time and in order.
pub fn check_drains(history: &RecordedHistory, findings: &mut CheckFindings) {
    for drain in &history.drains {
        findings.check(drain.success && drain.took <= drain.allowed, || {
            format!("replica {} was told to end: {drain:?}", drain.replica)
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::crafted::{history, violations};
    use super::super::record::Drain;
    use super::*;

    #[test]
    fn internal_errors_lost_resume_points_and_what_is_overdue_are_seen() {
        let good = history();
        assert_eq!(violations(check_named, &good), Vec::<String>::new());
        let mut bad = good.clone();
        bad.operations[0].tries[0].outcome = OperationOutcome::Refused("INTERNAL".to_owned());
        bad.failed_reads.push("DATA_LOSS".to_owned());
        bad.streams[0].end = StreamEnd::Ended("RESUME_POINT_GONE".to_owned());
        bad.overdue.push("nobody came".to_owned());
        bad.reads[0].marks.in_doubt = true;
        assert_eq!(violations(check_named, &bad).len(), 5);
        let mut fine = good.clone();
        fine.operations[0].tries[0].outcome = OperationOutcome::Refused("DATABASE_UNAVAILABLE".to_owned());
        fine.streams[0].end = StreamEnd::Ended(String::new());
        assert_eq!(violations(check_named, &fine), Vec::<String>::new());
    }

    #[test]
    fn a_late_end_and_a_failed_one_are_seen() {
        let mut bad = history();
        let allowed = Duration::from_secs(30);
        let drain = |took, success| Drain { replica: 0, took: Duration::from_secs(took), allowed, success };
        bad.drains = vec![drain(31, true), drain(1, false), drain(30, true)];
        assert_eq!(violations(check_drains, &bad).len(), 2);
    }
}
