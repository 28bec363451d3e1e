//! Promises beside the log: runs, reports, tenants, roles, approvals, keys, quotas, leases and imports are as their callers were answered
//! (docs/guarantees.md#g1, #g7).

use super::CheckFindings;
use super::record::RecordedHistory;

/// Checks that every answer that a workload got still holds at the end.
pub fn check(history: &RecordedHistory, findings: &mut CheckFindings) {
    for promise in &history.promises {
        findings.check(promise.broken.is_none(), || {
            format!("{}: {}", promise.what, promise.broken.as_deref().unwrap_or_default())
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::crafted::{history, violations};
    use super::super::record::Promise;
    use super::*;

    #[test]
    fn a_broken_promise_is_seen() {
        let mut bad = history();
        bad.promises = vec![Promise { what: "run r-1".to_owned(), broken: None }];
        assert_eq!(violations(check, &bad), Vec::<String>::new());
        bad.promises.push(Promise { what: "run r-2".to_owned(), broken: Some("RUN_NOT_FOUND".to_owned()) });
        assert_eq!(violations(check, &bad), ["run r-2: RUN_NOT_FOUND"]);
    }
}
