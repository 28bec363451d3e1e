//! What the agent tells of itself: `status.json` for probes, and a line for each change.
//!
//! Boundary: words only; nothing is decided here. Invariant: the file is replaced whole, and a file that can't be written
//! stops nothing.

use std::path::PathBuf;
use std::time::SystemTime;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::folder::{Folder, Held};
use crate::cli::output::{Format, print_json, say};
use crate::cli::text::{self, at};
use crate::client::durable::replace_file;
use crate::client::name::{NamespaceId, PolicyId};
use crate::client::watcher::{State, Status};
use crate::client::{ActivePolicy, Cursor};

/// The file, in the folder.
const STATUS: &str = "status.json";
/// How much later `fresh_until` must be to be written for itself alone. Shorter: more writes. Longer: who reads the file
/// calls what is in force stale while it is not.
const FRESH_STEP_SECONDS: i64 = 60;

/// Tells what changed, once.
#[derive(Debug)]
pub struct Teller {
    path: PathBuf,
    namespace: NamespaceId,
    output: Format,
    told: Option<Told>,
    since: String,
    /// Whether the last write failed: it is said once.
    failing: bool,
}

/// What was told last.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    status: Status,
    set: Option<String>,
}

impl Teller {
    /// Of a folder.
    pub fn new(folder: &Folder, namespace: NamespaceId, output: Format) -> Self {
        let path = folder.root().join(STATUS);
        Self { path, namespace, output, told: None, since: now(), failing: false }
    }

    /// How the agent is. `trouble`: why a newer set can't be written; empty: nothing.
    pub fn status(&mut self, mut status: Status, held: Option<&Held>, trouble: &str) {
        if !trouble.is_empty() {
            // The watcher knows that something newer verified, not that the disk refuses it.
            status.state = State::Rejected;
            trouble.clone_into(&mut status.problem);
        }
        let set = held.map(|held| format!("sets/{}", held.name));
        if let Some(told) = &self.told {
            let later = status.fresh_until_seconds.saturating_sub(told.status.fresh_until_seconds);
            if (0..FRESH_STEP_SECONDS).contains(&later) {
                status.fresh_until_seconds = told.status.fresh_until_seconds;
            }
        }
        let now_told = Told { status, set };
        if self.told.as_ref() == Some(&now_told) {
            return;
        }
        let before = self.told.replace(now_told.clone());
        self.tell(before.as_ref(), &now_told);
        self.write(&now_told);
    }

    /// A set came in force.
    pub fn applied<'a>(
        &self,
        cursor: Cursor,
        changed: &[PolicyId],
        find: impl Fn(&PolicyId) -> Option<&'a ActivePolicy>,
    ) {
        let moves: Vec<String> = changed.iter().map(|policy| moved(policy, find(policy))).collect();
        let moves = if moves.is_empty() { "nothing is active".to_owned() } else { moves.join(", ") };
        say(&format!("applied {}: {moves}", at(cursor)));
        let changed: Vec<&str> = changed.iter().map(PolicyId::as_str).collect();
        self.print(
            &json!({ "event": "applied", "epoch": cursor.epoch, "revision": cursor.revision, "changed": changed }),
        );
    }

    /// A set did not come in force.
    pub fn rejected(&self, cursor: Cursor, reason: &str) {
        say(&format!("rejected {}: {}", at(cursor), text::line(reason)));
        self.print(
            &json!({ "event": "rejected", "epoch": cursor.epoch, "revision": cursor.revision, "reason": reason }),
        );
    }

    fn tell(&mut self, before: Option<&Told>, told: &Told) {
        let Status { state, problem, .. } = &told.status;
        let same_state = before.is_some_and(|before| before.status.state == *state);
        if !same_state {
            self.since = now();
        }
        if same_state && before.is_some_and(|before| before.status.problem == *problem) {
            return;
        }
        let why = if problem.is_empty() { String::new() } else { format!(": {}", text::line(problem)) };
        say(&format!("{state}{why}"));
        self.print(&json!({ "event": "state", "state": state.to_string(), "since": self.since, "problem": problem }));
    }

    fn write(&mut self, told: &Told) {
        let Told { status, set } = told;
        let place = |cursor: Option<Cursor>| cursor.map(|at| json!({ "epoch": at.epoch, "revision": at.revision }));
        let fresh = status.fresh_until_seconds;
        let time = |seconds: i64| written(OffsetDateTime::from_unix_timestamp(seconds).ok());
        let document = json!({
            "state": status.state.to_string(),
            "since": self.since,
            "problem": status.problem,
            "namespace": self.namespace,
            "in_force": place(status.in_force),
            "newest": place(status.newest),
            "set": set,
            "connected": status.is_connected,
            "behind": status.behind.map(|behind| json!({
                "revisions": behind.revisions, "since": time(behind.since_seconds),
            })),
            "fresh_until": (fresh > 0).then(|| time(fresh)),
        });
        let failed = replace_file(&self.path, format!("{document:#}\n").as_bytes()).err();
        if let Some(error) = failed.as_ref().filter(|_| !self.failing) {
            say(&format!("failed to write {}: {error}", self.path.display()));
        }
        self.failing = failed.is_some();
        if self.failing {
            // Tried again with the next look.
            self.told = None;
        }
    }

    fn print(&self, document: &Value) {
        if self.output == Format::Json
            && let Err(error) = print_json(document)
        {
            say(&format!("{error:#}"));
        }
    }
}

fn moved(policy: &PolicyId, active: Option<&ActivePolicy>) -> String {
    let Some(active) = active else { return format!("{policy} -> none") };
    let label = if active.label.is_empty() { String::new() } else { format!(" {}", text::line(&active.label)) };
    format!("{policy} -> {}{label} {}", active.version, text::digest(active.digest.as_str()))
}

fn written(time: Option<OffsetDateTime>) -> String {
    time.and_then(|time| time.replace_nanosecond(0).ok()?.format(&Rfc3339).ok()).unwrap_or_default()
}

#[expect(clippy::disallowed_methods, reason = "says when, to people; decides nothing")]
fn now() -> String {
    written(Some(OffsetDateTime::from(SystemTime::now())))
}
