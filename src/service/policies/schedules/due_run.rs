//! A run of a schedule: what it is based on, and how its row moves on in the transaction that activates.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::defect::{Defect, planted};
use crate::domain::command::{Activate, ActivationTarget, PointerTarget};
use crate::domain::digest::short_hash;
use crate::domain::event::EventSchedule;
use crate::domain::name::PolicyId;
use crate::domain::schedule::{Occurrence, Schedule, ScheduleState, check_base, next_time};
use crate::domain::time::Micros;
use crate::domain::{Error, Reason, Result};
use crate::service::log::Write;
use crate::service::policies::use_cases::Policies;

/// A schedule that is due, as it was read before the lock.
#[derive(Debug)]
pub struct DueRun {
    pub(super) schedule: Schedule,
    pub(super) occurrence: Occurrence,
    /// The time by the clock of the store at which it was due.
    now: Micros,
    /// Whether this replica wrote the row. Otherwise an answer is that of another one, which was kept under the same request id.
    is_written: AtomicBool,
}

impl DueRun {
    pub(super) fn new(schedule: Schedule, occurrence: Occurrence, now: Micros) -> Self {
        Self { schedule, occurrence, now, is_written: AtomicBool::new(false) }
    }

    /// Returns whether this replica wrote what became of the run.
    pub(super) fn is_written(&self) -> bool {
        self.is_written.load(Ordering::Relaxed)
    }

    /// Writes the row of the schedule. The next event of this write names it.
    pub(super) async fn put(&self, write: &Write<'_>, schedule: &Schedule) -> Result<()> {
        self.is_written.store(true, Ordering::Relaxed);
        write.tx.put_schedule(schedule).await
    }

    /// Returns the id of the request of this run: the same on every replica, and another one for every other run.
    pub(super) fn request_id(&self) -> String {
        if planted(Defect::ScheduleMovedOnLater) {
            return String::new();
        }
        let (name, edits) = (self.schedule.name.to_string(), self.schedule.edits.to_be_bytes());
        short_hash([name.as_bytes(), &edits, &self.occurrence.time.0.to_be_bytes()])
    }

    /// Returns the activation of the entry that is due.
    pub(super) fn activation(&self) -> Result<Activate> {
        let entry = self.schedule.entries.get(self.occurrence.entry);
        let entry = entry.ok_or_else(|| Error::internal("an entry that is due and not there"))?;
        let targets = entry.targets.iter().map(|target| ActivationTarget {
            policy: target.policy.clone(),
            to: PointerTarget::Number(target.version),
            expected_active: None,
        });
        Ok(Activate {
            namespace: self.schedule.name.namespace.clone(),
            targets: targets.collect(),
            reason: self.schedule.reason.clone(),
            unmoved_since: None,
            skip_validation: false,
        })
    }

    /// Returns what the event of this run says of the schedule.
    pub(super) fn event(&self) -> EventSchedule {
        EventSchedule {
            id: self.schedule.name.id.clone(),
            creator: Some(self.schedule.creator.clone()),
            due_time: Some(self.occurrence.time),
        }
    }

    /// Returns the schedule after this run, whose event is the next one.
    pub(super) fn after(&self, write: &Write<'_>) -> Result<Schedule> {
        let Schedule { entries, time_zone, edits, .. } = &self.schedule;
        let next_time = next_time(entries, time_zone, self.now)?;
        Ok(Schedule {
            state: if next_time.is_some() { ScheduleState::Pending } else { ScheduleState::Done },
            base: write.tx.head().next(),
            handled_until: self.now,
            next_time,
            last_due_time: Some(self.occurrence.time),
            edits: edits + 1,
            update_time: write.time(),
            ..self.schedule.clone()
        })
    }

    /// Moves the row of the schedule on. The event of the run names it.
    pub(in crate::service::policies) async fn end_run(&self, write: &Write<'_>) -> Result<EventSchedule> {
        if planted(Defect::ScheduleMovedOnLater) {
            self.is_written.store(true, Ordering::Relaxed);
        } else {
            self.put(write, &self.after(write)?).await?;
        }
        Ok(self.event())
    }

    /// Checks under the lock that the schedule is as it was when it was found due.
    ///
    /// # Errors
    /// `CONCURRENT_CHANGE` when another replica carried it out, or somebody changed it.
    pub(super) async fn check_unchanged(&self, write: &Write<'_>) -> Result<()> {
        if write.tx.read().find_schedule(&self.schedule.name).await?.as_ref() == Some(&self.schedule) {
            return Ok(());
        }
        Err(Error::new(Reason::ConcurrentChange, "the schedule was carried out or changed meanwhile"))
    }
}

impl Policies {
    /// Checks under the lock that a run may begin.
    ///
    /// # Errors
    /// `CONCURRENT_CHANGE`, `EXPECTED_ACTIVE_MISMATCH` when a pointer of its policies moved since the base of the schedule.
    pub(in crate::service::policies) async fn begin_run(&self, write: &mut Write<'_>, due: &DueRun) -> Result<()> {
        due.check_unchanged(write).await?;
        let ids: Vec<&PolicyId> = due.schedule.policies().into_iter().collect();
        let policies = write.tx.read().policies_named(&due.schedule.name.namespace, &ids).await?;
        let checked = check_base(&due.schedule, &policies, write.tx.head().cursor.epoch);
        write.rely_on_pointers(ids);
        match checked {
            Ok(()) => Ok(()),
            Err(refusal) => Err(self.add_who_moved(write.tx.read(), &policies, refusal).await),
        }
    }
}
