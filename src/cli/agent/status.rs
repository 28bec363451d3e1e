//! Reports the state of the agent: `status.json` for probes, and a line for each change.
//!
//! Boundary: only reports; nothing is decided here. Invariant: a write failure does not stop the agent, and does not leave an
//! outdated state in the file.

use std::time::SystemTime;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::cli::agent::folder::{Folder, Held};
use crate::cli::agent::status_file::StatusFile;
use crate::cli::output::document::{Format, say};
use crate::cli::output::text;
use crate::cli::output::text::at;
use crate::client::name::{NamespaceId, PolicyId};
use crate::client::{ActivePolicy, Cursor};
use crate::client::{State, Status};

/// File name in the folder.
const STATUS: &str = "status.json";
/// Name of the private file that reserves disk space for the status.
const SPARE: &str = "status-spare";
/// How much later `fresh_until` must be to be written when nothing else changed. Shorter: more writes. Longer: a reader of the file
/// takes the set in force for stale although it is not.
const FRESH_STEP_SECONDS: i64 = 60;

/// Reports each change once.
#[derive(Debug)]
pub struct StatusWriter {
    file: StatusFile,
    namespace: NamespaceId,
    output: Format,
    told: Option<WrittenStatus>,
    since: String,
    /// Whether the last write failed, so that it is reported once.
    failing: bool,
    /// The state in the file; `None`: this process has not written one.
    written: Option<State>,
    /// The requested policies that do not exist.
    missing: Vec<PolicyId>,
}

/// The status that was reported last.
#[derive(Debug, Clone, PartialEq)]
struct WrittenStatus {
    status: Status,
    set: Option<String>,
    missing: Vec<PolicyId>,
}

impl StatusWriter {
    /// Returns the writer for a folder.
    pub fn new(folder: &Folder, namespace: NamespaceId, output: Format) -> Self {
        let file = StatusFile::new(folder.root().join(STATUS), folder.private_path(SPARE));
        Self { file, namespace, output, told: None, since: now(), failing: false, written: None, missing: Vec::new() }
    }

    /// Reports the state of the agent. `trouble`: why a newer set can't be written; empty when there is no problem.
    pub fn status(&mut self, mut status: Status, held: Option<&Held>, trouble: &str) {
        if !trouble.is_empty() {
            // The watcher knows that a newer set was verified, but not that the disk refuses it.
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
        let now_told = WrittenStatus { status, set, missing: self.missing.clone() };
        if self.told.as_ref() == Some(&now_told) && !self.failing {
            return;
        }
        let before = self.told.replace(now_told.clone());
        self.tell(before.as_ref(), &now_told);
        self.write(&now_told);
    }

    /// Reports that a set came in force.
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

    /// Reports that a set did not come in force.
    pub fn rejected(&self, cursor: Cursor, reason: &str) {
        say(&format!("rejected {}: {}", at(cursor), text::line(reason)));
        self.print(
            &json!({ "event": "rejected", "epoch": cursor.epoch, "revision": cursor.revision, "reason": reason }),
        );
    }

    /// Reports each requested policy that does not exist once.
    pub fn missing(&mut self, missing: Vec<PolicyId>) {
        for policy in missing.iter().filter(|policy| !self.missing.contains(policy)) {
            say(&text::missing(policy));
        }
        self.missing = missing;
    }

    fn tell(&mut self, before: Option<&WrittenStatus>, told: &WrittenStatus) {
        let Status { state, problem, .. } = &told.status;
        let same_state = before.is_some_and(|before| before.status.state == *state);
        if !same_state {
            self.since = now();
        }
        let store = before.map(|before| before.status.store).unwrap_or_default();
        if let Some(problem) = told.status.store.problem().filter(|_| store != told.status.store) {
            say(problem);
        }
        if same_state && before.is_some_and(|before| before.status.problem == *problem) {
            return;
        }
        let why = if problem.is_empty() { String::new() } else { format!(": {}", text::line(problem)) };
        say(&format!("{state}{why}"));
        self.print(&json!({ "event": "state", "state": state.to_string(), "since": self.since, "problem": problem }));
    }

    fn write(&mut self, told: &WrittenStatus) {
        let WrittenStatus { status, set, missing } = told;
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
            "degraded": status.store.is_degraded,
            "in_doubt": status.store.is_in_doubt,
            "missing": missing,
            "behind": status.behind.map(|behind| json!({
                "revisions": behind.revisions, "since": time(behind.since_seconds),
            })),
            "fresh_until": (fresh > 0).then(|| time(fresh)),
        });
        let failed = self.file.replace(format!("{document:#}\n").as_bytes()).err();
        if let Some(error) = failed.as_ref().filter(|_| !self.failing) {
            say(&format!("failed to write {}: {error}", self.file.path().display()));
        }
        self.failing = failed.is_some();
        if !self.failing {
            self.written = Some(status.state);
        } else if self.written != Some(status.state) {
            // Probes take a missing file as not ready. If removing it fails too, nothing more can be done.
            self.written = self.file.remove().err().and(self.written);
        }
    }

    fn print(&self, document: &Value) {
        if self.output.is_document()
            && let Err(error) = self.output.print_document(document)
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
