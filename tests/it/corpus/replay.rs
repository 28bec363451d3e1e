//! The active set at any revision, replayed from the log by the test itself.

use std::collections::BTreeMap;

use policyhub::client::name::PolicyId;
use policyhub::domain::digest::Digest;
use policyhub::domain::event::PointerChange;

/// The policies in force: version and digest by policy, in the byte order of the ids.
pub type ReplayState = BTreeMap<PolicyId, (i64, Digest)>;

/// One event that moved pointers.
#[derive(Debug)]
struct ReplayedMove {
    revision: i64,
    statement: String,
    changes: Vec<PointerChange>,
}

/// The pointers of a whole log.
#[derive(Debug, Default)]
pub struct CorpusReplay {
    head: i64,
    now: ReplayState,
    moved: Vec<ReplayedMove>,
}

impl CorpusReplay {
    /// Applies the next event; each change must start from the current pointer.
    pub fn apply(&mut self, revision: i64, statement: &str, changes: Vec<PointerChange>) {
        self.head = revision;
        for change in &changes {
            let before = self.now.get(&change.policy).map_or(0, |(version, _)| *version);
            assert_eq!(change.previous, before, "revision {revision}: what {} pointed to before", change.policy);
            step(&mut self.now, change);
        }
        if !changes.is_empty() {
            self.moved.push(ReplayedMove { revision, statement: statement.to_owned(), changes });
        }
    }

    /// Returns the last revision.
    pub fn head(&self) -> i64 {
        self.head
    }

    /// Returns every activation: its revision and its statement.
    pub fn activations(&self) -> Vec<(i64, String)> {
        self.moved.iter().map(|moved| (moved.revision, moved.statement.clone())).collect()
    }

    /// Returns what was in force right after a revision.
    pub fn state_at(&self, revision: i64) -> ReplayState {
        let mut state = ReplayState::new();
        for moved in self.moved.iter().take_while(|moved| moved.revision <= revision) {
            moved.changes.iter().for_each(|change| step(&mut state, change));
        }
        state
    }

    /// Returns the statement that activated the version of a policy in force at a revision, with its own revision.
    pub fn in_force(&self, policy: &PolicyId, revision: i64) -> (i64, &str) {
        let mut until = self.moved.iter().rev().skip_while(|moved| moved.revision > revision);
        let found = until.find(|moved| moved.changes.iter().any(|change| &change.policy == policy));
        found.map(|moved| (moved.revision, moved.statement.as_str())).unwrap_or_else(|| panic!("{policy} never moved"))
    }
}

fn step(state: &mut ReplayState, change: &PointerChange) {
    match &change.digest {
        Some(digest) => state.insert(change.policy.clone(), (change.version, digest.clone())),
        None => state.remove(&change.policy),
    };
}
