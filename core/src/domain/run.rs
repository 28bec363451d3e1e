//! Runs: units of work of a runtime, each with the versions that were in force when it started, and how it ended.
//!
//! A run is a record, not a change of the namespace: it is no event and moves nothing.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::counted_noun::counted_noun;
use super::digest::Digest;
use super::error::{Error, Reason, Result};
use super::event::{Cursor, Position};
use super::limits::{RUN_ID_MAX_CHARS, RUN_MESSAGE_MAX_CHARS, RUN_POLICIES_MAX};
use super::name::{FOREIGN_ID_RULE, NamespaceId, PolicyId, PolicyName, is_foreign_id, parse_member};
use super::time::Micros;

/// The id a runtime gives a run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(String);

impl RunId {
    /// Takes an id; `field` is named in the error.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        if is_foreign_id(text, RUN_ID_MAX_CHARS) {
            return Ok(Self(text.to_owned()));
        }
        let rule = format!("must be 1 to {RUN_ID_MAX_CHARS} {FOREIGN_ID_RULE}");
        Err(Error::invalid_text(field, text, rule))
    }

    /// Returns the id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name of a run, for errors.
    #[must_use]
    pub fn name(&self, namespace: &NamespaceId) -> String {
        format!("{}/runs/{}", namespace.name(), self.0)
    }

    /// Takes the name of a run: `namespaces/{namespace}/runs/{run}`.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`.
    pub fn parse_name(field: &str, text: &str) -> Result<(NamespaceId, Self)> {
        let (namespace, id) = parse_member(field, text, "runs")?;
        Ok((namespace, Self::parse(field, id)?))
    }

    /// Returns the error for a run that is not there.
    #[must_use]
    pub fn not_found(&self, namespace: &NamespaceId) -> Error {
        let name = self.name(namespace);
        Error::new(Reason::RunNotFound, format!("{name} does not exist")).about(name)
    }
}

/// Says how a run ended, or that it did not yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum RunOutcome {
    /// It was not completed.
    Open,
    /// It did what it was for.
    Succeeded,
    /// It did not.
    Failed,
    /// Somebody ended it before.
    Cancelled,
}

impl RunOutcome {
    /// Every outcome, in the order of the proto.
    pub const ALL: [Self; 4] = [Self::Open, Self::Succeeded, Self::Failed, Self::Cancelled];

    /// Returns its name, as it is stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "OPEN",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }

    /// Takes a word; none for one that is no outcome.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == word)
    }
}

/// A policy of a run, with what was in force of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunPolicy {
    /// The policy.
    pub policy: PolicyId,
    /// The version in force.
    pub version: i64,
    /// Its digest.
    pub digest: Digest,
    /// Revision of the activation that put the version in force.
    pub activation_revision: i64,
}

/// The end of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunEnd {
    /// Says how it ended: never [`RunOutcome::Open`].
    pub outcome: RunOutcome,
    /// Holds what its recorder says of it, perhaps nothing.
    pub message: String,
    /// Says when that was said.
    pub complete_time: Micros,
}

/// A run, as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Says where it was recorded.
    pub namespace: NamespaceId,
    /// Its id.
    pub id: RunId,
    /// Holds what it ran under, in byte order of the policies; in a summary one of them. Never empty.
    pub policies: Vec<RunPolicy>,
    /// Says how many policies it ran under.
    pub policy_count: usize,
    /// Says whether it was recorded for the whole active set.
    pub is_whole_set: bool,
    /// Says where the log stood.
    pub cursor: Cursor,
    /// Says who recorded it.
    pub recorder: String,
    /// Says when it was recorded.
    pub create_time: Micros,
    /// Says how it ended; none: it is open.
    pub end: Option<RunEnd>,
}

impl Run {
    /// Returns how it ended, or that it did not.
    #[must_use]
    pub fn outcome(&self) -> RunOutcome {
        self.end.as_ref().map_or(RunOutcome::Open, |end| end.outcome)
    }

    /// Returns where it stands in a list of runs.
    #[must_use]
    pub fn key(&self) -> RunKey {
        RunKey { create_time: self.create_time, id: self.id.clone() }
    }
}

/// Orders runs in lists, which begin with the newest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunKey {
    /// Says when it was recorded.
    pub create_time: Micros,
    /// Its id, which orders those that were recorded in one microsecond.
    pub id: RunId,
}

/// Says how many runs under a version ended in one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunCount {
    /// The version of the policy that was asked for.
    pub version: i64,
    /// Says how they ended.
    pub outcome: RunOutcome,
    /// Says how many there are.
    pub runs: i64,
}

/// Asks for a run to be recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecordRun {
    /// Says where.
    pub namespace: NamespaceId,
    /// Its id.
    pub id: RunId,
    /// Holds what it runs under; empty: the whole active set.
    pub policies: BTreeSet<PolicyId>,
    /// Holds what the runtime holds; none: the head now.
    pub cursor: Option<Position>,
}

/// Asks for a run to be ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CompleteRun {
    /// Says where it was recorded.
    pub namespace: NamespaceId,
    /// Its id.
    pub id: RunId,
    /// Says how it ended: never [`RunOutcome::Open`].
    pub outcome: RunOutcome,
    /// Holds what is to be said of it.
    pub message: String,
}

/// Returns what a run was recorded for, in words.
fn recorded_for(run: &Run) -> String {
    match run.policies.as_slice() {
        _ if run.is_whole_set => format!("the active set of {}", counted_noun(run.policy_count, "policy", "policies")),
        [only] => PolicyName { namespace: run.namespace.clone(), policy: only.policy.clone() }.to_string(),
        _ => counted_noun(run.policy_count, "policy", "policies"),
    }
}

impl RecordRun {
    /// Checks that the run which has this id is this one: of this recorder, recorded for the same policies, and at the same cursor when one
    /// is given. Otherwise whoever is first with an id decides what the run of another one ran under.
    ///
    /// # Errors
    /// `RUN_CONFLICT`.
    pub fn check_same(&self, recorder: &str, recorded: &Run) -> Result<()> {
        let name = self.id.name(&self.namespace);
        if recorded.recorder != recorder {
            let message = format!("{name} is recorded already, by another principal");
            return Err(Error::new(Reason::RunConflict, message).about(name));
        }
        let is_same_question = if recorded.is_whole_set {
            self.policies.is_empty()
        } else {
            self.policies.iter().eq(recorded.policies.iter().map(|each| &each.policy))
        };
        if is_same_question && self.cursor.is_none_or(|at| at.cursor == recorded.cursor) {
            return Ok(());
        }
        let (at, what) = (recorded.cursor, recorded_for(recorded));
        let message = format!("{name} is recorded already, for {what} at {}:{}", at.epoch, at.revision);
        Err(Error::new(Reason::RunConflict, message)
            .with("recorded_for", what)
            .with("recorded_epoch", at.epoch)
            .with("recorded_revision", at.revision)
            .about(name))
    }

    /// Checks that a run has no more policies than an answer holds.
    ///
    /// # Errors
    /// `LIMIT_EXCEEDED`.
    pub fn check_size(&self, policies: usize) -> Result<()> {
        if policies <= RUN_POLICIES_MAX {
            return Ok(());
        }
        let message = format!(
            "{policies} policies are active, and a run has at most {RUN_POLICIES_MAX}: name those it runs under"
        );
        Err(Error::new(Reason::LimitExceeded, message).with("limit", RUN_POLICIES_MAX))
    }
}

impl CompleteRun {
    /// Checks that a message is short text without control characters.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`.
    pub fn check_message(text: &str) -> Result<()> {
        if text.chars().count() <= RUN_MESSAGE_MAX_CHARS && !text.chars().any(char::is_control) {
            return Ok(());
        }
        let rule = format!("must be at most {RUN_MESSAGE_MAX_CHARS} characters, none of them a control character");
        Err(Error::invalid("message", rule))
    }

    /// Returns whether the run ended just so already. Only its recorder ends a run, and only once.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` for another principal, `RUN_CONFLICT` when it ended in another way.
    pub fn is_done(&self, recorder: &str, recorded: &Run) -> Result<bool> {
        let name = self.id.name(&self.namespace);
        if recorded.recorder != recorder {
            let message = format!("{name} was recorded by another principal: only its recorder completes it");
            return Err(Error::new(Reason::PermissionDenied, message).with("actor", recorder));
        }
        let Some(end) = &recorded.end else { return Ok(false) };
        if (end.outcome, &end.message) == (self.outcome, &self.message) {
            return Ok(true);
        }
        let outcome = end.outcome.as_str();
        let message = format!("{name} is completed already, as {outcome} with the message '{}'", end.message);
        Err(Error::new(Reason::RunConflict, message).with("recorded_outcome", outcome).about(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(names: &str) -> BTreeSet<PolicyId> {
        names.split_whitespace().map(|id| PolicyId::parse("p", id).expect("an id")).collect()
    }

    fn namespace() -> NamespaceId {
        NamespaceId::parse("n", "n").expect("an id")
    }

    fn recorded(policies: &str, is_whole_set: bool) -> Run {
        let policies = ids(policies).into_iter().map(|policy| RunPolicy {
            policy,
            version: 2,
            digest: Digest::from_sha256(&[1; 32]),
            activation_revision: 7,
        });
        let policies: Vec<RunPolicy> = policies.collect();
        Run {
            namespace: namespace(),
            id: RunId::parse("id", "job-7").expect("an id"),
            policy_count: policies.len(),
            policies,
            is_whole_set,
            cursor: Cursor { epoch: 1, revision: 9 },
            recorder: "local:ci".to_owned(),
            create_time: Micros(1),
            end: None,
        }
    }

    #[test]
    fn a_run_is_the_same_by_recorder_policies_and_cursor() {
        let at = |epoch, revision| Some(Cursor { epoch, revision }.into());
        let (one, two, all) = (recorded("a", false), recorded("a b", false), recorded("a b", true));
        for (run, recorder, names, cursor, same) in [
            (&one, "local:ci", "a", at(1, 9), true),
            (&one, "local:ci", "a", None, true),
            (&one, "local:ci", "a", at(1, 8), false),
            (&one, "local:ci", "a", at(2, 9), false),
            (&one, "local:ci", "b", at(1, 9), false),
            (&one, "local:ci", "b", None, false),
            (&one, "local:ci", "a b", None, false),
            (&one, "local:ci", "", None, false),
            (&one, "local:c", "a", at(1, 9), false),
            (&one, "local:c", "a", None, false),
            (&two, "local:ci", "b a", None, true),
            (&two, "local:ci", "a", None, false),
            (&two, "local:ci", "", None, false),
            (&all, "local:ci", "", None, true),
            (&all, "local:ci", "", at(1, 9), true),
            (&all, "local:ci", "a b", None, false),
        ] {
            let asked = RecordRun { namespace: namespace(), id: run.id.clone(), policies: ids(names), cursor };
            let reason = asked.check_same(recorder, run).err().map(|error| error.reason);
            assert_eq!(reason, (!same).then_some(Reason::RunConflict), "{recorder} {names} {cursor:?}");
        }
    }

    #[test]
    fn a_run_ends_once_and_by_its_recorder() {
        let asked = |outcome, message: &str| CompleteRun {
            namespace: namespace(),
            id: RunId::parse("id", "job-7").expect("an id"),
            outcome,
            message: message.to_owned(),
        };
        let done = |run: &Run, who, asked: &CompleteRun| asked.is_done(who, run).map_err(|error| error.reason);
        let open = recorded("a b", true);
        assert_eq!(done(&open, "local:ci", &asked(RunOutcome::Failed, "x")), Ok(false));
        assert_eq!(done(&open, "local:c", &asked(RunOutcome::Failed, "x")), Err(Reason::PermissionDenied));
        let end = RunEnd { outcome: RunOutcome::Failed, message: "x".to_owned(), complete_time: Micros(2) };
        let ended = Run { end: Some(end), ..open };
        assert_eq!(done(&ended, "local:ci", &asked(RunOutcome::Failed, "x")), Ok(true));
        for other in [asked(RunOutcome::Failed, ""), asked(RunOutcome::Succeeded, "x")] {
            assert_eq!(done(&ended, "local:ci", &other), Err(Reason::RunConflict));
        }
        assert_eq!(done(&ended, "local:c", &asked(RunOutcome::Failed, "x")), Err(Reason::PermissionDenied));
    }

    #[test]
    fn messages_and_sets_are_bounded() {
        let ok = |text: &str| CompleteRun::check_message(text).is_ok();
        let longest = "ä".repeat(RUN_MESSAGE_MAX_CHARS);
        assert!(ok("") && ok("done: 7 rows") && ok(&longest));
        assert!(!ok(&format!("{longest}x")) && !ok("a\nb") && !ok("a\0"));
        let id = RunId::parse("id", "r").expect("an id");
        let asked = RecordRun { namespace: namespace(), id, policies: BTreeSet::new(), cursor: None };
        assert!(asked.check_size(RUN_POLICIES_MAX).is_ok());
        let refused = asked.check_size(RUN_POLICIES_MAX + 1).expect_err("too many");
        assert_eq!(refused.reason, Reason::LimitExceeded);
        assert_eq!(RunOutcome::ALL.map(|outcome| RunOutcome::of_word(outcome.as_str())), RunOutcome::ALL.map(Some));
    }
}
