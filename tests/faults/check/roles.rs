//! Removed roles: after the time that docs/operations/access.md gives, no replica accepts their member, and none of their watches
//! continues.

use std::time::Duration;

use super::CheckFindings;
use super::live::undisturbed;
use super::record::RecordedHistory;

/// Reserve for a busy machine with a debug build: the call itself, and the read of the roles.
const SLACK: Duration = Duration::from_secs(2);

/// Checks that nobody is accepted for longer than that, as undisturbed time.
pub fn check(history: &RecordedHistory, findings: &mut CheckFindings) {
    for exclusion in &history.exclusions {
        let last_in = exclusion.last_in.unwrap_or(exclusion.revoked);
        let took = undisturbed(&history.troubles, (exclusion.revoked, last_in), exclusion.replica, |_| true);
        findings.check(took <= exclusion.allowed + SLACK, || {
            let allowed = exclusion.allowed;
            format!(
                "replica {} let somebody in {took:?} after the role was taken away, not {allowed:?}",
                exclusion.replica
            )
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::crafted::{history, violations};
    use super::super::record::{Exclusion, Trouble, Where};
    use super::*;

    #[test]
    fn who_is_let_in_too_late_is_seen_unless_the_replica_was_in_trouble() {
        let seconds = Duration::from_secs;
        let let_in = |last_in| Exclusion { replica: 1, revoked: seconds(1), last_in, allowed: seconds(1) };
        let mut history = history();
        history.exclusions = vec![let_in(None), let_in(Some(seconds(2)))];
        assert_eq!(violations(check, &history), Vec::<String>::new());
        history.exclusions.push(let_in(Some(seconds(6))));
        assert_eq!(violations(check, &history).len(), 1);
        let trouble = |replica| Trouble { from: seconds(0), until: seconds(3), place: Where::Database, replica };
        history.troubles = vec![trouble(Some(0))];
        assert_eq!(violations(check, &history).len(), 1, "another replica was in trouble");
        history.troubles = vec![trouble(Some(1))];
        assert_eq!(violations(check, &history), Vec::<String>::new());
    }
}
