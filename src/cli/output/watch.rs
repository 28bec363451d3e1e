//! Prints a watch: a line for each change, with what was active before, who changed it and why.
//!
//! Invariant: everything in a line was signed. The reason comes from the log, and is shown only when its digest is the one in the
//! statement.

use std::collections::BTreeMap;
use std::time::Duration;

use anstyle::Style;

use crate::cli::output::terminal_style::TerminalStyle;
use crate::cli::output::text::Release;
use crate::cli::output::{terminal_style, text};
use crate::client::name::{NamespaceId, PolicyId};
use crate::client::signing::digest_of;
use crate::client::signing::payload::Statement;
use crate::client::{ActivePolicy, Client, Cursor, SetChange, pb};

/// Most policies that a line names; the others are counted.
const NAMED_MAX: usize = 10;
/// Widest reason.
const WHY_MAX_CHARS: usize = 120;
/// How long a line waits for its reason.
const WHY_WAIT: Duration = Duration::from_secs(2);
/// Spaces of the width of a time.
const NO_TIME: &str = "                    ";

/// Prints changes, and keeps what was printed so far.
#[derive(Debug)]
pub struct WatchPrinter {
    heartbeats: bool,
    style_of: TerminalStyle,
    held: BTreeMap<PolicyId, Release>,
    is_newest: bool,
    asks_why: bool,
}

impl WatchPrinter {
    /// Returns a printer before its first line.
    pub const fn new(heartbeats: bool, style_of: TerminalStyle) -> Self {
        Self { heartbeats, style_of, held: BTreeMap::new(), is_newest: true, asks_why: true }
    }

    /// Returns the reason of an activation, when the log can be read and matches the signed digest.
    pub async fn why(&mut self, client: &Client, namespace: &NamespaceId, change: &SetChange) -> Option<String> {
        let SetChange::Activated { cursor, statement, .. } = change else { return None };
        if !self.asks_why {
            return None;
        }
        let request = pb::ListEventsRequest {
            parent: namespace.name(),
            page_size: 1,
            after: Some(pb::Cursor::of_revision(cursor.revision.saturating_sub(1))),
            ..Default::default()
        };
        match tokio::time::timeout(WHY_WAIT, client.list_events(request)).await {
            Ok(Ok(page)) => {
                page.events.into_iter().next().map(|event| event.reason).filter(|why| is_signed(why, statement))
            }
            // Without permission to read the log, every further request would be denied too.
            Ok(Err(error)) => {
                self.asks_why = error.reason() != "PERMISSION_DENIED";
                None
            }
            Err(_) => None,
        }
    }

    /// Returns the line of a change; `None` for a change that is not shown.
    pub fn line(&mut self, change: &SetChange, why: Option<&str>) -> Option<String> {
        match change {
            SetChange::Opened { .. } | SetChange::SnapshotPart { .. } | SetChange::ActivationPart { .. } => None,
            SetChange::Replaced { cursor, policies } => {
                self.held = policies.iter().map(|active| (active.policy.clone(), release_of(active))).collect();
                let policies =
                    policies.iter().map(|active| format!("{} {}", active.policy, shown(Some(&release_of(active)))));
                let listed = if self.held.is_empty() { "nothing is active".to_owned() } else { bounded(policies) };
                Some(self.columns(NO_TIME, "SNAPSHOT", terminal_style::HEADING, *cursor, &listed))
            }
            SetChange::Activated { cursor, kind, actor, changed, removed, statement } => {
                let moves = bounded(self.moves(changed, removed, statement).into_iter());
                let mut what = format!("{moves}  by {}", text::line(actor));
                if let Some(why) = why {
                    what.push_str(": ");
                    what.push_str(&text::shortened(why, WHY_MAX_CHARS));
                }
                let time = text::time(Some(&prost_types::Timestamp { seconds: statement.iat, nanos: 0 }));
                let style = if kind == "ACTIVATE" { terminal_style::GOOD } else { terminal_style::BAD };
                Some(self.columns(&time, &text::line(kind), style, *cursor, &what))
            }
            SetChange::Alive { cursor, is_newest } => {
                let changed = std::mem::replace(&mut self.is_newest, *is_newest) != *is_newest;
                let state = if *is_newest { "proven to be the newest" } else { "not proven to be the newest" };
                let said = self.columns(NO_TIME, "HEARTBEAT", terminal_style::QUIET, *cursor, state);
                (self.heartbeats || changed).then_some(said)
            }
            SetChange::Reconnect { reason, backoff } => {
                let said = format!("RECONNECT   {} after {} ms", text::line(reason), backoff.as_millis());
                Some(format!("{NO_TIME}  {}", self.style_of.paint(terminal_style::HEADING, &said)))
            }
            SetChange::Keys { newest, .. } => {
                let at = (*newest).filter(|_| self.heartbeats)?;
                Some(self.columns(
                    NO_TIME,
                    "KEYS",
                    terminal_style::QUIET,
                    at,
                    "keys of the store, by a key that was trusted",
                ))
            }
            SetChange::Unknown => Some(format!("{NO_TIME}  UNKNOWN     message of a newer server")),
        }
    }

    /// Returns the versions before and after each move, and updates what is held.
    fn moves(
        &mut self,
        changed: &[std::sync::Arc<ActivePolicy>],
        removed: &[PolicyId],
        statement: &Statement,
    ) -> Vec<String> {
        let changed = changed.iter().map(|active| (&active.policy, Some(release_of(active))));
        let moves: Vec<_> = changed.chain(removed.iter().map(|policy| (policy, None))).collect();
        let mut lines = Vec::with_capacity(moves.len());
        for (policy, to) in moves {
            let signed = statement.changes.iter().find(|change| &change.policy == policy);
            let previous = signed.map_or(0, |change| change.previous);
            // After a resume, or when a slow reader skipped changes, only the number is known.
            let known = self.held.remove(policy).filter(|held| held.version == previous);
            let from = known.or_else(|| (previous > 0).then(|| Release { version: previous, label: String::new() }));
            lines.push(format!("{policy} {} -> {}", shown(from.as_ref()), shown(to.as_ref())));
            if let Some(to) = to {
                self.held.insert(policy.clone(), to);
            }
        }
        lines
    }

    fn columns(&self, time: &str, kind: &str, style: Style, cursor: Cursor, what: &str) -> String {
        let kind = self.style_of.paint(style, &format!("{kind:10}"));
        format!("{time}  {kind}  {:6}  {what}", text::at(cursor))
    }
}

fn is_signed(why: &str, statement: &Statement) -> bool {
    !why.is_empty() && digest_of(why.as_bytes()) == statement.reason_digest
}

fn release_of(active: &ActivePolicy) -> Release {
    Release { version: active.version, label: active.label.clone() }
}

fn shown(release: Option<&Release>) -> String {
    release.map_or_else(|| "-".to_owned(), text::release)
}

fn bounded(parts: impl ExactSizeIterator<Item = String>) -> String {
    let count = parts.len();
    let mut named: Vec<String> = parts.take(NAMED_MAX).collect();
    if count > NAMED_MAX {
        named.push(format!("and {} more", count - NAMED_MAX));
    }
    named.join(", ")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::client::signing::payload::StatementChange;
    use crate::client::unverified_policy;

    const CURSOR: Cursor = Cursor { epoch: 1, revision: 42 };

    fn policy(id: &str) -> PolicyId {
        PolicyId::parse("policy", id).expect("an id")
    }

    fn active(id: &str, version: i64, label: &str) -> Arc<ActivePolicy> {
        let mut policy = unverified_policy(policy(id), version, b"abc");
        (policy.label, policy.activated) = (label.to_owned(), CURSOR);
        Arc::new(policy)
    }

    fn activated(kind: &str, changed: Vec<Arc<ActivePolicy>>, removed: &[&str], previous: &[(&str, i64)]) -> SetChange {
        let change = |(id, previous): &(&str, i64)| StatementChange {
            policy: policy(id),
            version: 0,
            digest: None,
            previous: *previous,
        };
        let statement = Statement {
            active_set_root: None,
            store: String::new(),
            namespace: NamespaceId::parse("namespace", "default").expect("an id"),
            epoch: 1,
            revision: 42,
            kind: kind.to_owned(),
            changes: previous.iter().map(change).collect(),
            actor: "al\nice".to_owned(),
            reason_digest: digest_of(b"launch"),
            prev: [0; 32],
            iat: 1_700_000_000,
        };
        SetChange::Activated {
            cursor: CURSOR,
            kind: kind.to_owned(),
            actor: statement.actor.clone(),
            changed,
            removed: removed.iter().map(|id| policy(id)).collect(),
            statement: Box::new(statement),
        }
    }

    fn printer() -> WatchPrinter {
        WatchPrinter::new(false, TerminalStyle::PLAIN)
    }

    #[test]
    fn a_line_says_from_where_to_where_by_whom_and_why() {
        let mut printer = printer();
        let policies = vec![active("limits", 4, ""), active("pricing", 2, "1.1.0")];
        let snapshot = printer.line(&SetChange::Replaced { cursor: CURSOR, policies }, None);
        assert_eq!(snapshot.as_deref(), Some("                      SNAPSHOT    1:42    limits 4, pricing 1.1.0"));
        let change = activated(
            "ACTIVATE",
            vec![active("new", 1, ""), active("pricing", 3, "1.2.0")],
            &["limits"],
            &[("pricing", 2), ("limits", 4), ("new", 0)],
        );
        assert_eq!(
            printer.line(&change, Some("launch\u{1b}[2J")).as_deref(),
            Some(
                "2023-11-14T22:13:20Z  ACTIVATE    1:42    new - -> 1, pricing 1.1.0 -> 1.2.0, limits 4 -> -  by al ice: launch [2J"
            )
        );
        let change = activated("ROLLBACK", vec![active("pricing", 2, "1.1.0")], &[], &[("pricing", 3)]);
        assert_eq!(
            printer.line(&change, None).as_deref(),
            Some("2023-11-14T22:13:20Z  ROLLBACK    1:42    pricing 1.2.0 -> 1.1.0  by al ice")
        );
    }

    #[test]
    fn what_is_not_held_is_named_by_its_number() {
        let change = activated("ACTIVATE", vec![active("pricing", 3, "1.2.0")], &[], &[("pricing", 2)]);
        let line = printer().line(&change, None).expect("a line");
        assert!(line.contains("pricing 2 -> 1.2.0"), "{line}");
    }

    #[test]
    fn only_a_signed_reason_is_shown() {
        let SetChange::Activated { statement, .. } = activated("ACTIVATE", vec![], &[], &[]) else { panic!() };
        assert!(is_signed("launch", &statement));
        assert!(!is_signed("lunch", &statement) && !is_signed("", &statement));
    }

    #[test]
    fn signs_of_life_are_quiet_unless_they_say_something() {
        let mut quiet = printer();
        let mut alive = |is_newest| quiet.line(&SetChange::Alive { cursor: CURSOR, is_newest }, None);
        assert_eq!(alive(true), None);
        assert!(alive(false).is_some_and(|line| line.ends_with("HEARTBEAT   1:42    not proven to be the newest")));
        assert_eq!(alive(false), None);
        assert!(alive(true).is_some_and(|line| line.ends_with("  proven to be the newest")));
        let mut loud = WatchPrinter::new(true, TerminalStyle::PLAIN);
        assert!(loud.line(&SetChange::Alive { cursor: CURSOR, is_newest: true }, None).is_some());
    }

    #[test]
    fn a_line_is_bounded() {
        let policies: Vec<_> = (0..500).map(|index| active(&format!("p{index}"), 1, "")).collect();
        let line = printer().line(&SetChange::Replaced { cursor: CURSOR, policies }, None).expect("a line");
        assert!(line.ends_with("p9 1, and 490 more"), "{line}");
        let nothing = printer().line(&SetChange::Replaced { cursor: CURSOR, policies: vec![] }, None);
        assert!(nothing.is_some_and(|line| line.ends_with("nothing is active")));
        let reconnect = SetChange::Reconnect { reason: "draining".to_owned(), backoff: Duration::from_millis(250) };
        assert!(
            printer().line(&reconnect, None).is_some_and(|line| line.ends_with("RECONNECT   draining after 250 ms"))
        );
    }
}
