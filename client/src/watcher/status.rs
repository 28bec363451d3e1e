//! What a watcher shows to the rest of its process: what is in force, and how far that can be trusted.
//!
//! Invariant: a [`View`] never shows a set that was not verified and accepted; READY is never said after the checkpoint
//! that proves it ended, nor while something newer was verified and not taken.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use crate::bundle::ActivePolicy;
use crate::clock::now_seconds;
use crate::evidence::Evidence;
use crate::refusal::Refusal;
use policyhub_core::api::pb;
use policyhub_core::api::pb::watch_active_response::Message;
use policyhub_core::domain::event::{Cursor, Fingerprint, Position};
use policyhub_core::domain::name::PolicyId;

/// Longest text of a problem: the server may be the one who words it.
const PROBLEM_MAX_CHARS: usize = 4 * 1024;

/// Says how what is in force relates to what the server says. The worst that is true is said: first `Diverged`, then `Rejected`,
/// `Stale`, `Behind`, and `Ready` when none of them is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// It is the newest, and a checkpoint that did not end proves it.
    Ready,
    /// Something newer was verified, and the runtime has not taken it yet: [`Status::behind`].
    Behind,
    /// Nothing proves that it is the newest: no checkpoint came for too long, or nothing is in force yet.
    Stale,
    /// Something newer was refused: it does not verify, or the runtime could not use it.
    Rejected,
    /// The server shows another history than the one held: older, of another store, or of another set.
    Diverged,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready => "READY",
            Self::Behind => "BEHIND",
            Self::Stale => "STALE",
            Self::Rejected => "REJECTED",
            Self::Diverged => "DIVERGED",
        })
    }
}

/// A set in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Active {
    /// Its cursor in the log.
    pub cursor: Cursor,
    /// Says which event the server says stands there.
    pub event: Option<Fingerprint>,
    /// Its digest, as in a checkpoint.
    pub digest: String,
    /// Its policies.
    pub policies: BTreeMap<PolicyId, Arc<ActivePolicy>>,
    /// Holds what proves it.
    pub(crate) evidence: Option<Arc<Evidence>>,
}

impl Active {
    pub(super) fn position(&self) -> Position {
        Position { cursor: self.cursor, event: self.event }
    }

    /// Returns whether another one is the same versions, each in force by the same activation: nobody activated anything in between.
    pub(super) fn is_of_same_activations(&self, other: &Self) -> bool {
        let activated = self.policies.values().map(|policy| policy.activated);
        self.digest == other.digest && activated.eq(other.policies.values().map(|policy| policy.activated))
    }

    /// Returns a policy by its id.
    #[must_use]
    pub fn get(&self, policy: &str) -> Option<&Arc<ActivePolicy>> {
        self.policies.get(&PolicyId::parse("policy", policy).ok()?)
    }
}

/// Says how far the set in force is behind what was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Behind {
    /// Counts the revisions between the two, as far as they were verified, or a checkpoint says while the stream waits; at least 1.
    /// Without anything in force: all of them.
    pub revisions: i64,
    /// Says since when a verified set waits for the runtime, in seconds since the Unix epoch.
    pub since_seconds: i64,
}

/// Says how a watcher is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Summarizes the status: the worst that is true.
    pub state: State,
    /// Says whether the set is not proven to be the newest, whatever else is wrong.
    pub is_stale: bool,
    /// The place of what is in force; none: nothing is.
    pub in_force: Option<Cursor>,
    /// The newest cursor that was verified.
    pub newest: Option<Cursor>,
    /// Says until when a checkpoint proves that nothing is newer, in seconds since the Unix epoch; 0: none does.
    pub fresh_until_seconds: i64,
    /// Holds what was verified and waits for the runtime, whatever the state is; none: nothing does.
    pub behind: Option<Behind>,
    /// Says whether a stream is open.
    pub is_connected: bool,
    /// Holds what the server says of its store, over the stream that is open. Nothing proves it.
    pub store: StoreState,
    /// Holds the last problem that is not solved yet, in one line; empty: none.
    pub problem: String,
    /// The policies in force by a key that was revoked since: a server that signed them again sends them anew.
    pub by_revoked_keys: Vec<PolicyId>,
}

/// Holds what a server says about the state of its store: hints for people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreState {
    /// It can't compare with its database now: something newer may be in force.
    pub is_degraded: bool,
    /// It may have lost its newest changes, and its operator has not decided yet.
    pub is_in_doubt: bool,
}

impl StoreState {
    /// Returns what a heartbeat says; none for another message.
    #[doc(hidden)]
    #[must_use]
    pub fn of(message: &pb::WatchActiveResponse) -> Option<Self> {
        match &message.message {
            Some(Message::Heartbeat(heartbeat)) => {
                Some(Self { is_degraded: heartbeat.degraded, is_in_doubt: heartbeat.in_doubt })
            }
            _ => None,
        }
    }

    /// Returns the problem in words for people; none when all is well.
    #[must_use]
    pub fn problem(self) -> Option<&'static str> {
        match self {
            Self { is_in_doubt: true, .. } => {
                Some("the store is in doubt: it may have lost its newest changes, and its operator has not decided yet")
            }
            Self { is_degraded: true, .. } => {
                Some("the server can't reach its database: this is the newest that it knows")
            }
            Self { .. } => None,
        }
    }
}

/// Says why what is newest is not in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RefusalCause {
    /// The stream did not verify.
    Stream(Refusal),
    /// The runtime could not use it.
    Runtime(String),
}

/// Holds what is published, as of the last change.
#[derive(Debug, Clone, Default)]
pub(super) struct PublishedState {
    pub active: Option<Arc<Active>>,
    pub newest: Option<Cursor>,
    pub fresh_until_seconds: i64,
    pub is_connected: bool,
    pub store: StoreState,
    pub behind: Option<Behind>,
    pub refused: Option<RefusalCause>,
    pub problem: String,
    pub by_revoked_keys: Vec<PolicyId>,
}

impl PublishedState {
    /// Returns the status as of `now_seconds`.
    pub fn status(&self, now_seconds: i64) -> Status {
        let is_unproven = now_seconds >= self.fresh_until_seconds;
        let is_stale = self.active.is_none() || is_unproven;
        let (state, problem) = match &self.refused {
            Some(RefusalCause::Stream(refusal)) if refusal.is_divergence() => {
                (State::Diverged, line(&refusal.to_string()))
            }
            Some(RefusalCause::Stream(refusal)) => (State::Rejected, line(&refusal.to_string())),
            Some(RefusalCause::Runtime(reason)) => (State::Rejected, line(reason)),
            None if is_unproven || (is_stale && self.behind.is_none()) => (State::Stale, line(&self.problem)),
            None if self.behind.is_some() => (State::Behind, line(&self.problem)),
            None => (State::Ready, line(&self.problem)),
        };
        Status {
            state,
            is_stale,
            in_force: self.active.as_ref().map(|active| active.cursor),
            newest: self.newest,
            behind: self.behind,
            fresh_until_seconds: self.fresh_until_seconds,
            is_connected: self.is_connected,
            store: self.store,
            problem,
            by_revoked_keys: self.by_revoked_keys.clone(),
        }
    }
}

/// Returns a text that may have come from the server, as one line that can be printed and is not too long.
fn line(text: &str) -> String {
    let printable = |each: char| if each.is_control() { ' ' } else { each };
    text.chars().take(PROBLEM_MAX_CHARS).map(printable).collect()
}

/// Shows the state of a watcher to the rest of the process. Cheap to clone; goes on showing the last set when the watcher is gone.
#[derive(Debug, Clone)]
pub struct View(pub(super) watch::Receiver<PublishedState>);

impl View {
    /// Returns what is in force; none before the first set was accepted.
    #[must_use]
    pub fn active(&self) -> Option<Arc<Active>> {
        self.0.borrow().active.clone()
    }

    /// Returns how the watcher is now.
    #[must_use]
    pub fn status(&self) -> Status {
        self.0.borrow().status(now_seconds())
    }

    /// Waits for a change: of the set, of the state, or of what is known. False: the watcher is gone, and none will come. A watcher that
    /// nobody drives reports no change; [`Self::status`] knows by the clock that the set is stale.
    pub async fn changed(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

/// Returns what is wrong when checkpoints come from the future, for people.
#[must_use]
pub fn clocks_differ(ahead_seconds: i64) -> String {
    format!(
        "the server's clock is {ahead_seconds} s ahead of this machine's, or this one is behind: nothing proves that what is \
         held is the newest"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_that_is_true_is_said() {
        let older = Refusal::NotNewer { found: Cursor::default(), held: Cursor::default() };
        let forged = Refusal::Malformed("x");
        let unusable = || Some(RefusalCause::Runtime("no".to_owned()));
        let active = Some(Arc::new(Active::default()));
        let behind = Some(Behind { revisions: 1, since_seconds: 0 });
        let cases = [
            (None, None, None, 9, State::Stale),
            (None, behind, None, 9, State::Behind),
            (active.clone(), None, None, 9, State::Ready),
            (active.clone(), behind, None, 9, State::Behind),
            (active.clone(), None, None, 10, State::Stale),
            (active.clone(), behind, None, 10, State::Stale),
            (active.clone(), behind, unusable(), 9, State::Rejected),
            (active.clone(), None, Some(RefusalCause::Stream(forged)), 10, State::Rejected),
            (active, behind, Some(RefusalCause::Stream(older)), 9, State::Diverged),
        ];
        for (active, behind, refused, now, expected) in cases {
            let published =
                PublishedState { active, behind, refused, fresh_until_seconds: 10, ..PublishedState::default() };
            let status = published.status(now);
            assert_eq!((status.state, status.behind), (expected, behind), "{published:?}");
            assert_eq!(status.is_stale, now >= 10 || published.active.is_none());
        }
    }
}
