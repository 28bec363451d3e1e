//! CreateSchedule: plans activations for later, once or every week.

use super::change::write_schedule;
use crate::domain::command::{Activate, CreateSchedule, EntryToSchedule};
use crate::domain::error::FieldViolation;
use crate::domain::event::EventKind;
use crate::domain::lifecycle;
use crate::domain::limits::{SCHEDULE_AHEAD_MAX_DAYS, SCHEDULES_OPEN_PER_NAMESPACE_MAX};
use crate::domain::outcome::ScheduleChanged;
use crate::domain::schedule::{Schedule, ScheduleEntry, ScheduleState, ScheduledTarget, When, next_time};
use crate::domain::time::Micros;
use crate::domain::{Error, Reason, Result};
use crate::service::context::Context;
use crate::service::log::Write;
use crate::service::policies::activate::{collect_facts, read_targets};
use crate::service::policies::use_cases::Policies;

const MICROS_PER_DAY: i64 = 24 * 60 * 60 * 1_000_000;

impl Policies {
    /// Creates a schedule.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, `SCHEDULE_EXISTS`, `LIMIT_EXCEEDED`, `INVALID_ARGUMENT`, also for a time that is not in the future;
    /// `POLICY_NOT_FOUND`, `VERSION_NOT_FOUND`, `VERSION_NOT_PUBLISHED`, `DUPLICATE_TARGET`.
    pub async fn create_schedule(&self, context: &Context, request: CreateSchedule) -> Result<ScheduleChanged> {
        for entry in &request.entries {
            lifecycle::check_activate(&activation(&request, entry))?;
        }
        let call = self.writer.call(context, "CreateSchedule", &request)?;
        call.mutate(&request.schedule.namespace, async |write| {
            let now = write.time();
            check_future(&request.entries, now)?;
            let edits = check_room(write, &request).await?;
            let mut entries = Vec::with_capacity(request.entries.len());
            for entry in &request.entries {
                entries.push(resolve(write, &request, entry).await?);
            }
            let schedule = Schedule {
                name: request.schedule.clone(),
                next_time: next_time(&entries, &request.time_zone, now)?,
                entries,
                time_zone: request.time_zone.clone(),
                state: ScheduleState::Pending,
                creator: context.actor(),
                reason: request.reason.clone(),
                base: write.tx.head().next(),
                handled_until: now,
                last_due_time: None,
                problem: String::new(),
                edits: edits + 1,
                create_time: now,
                update_time: now,
            };
            write_schedule(write, EventKind::Schedule, request.reason.clone(), schedule).await
        })
        .await
    }
}

/// Returns the activation of an entry.
fn activation(request: &CreateSchedule, entry: &EntryToSchedule) -> Activate {
    Activate {
        namespace: request.schedule.namespace.clone(),
        targets: entry.targets.clone(),
        reason: request.reason.clone(),
        unmoved_since: None,
        skip_validation: false,
    }
}

/// Checks that every time is still to come, and not beyond what a schedule may wait for.
fn check_future(entries: &[EntryToSchedule], now: Micros) -> Result<()> {
    let latest = Micros(now.0.saturating_add(SCHEDULE_AHEAD_MAX_DAYS * MICROS_PER_DAY));
    let rule = |entry: &EntryToSchedule| match entry.when {
        When::Once(time) if time <= now => Some(format!("must be in the future; it is {now}")),
        When::Once(time) if time > latest => {
            Some(format!("must be within {SCHEDULE_AHEAD_MAX_DAYS} days; it is {now}"))
        }
        When::Once(_) | When::Weekly(_) => None,
    };
    let violation = |(index, entry)| {
        Some(FieldViolation { field: format!("schedule.entries[{index}].time"), description: rule(entry)? })
    };
    let violations: Vec<FieldViolation> = entries.iter().enumerate().filter_map(violation).collect();
    if violations.is_empty() { Ok(()) } else { Err(Error::invalid_fields(violations)) }
}

/// Checks that there is no open schedule of this name, and room for one. Returns how often the row of an ended one was written.
async fn check_room(write: &Write<'_>, request: &CreateSchedule) -> Result<i64> {
    let tx = write.tx.read();
    let found = tx.find_schedule(&request.schedule).await?;
    if let Some(open) = found.as_ref().filter(|found| found.state.is_open()) {
        let message = format!("{} exists and is {}", open.name, open.state.as_str());
        return Err(Error::new(Reason::ScheduleExists, message).about(&open.name));
    }
    if tx.count_open_schedules(&request.schedule.namespace).await? >= SCHEDULES_OPEN_PER_NAMESPACE_MAX {
        let message = format!(
            "there are {SCHEDULES_OPEN_PER_NAMESPACE_MAX} pending or suspended schedules here: cancel one first"
        );
        let error = Error::new(Reason::LimitExceeded, message);
        return Err(error.with("limit_schedules", SCHEDULES_OPEN_PER_NAMESPACE_MAX));
    }
    Ok(found.map_or(0, |found| found.edits))
}

/// Returns an entry with the numbers of its versions, which could be activated now.
async fn resolve(write: &Write<'_>, request: &CreateSchedule, entry: &EntryToSchedule) -> Result<ScheduleEntry> {
    let activation = activation(request, entry);
    let (policies, versions) = read_targets(write.tx.read(), &activation.namespace, &activation.targets).await?;
    let moves = lifecycle::activate(&activation.targets, &collect_facts(&activation, &policies, &versions)?)?;
    let targets = moves.into_iter().map(|moved| ScheduledTarget { policy: moved.policy, version: moved.version });
    Ok(ScheduleEntry { targets: targets.collect(), when: entry.when.clone() })
}
