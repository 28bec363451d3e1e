//! Runs: units of work of a runtime, each with the version that was in force when it started.
//!
//! A run is a record, not a change of the namespace: it is no event and moves nothing.

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::error::{Error, Reason, Result};
use super::event::Cursor;
use super::limits::RUN_ID_MAX_CHARS;
use super::name::{NamespaceId, PolicyName, is_foreign_id};
use super::time::Micros;

/// The id a runtime gives a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(String);

impl RunId {
    /// Takes an id; `field` is named in the error.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        if is_foreign_id(text, RUN_ID_MAX_CHARS) {
            return Ok(Self(text.to_owned()));
        }
        let rule = format!("must be 1 to {RUN_ID_MAX_CHARS} printable ASCII characters without spaces");
        Err(Error::invalid(field, rule))
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of a run, for errors.
    #[must_use]
    pub fn name(&self, namespace: &NamespaceId) -> String {
        format!("{}/runs/{}", namespace.name(), self.0)
    }
}

/// A run, as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// What it ran under.
    pub policy: PolicyName,
    /// The version in force.
    pub version: i64,
    /// Its digest.
    pub digest: Digest,
    /// Where the log stood.
    pub cursor: Cursor,
    /// Revision of the activation that put the version in force.
    pub active_revision: i64,
    /// Who recorded it.
    pub recorder: String,
    /// When it was recorded.
    pub create_time: Micros,
}

/// Asks for a run to be recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecordRun {
    /// Its id.
    pub id: RunId,
    /// What it runs under.
    pub policy: PolicyName,
    /// What the runtime holds; none: the head now.
    pub cursor: Option<Cursor>,
}

impl RecordRun {
    /// The run that has this id must be this one: of this recorder, of the same policy, and at the same cursor when one is
    /// given. Otherwise whoever is first with an id decides what the run of another one ran under.
    ///
    /// # Errors
    /// `RUN_CONFLICT`.
    pub fn check_same(&self, recorder: &str, recorded: &Run) -> Result<()> {
        let name = self.id.name(&self.policy.namespace);
        if recorded.recorder != recorder {
            let message = format!("{name} is recorded already, by another principal");
            return Err(Error::new(Reason::RunConflict, message).about(name));
        }
        if recorded.policy == self.policy && self.cursor.is_none_or(|cursor| cursor == recorded.cursor) {
            return Ok(());
        }
        let at = recorded.cursor;
        let message = format!("{name} is recorded already, for {} at {}:{}", recorded.policy, at.epoch, at.revision);
        Err(Error::new(Reason::RunConflict, message)
            .with("recorded_policy", &recorded.policy)
            .with("recorded_epoch", at.epoch)
            .with("recorded_revision", at.revision)
            .about(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_the_same_by_recorder_policy_and_cursor() {
        let policy = |id: &str| PolicyName::parse("p", &format!("namespaces/n/policies/{id}")).expect("a name");
        let at = |epoch, revision| Some(Cursor { epoch, revision });
        let id = RunId::parse("id", "job/7").expect("an id");
        let digest = Digest::from_sha256(&[1; 32]);
        let recorded = Run {
            id: id.clone(),
            policy: policy("a"),
            version: 2,
            digest,
            cursor: Cursor { epoch: 1, revision: 9 },
            active_revision: 7,
            recorder: "local:ci".to_owned(),
            create_time: Micros(1),
        };
        for (recorder, name, cursor, same) in [
            ("local:ci", "a", at(1, 9), true),
            ("local:ci", "a", None, true),
            ("local:ci", "a", at(1, 8), false),
            ("local:ci", "a", at(2, 9), false),
            ("local:ci", "b", at(1, 9), false),
            ("local:ci", "b", None, false),
            ("local:c", "a", at(1, 9), false),
            ("local:c", "a", None, false),
        ] {
            let asked = RecordRun { id: id.clone(), policy: policy(name), cursor };
            let reason = asked.check_same(recorder, &recorded).err().map(|error| error.reason);
            assert_eq!(reason, (!same).then_some(Reason::RunConflict), "{recorder} {name} {cursor:?}");
        }
    }
}
