//! The schedules of a log, replayed: whether each run is one that a schedule asked for, at its time, once, and from its base.
//!
//! Which weekly times there were is not replayed: that needs a database of time zones, which programs with the SDK have not.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::super::error::{Error, Result};
use super::super::super::event::{Cursor, EventKind, EventSchedule, Payload, RowChange};
use super::super::super::name::PolicyId;
use super::super::super::schedule::{ScheduleEntry, ScheduleId, When};
use super::super::super::time::Micros;

/// The table of schedules, as events name it.
const TABLE: &str = "schedules";

/// The schedules of a namespace, and when each pointer moved last.
#[derive(Debug, Default)]
pub(super) struct SchedulesReplay {
    schedules: BTreeMap<ScheduleId, ScheduleReplay>,
    moved: BTreeMap<PolicyId, i64>,
}

#[derive(Debug)]
struct ScheduleReplay {
    entries: Vec<ScheduleEntry>,
    /// The event after which no pointer of its policies may have moved, and none may have been lost.
    base: Cursor,
    /// The last time for which it ran.
    last_due: Option<Micros>,
    state: ReplayedState,
}

/// What the log says of a schedule. That one is done is in no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReplayedState {
    Pending,
    Suspended,
    Cancelled,
}

/// The settings in the event that makes a schedule.
#[derive(Deserialize)]
struct ScheduleSettings {
    entries: Vec<ScheduleEntry>,
}

fn broken(message: impl Into<String>) -> Error {
    Error::data_loss(message)
}

impl ScheduleReplay {
    /// Returns whether it may still run.
    fn is_open(&self) -> bool {
        let is_to_come = |entry: &ScheduleEntry| match &entry.when {
            When::Once(time) => self.last_due.is_none_or(|last| *time > last),
            When::Weekly(_) => true,
        };
        match self.state {
            ReplayedState::Pending => self.entries.iter().any(is_to_come),
            ReplayedState::Suspended => true,
            ReplayedState::Cancelled => false,
        }
    }

    /// Checks that a run has the targets of an entry that can be due at its time.
    fn check_run(&self, payload: &Payload, due: Micros) -> Result<()> {
        let is_entry = |entry: &&ScheduleEntry| {
            let is_due = !matches!(entry.when, When::Once(time) if time != due);
            let targets = entry.targets.iter().map(|target| (&target.policy, target.version));
            is_due && targets.eq(payload.changes.iter().map(|moved| (&moved.policy, moved.version)))
        };
        self.entries
            .iter()
            .find(is_entry)
            .map(drop)
            .ok_or_else(|| broken("it moves what no entry of its schedule names"))
    }
}

impl SchedulesReplay {
    pub(super) fn check(&self, payload: &Payload) -> Result<()> {
        use EventKind as K;
        let Some(about) = &payload.schedule else {
            let is_about =
                matches!(payload.kind, K::Schedule | K::SuspendSchedule | K::ResumeSchedule | K::CancelSchedule);
            return if is_about { Err(broken("it names no schedule")) } else { Ok(()) };
        };
        let found = self.schedules.get(&about.id).filter(|schedule| schedule.is_open());
        if payload.kind == K::Schedule {
            return match (found, entries_of(payload)) {
                (Some(_), _) => Err(broken("it makes a schedule that there is")),
                (None, None) => Err(broken("it makes a schedule that can't be read")),
                (None, Some(_)) => Ok(()),
            };
        }
        let schedule =
            found.ok_or_else(|| broken(format!("the schedule {} had ended, or no event made it", about.id)))?;
        match (payload.kind, schedule.state) {
            (K::CancelSchedule, _) | (K::ResumeSchedule, ReplayedState::Suspended) => Ok(()),
            (K::SuspendSchedule | K::Activate, ReplayedState::Pending) => self.check_due(payload, about, schedule),
            (kind, _) => Err(broken(format!("{} of the schedule {} as it stood", kind.as_str(), about.id))),
        }
    }

    fn check_due(&self, payload: &Payload, about: &EventSchedule, schedule: &ScheduleReplay) -> Result<()> {
        let due = about.due_time.ok_or_else(|| broken("it names no time for which its schedule was due"))?;
        if due > payload.time {
            return Err(broken(format!("the schedule {} was not due before {due}", about.id)));
        }
        if schedule.last_due.is_some_and(|last| due <= last) {
            return Err(broken(format!("the schedule {} had run for {due}", about.id)));
        }
        if payload.kind == EventKind::SuspendSchedule {
            return Ok(());
        }
        let policies = schedule.entries.iter().flat_map(|entry| &entry.targets).map(|target| &target.policy);
        let moved = policies.filter_map(|policy| self.moved.get(policy)).max();
        if payload.epoch != schedule.base.epoch || moved.is_some_and(|revision| *revision > schedule.base.revision) {
            return Err(broken(format!("a pointer moved after the base of the schedule {}", about.id)));
        }
        schedule.check_run(payload, due)
    }

    pub(super) fn apply(&mut self, payload: &Payload) {
        let is_removed = |row: &&RowChange| row.table == TABLE && row.digest.is_none();
        for row in payload.rows.iter().filter(is_removed) {
            // A thaw removes schedules whose rows did not hold. Nothing else removes one.
            self.schedules.retain(|id, _| id.as_str() != row.key);
        }
        for moved in &payload.changes {
            self.moved.insert(moved.policy.clone(), payload.revision);
        }
        let Some(about) = &payload.schedule else { return };
        let at = Cursor { epoch: payload.epoch, revision: payload.revision };
        if payload.kind == EventKind::Schedule {
            let entries = entries_of(payload).unwrap_or_default();
            let (base, state) = (at, ReplayedState::Pending);
            self.schedules.insert(about.id.clone(), ScheduleReplay { entries, base, last_due: None, state });
        }
        let Some(schedule) = self.schedules.get_mut(&about.id) else { return };
        match payload.kind {
            EventKind::SuspendSchedule => schedule.state = ReplayedState::Suspended,
            EventKind::CancelSchedule => schedule.state = ReplayedState::Cancelled,
            EventKind::ResumeSchedule => (schedule.state, schedule.base) = (ReplayedState::Pending, at),
            EventKind::Activate => (schedule.last_due, schedule.base) = (about.due_time, at),
            _ => {}
        }
    }
}

fn entries_of(payload: &Payload) -> Option<Vec<ScheduleEntry>> {
    let settings = payload.settings.clone()?;
    serde_json::from_value::<ScheduleSettings>(settings).ok().map(|settings| settings.entries)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Returns an event of the log of `n`, at a time that is its revision.
    fn event(revision: i64, kind: &str, fields: Value) -> Payload {
        let mut event = json!({
            "store": "s", "namespace": "n", "epoch": 1, "revision": revision, "time": revision, "actor": "ann", "kind": kind,
        });
        for (field, value) in fields.as_object().expect("fields") {
            event[field] = value.clone();
        }
        serde_json::from_value(event).expect("a payload")
    }

    fn made(revision: i64, times: &[i64]) -> Payload {
        let targets = json!([{"policy": "p", "version": 2}]);
        let entries: Vec<Value> =
            times.iter().map(|time| json!({"targets": targets, "when": {"once": time}})).collect();
        let settings = json!({"entries": entries, "time_zone": ""});
        event(revision, "SCHEDULE", json!({"schedule": {"id": "s"}, "settings": settings}))
    }

    fn ran(revision: i64, due: i64, version: i64) -> Payload {
        let changes = json!([{"policy": "p", "version": version, "digest": null, "previous": 1}]);
        event(revision, "ACTIVATE", json!({"schedule": {"id": "s", "due_time": due}, "changes": changes}))
    }

    fn about(revision: i64, kind: &str, due: Option<i64>) -> Payload {
        event(revision, kind, json!({"schedule": {"id": "s", "due_time": due}}))
    }

    fn by_hand(revision: i64) -> Payload {
        let changes = json!([{"policy": "p", "version": 1, "digest": null, "previous": 2}]);
        event(revision, "ACTIVATE", json!({"changes": changes}))
    }

    /// Returns what the last event breaks. All events before it must be allowed.
    fn last(history: &[Payload]) -> std::result::Result<(), String> {
        let (mut replay, mut last) = (SchedulesReplay::default(), Ok(()));
        for event in history {
            assert_eq!(last, Ok(()), "before {event:?}");
            last = replay.check(event).map_err(|error| error.internal.unwrap_or(error.message));
            replay.apply(event);
        }
        last
    }

    #[test]
    fn what_schedules_do_is_allowed() {
        assert_eq!(last(&[made(1, &[5, 8]), ran(6, 5, 2), ran(9, 8, 2), made(10, &[12]), ran(13, 12, 2)]), Ok(()));
        let resumed =
            [made(1, &[5]), by_hand(2), about(6, "SUSPEND_SCHEDULE", Some(5)), about(7, "RESUME_SCHEDULE", None)];
        assert_eq!(last(&[&resumed[..], &[ran(8, 5, 2)]].concat()), Ok(()));
        assert_eq!(last(&[made(1, &[5]), about(2, "CANCEL_SCHEDULE", None), made(3, &[9])]), Ok(()));
    }

    #[test]
    fn a_thaw_ends_the_schedules_that_it_removes() {
        let removed = json!({"rows": [{"table": "schedules", "key": "s", "digest": null}]});
        let thawed = [made(1, &[5]), event(2, "THAW_NAMESPACE", removed)];
        assert_eq!(last(&[&thawed[..], &[made(3, &[9]), ran(10, 9, 2)]].concat()), Ok(()));
        let found = last(&[&thawed[..], &[ran(6, 5, 2)]].concat()).expect_err("it is gone");
        assert!(found.contains("had ended"), "{found}");
    }

    #[test]
    fn what_no_schedule_does_is_found() {
        for (history, wrong) in [
            (vec![made(1, &[5, 8]), ran(6, 5, 2), ran(7, 5, 2)], "had run for"),
            (vec![made(1, &[5]), ran(6, 5, 2), ran(7, 5, 2)], "had ended"),
            (vec![made(1, &[5]), ran(4, 5, 2)], "was not due"),
            (vec![made(1, &[5]), ran(6, 5, 3)], "no entry"),
            (vec![made(1, &[5]), ran(7, 6, 2)], "no entry"),
            (vec![made(1, &[5]), by_hand(2), ran(6, 5, 2)], "moved after the base"),
            (vec![made(1, &[5]), Payload { epoch: 2, ..ran(6, 5, 2) }], "moved after the base"),
            (vec![made(1, &[5]), about(2, "CANCEL_SCHEDULE", None), ran(6, 5, 2)], "had ended"),
            (vec![made(1, &[5]), about(6, "SUSPEND_SCHEDULE", Some(5)), ran(7, 5, 2)], "as it stood"),
            (vec![made(1, &[5]), about(2, "RESUME_SCHEDULE", None)], "as it stood"),
            (vec![made(1, &[5]), about(6, "SUSPEND_SCHEDULE", None)], "no time"),
            (vec![made(1, &[5]), made(2, &[6])], "that there is"),
            (vec![ran(6, 5, 2)], "no event made it"),
            (vec![event(1, "CANCEL_SCHEDULE", json!({}))], "names no schedule"),
            (vec![about(1, "SCHEDULE", None)], "can't be read"),
        ] {
            let found = last(&history).expect_err(wrong);
            assert!(found.contains(wrong), "{wrong}: {found}");
        }
    }
}
