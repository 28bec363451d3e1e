//! A schedule as it stands, and the decisions about it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::entry::ScheduleEntry;
use super::id::ScheduleName;
use crate::domain::error::{Error, Reason, Result};
use crate::domain::etag::Etag;
use crate::domain::event::Cursor;
use crate::domain::name::PolicyId;
use crate::domain::policy::Policy;
use crate::domain::time::Micros;

/// What a schedule does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ScheduleState {
    /// It runs when it is due.
    Pending,
    /// It was due and did not run. It waits for somebody who resumes or cancels it.
    Suspended,
    /// It ran for the last time.
    Done,
    /// Somebody ended it.
    Cancelled,
}

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Its name.
    pub name: ScheduleName,
    /// What it puts in force, and when.
    pub entries: Vec<ScheduleEntry>,
    /// The IANA time zone of its weekly times; empty when it has none.
    pub time_zone: String,
    /// What it does next.
    pub state: ScheduleState,
    /// Who made it.
    pub creator: String,
    /// Why, in the creator's words.
    pub reason: String,
    /// The event since which no pointer of its policies may have moved.
    pub base: Cursor,
    /// The time up to which its occurrences are dealt with: those until then never run again.
    pub handled_until: Micros,
    /// Its next occurrence; none unless it is pending.
    pub next_time: Option<Micros>,
    /// The time for which it ran last.
    pub last_due_time: Option<Micros>,
    /// Why it is suspended; empty unless it is.
    pub problem: String,
    /// The number of writes: every run and every change of state raises it.
    #[serde(rename = "etag")]
    pub edits: i64,
    /// The time at which it was made.
    pub create_time: Micros,
    /// The time of the last change.
    pub update_time: Micros,
}

impl ScheduleState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Suspended, Self::Done, Self::Cancelled];

    /// Returns the word kept in the database and in events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Suspended => "SUSPENDED",
            Self::Done => "DONE",
            Self::Cancelled => "CANCELLED",
        }
    }

    /// Returns whether it may still run.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Suspended)
    }
}

impl Schedule {
    /// Returns the etag of this state of the schedule.
    #[must_use]
    pub fn etag(&self) -> Etag {
        let name = self.name.to_string();
        let (edits, created) = (self.edits.to_be_bytes(), self.create_time.0.to_be_bytes());
        Etag::derive("schedule", &[name.as_bytes(), &edits, &created])
    }

    /// Returns the policies whose pointers it moves.
    #[must_use]
    pub fn policies(&self) -> BTreeSet<&PolicyId> {
        self.entries.iter().flat_map(|entry| &entry.targets).map(|target| &target.policy).collect()
    }

    /// Checks that it is in one of some states.
    ///
    /// # Errors
    /// `SCHEDULE_STATE_WRONG`.
    pub fn check_state(&self, states: &[ScheduleState]) -> Result<()> {
        if states.contains(&self.state) {
            return Ok(());
        }
        let allowed: Vec<&str> = states.iter().map(|state| state.as_str()).collect();
        let state = self.state.as_str();
        let message = format!("{} is {state}, not {}", self.name, allowed.join(" or "));
        Err(Error::new(Reason::ScheduleStateWrong, message).with("state", state).about(&self.name))
    }
}

/// Checks that no pointer of the policies of a schedule moved since its base: somebody else decided meanwhile what is in force, and the
/// schedule must not overrule that. `epoch` is that of the log: a move may be among the events that were lost when it was raised.
///
/// # Errors
/// `EXPECTED_ACTIVE_MISMATCH`.
pub fn check_base(schedule: &Schedule, policies: &[Policy], epoch: i64) -> Result<()> {
    if schedule.base.epoch != epoch {
        let message =
            format!("the epoch is {epoch}, and {} at the base of the schedule: events were lost", schedule.base.epoch);
        return Err(Error::new(Reason::ExpectedActiveMismatch, message).about(&schedule.name));
    }
    let moved = policies.iter().find(|policy| policy.active_revision > schedule.base.revision);
    let Some(policy) = moved else { return Ok(()) };
    let (base, at) = (schedule.base.revision, policy.active_revision);
    let message =
        format!("the pointer of {} moved at revision {at}, after {base}, the base of the schedule", policy.name);
    Err(Error::new(Reason::ExpectedActiveMismatch, message).with("policy", &policy.name).about(&policy.name))
}

/// Returns whether a schedule that can't run for this reason is suspended. For any other, it is tried again: the reason may be gone the
/// next time, and nobody has to decide anything.
#[must_use]
pub fn suspends(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::PolicyNotFound
            | Reason::VersionNotFound
            | Reason::VersionNotPublished
            | Reason::ExpectedActiveMismatch
            | Reason::ValidationFailed
            | Reason::RequirementBroken
            | Reason::ApprovalsMissing
            | Reason::KeyStateWrong
            | Reason::InvalidArgument
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_go_away_by_itself_never_suspends() {
        let passing = [
            Reason::ConcurrentChange,
            Reason::LimitExceeded,
            Reason::ImportUnfinished,
            Reason::StoreInDoubt,
            Reason::SigningUnavailable,
            Reason::ChecksUnavailable,
            Reason::OutcomeUnknown,
            Reason::DeadlineExceeded,
            Reason::ServerDraining,
            Reason::DataLoss,
            Reason::Internal,
        ];
        for reason in
            Reason::ALL.iter().copied().filter(|reason| reason.is_of_the_database() || passing.contains(reason))
        {
            assert!(!suspends(reason), "{reason:?}");
        }
        for reason in [Reason::ExpectedActiveMismatch, Reason::ValidationFailed, Reason::ApprovalsMissing] {
            assert!(suspends(reason), "{reason:?}");
        }
    }

    #[test]
    fn a_schedule_is_in_the_state_that_is_asked_for_or_refused() {
        let name = ScheduleName::parse("name", "namespaces/n/schedules/s").unwrap();
        for state in ScheduleState::ALL {
            let schedule = Schedule {
                name: name.clone(),
                entries: Vec::new(),
                time_zone: String::new(),
                state,
                creator: String::new(),
                reason: String::new(),
                base: Cursor { epoch: 1, revision: 5 },
                handled_until: Micros(1),
                next_time: None,
                last_due_time: None,
                problem: String::new(),
                edits: 1,
                create_time: Micros(1),
                update_time: Micros(1),
            };
            let error = schedule.check_state(&[ScheduleState::Pending, ScheduleState::Suspended]).err();
            assert_eq!(error.map(|error| error.reason), (!state.is_open()).then_some(Reason::ScheduleStateWrong));
            assert!(check_base(&schedule, &[], 1).is_ok());
            assert!(check_base(&schedule, &[], 2).is_err(), "the epoch was raised");
        }
    }
}
