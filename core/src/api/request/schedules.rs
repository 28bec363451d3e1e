//! Requests about schedules.

use std::collections::BTreeSet;

use super::collect_errors::{at_most, collect_all_errors, collect_errors};
use super::fields::{etag, namespace};
use crate::api::filter::{ListQuery, parse_asked};
use crate::api::page::ListIdentity;
use crate::api::pb;
use crate::api::pb::schedule_entry::When as WrittenWhen;
use crate::api::pb::scheduled_target::To;
use crate::api::time::micros;
use crate::domain::command::{
    ActivationTarget, ChangeSchedule, CreateSchedule, EntryToSchedule, PageRequest, PointerTarget,
};
use crate::domain::error::REQUIRED;
use crate::domain::filter::Filter;
use crate::domain::limits::{ACTIVATION_TARGETS_MAX, SCHEDULE_ENTRIES_MAX};
use crate::domain::listing::SCHEDULES;
use crate::domain::name::{NamespaceId, PolicyId};
use crate::domain::schedule::{
    LocalTime, Schedule, ScheduleId, ScheduleName, Weekday, WeeklyTime, When, check_entries, check_time_zone,
};
use crate::domain::{Error, Result};

/// Reads the name of a schedule.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn schedule_name(field: &str, name: &str) -> Result<ScheduleName> {
    ScheduleName::parse(field, name)
}

/// Reads a CreateSchedule request.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn create_schedule(request: pb::CreateScheduleRequest) -> Result<CreateSchedule> {
    let given = request.schedule.ok_or_else(|| Error::invalid("schedule", REQUIRED))?;
    let names =
        collect_errors(namespace("parent", &request.parent), ScheduleId::parse("schedule_id", &request.schedule_id));
    let (namespace, id) = names?;
    at_most("schedule.entries", &given.entries, SCHEDULE_ENTRIES_MAX)?;
    let entries = collect_all_errors(given.entries.into_iter().enumerate().map(|each| entry(&namespace, each)))?;
    check_entries("schedule.entries", entries.iter().map(|entry| &entry.when))?;
    check_time_zone("schedule.time_zone", &given.time_zone, entries.iter().map(|entry| &entry.when))?;
    let schedule = ScheduleName { namespace, id };
    Ok(CreateSchedule { schedule, entries, time_zone: given.time_zone, reason: request.reason })
}

fn entry(namespace: &NamespaceId, (index, from): (usize, pb::ScheduleEntry)) -> Result<EntryToSchedule> {
    let field = format!("schedule.entries[{index}]");
    at_most(&format!("{field}.targets"), &from.targets, ACTIVATION_TARGETS_MAX)?;
    let targets = from
        .targets
        .into_iter()
        .enumerate()
        .map(|(at, from)| target(&format!("{field}.targets[{at}]"), namespace, from));
    let (targets, when) = collect_errors(collect_all_errors(targets), when(&field, from.when))?;
    Ok(EntryToSchedule { targets, when })
}

fn target(field: &str, namespace: &NamespaceId, from: pb::ScheduledTarget) -> Result<ActivationTarget> {
    let policy = PolicyId::parse_within(&format!("{field}.policy"), namespace, &from.policy)?;
    let to = match from.to {
        Some(To::Version(number)) => PointerTarget::Number(number),
        Some(To::Label(text)) => PointerTarget::Label(policy.parse_label(&format!("{field}.label"), &text)?),
        None => return Err(Error::invalid(format!("{field}.version"), REQUIRED)),
    };
    Ok(ActivationTarget { policy, to, expected_active: None })
}

fn when(field: &str, from: Option<WrittenWhen>) -> Result<When> {
    let weekly = match from {
        None => return Err(Error::invalid(format!("{field}.time"), "is required, or weekly")),
        Some(WrittenWhen::Time(time)) => return micros(&format!("{field}.time"), time).map(When::Once),
        Some(WrittenWhen::Weekly(weekly)) => weekly,
    };
    let time = LocalTime::parse(&format!("{field}.weekly.time"), &weekly.time);
    let days = format!("{field}.weekly.weekdays");
    let weekdays: Option<BTreeSet<Weekday>> = weekly.weekdays.iter().map(|number| weekday(*number)).collect();
    let weekdays = match weekdays {
        Some(weekdays) if weekdays.len() == weekly.weekdays.len() && !weekdays.is_empty() => Ok(weekdays),
        _ => Err(Error::invalid(days, "must be one or more days of the week, each once")),
    };
    let (time, weekdays) = collect_errors(time, weekdays)?;
    Ok(When::Weekly(WeeklyTime { weekdays, time }))
}

fn weekday(number: i32) -> Option<Weekday> {
    let index = usize::try_from(number).ok()?.checked_sub(1)?;
    Weekday::ALL.get(index).copied()
}

/// Reads a CancelSchedule request.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn cancel_schedule(request: pb::CancelScheduleRequest) -> Result<ChangeSchedule> {
    let (schedule, etag) = collect_errors(schedule_name("name", &request.name), etag(&request.etag))?;
    Ok(ChangeSchedule { schedule, etag, reason: request.reason })
}

/// Reads a ResumeSchedule request.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn resume_schedule(request: pb::ResumeScheduleRequest) -> Result<ChangeSchedule> {
    let (schedule, etag) = collect_errors(schedule_name("name", &request.name), etag(&request.etag))?;
    Ok(ChangeSchedule { schedule, etag, reason: request.reason })
}

/// Reads a ListSchedules request.
///
/// # Errors
/// `INVALID_ARGUMENT`, `INVALID_PAGE_TOKEN`.
pub fn list_schedules(
    request: &pb::ListSchedulesRequest,
) -> Result<(NamespaceId, ListIdentity, PageRequest<ScheduleId>, Filter<Schedule>)> {
    let wanted = parse_asked(&SCHEDULES, None, &request.filter, &request.order_by);
    let (namespace, ListQuery { filter, key, .. }) = collect_errors(namespace("parent", &request.parent), wanted)?;
    let list = ListIdentity::new(["ListSchedules", &request.parent, &key]);
    let page = list.page(request.page_size, &request.page_token, |key| ScheduleId::parse("key", key).ok())?;
    Ok((namespace, list, page, filter))
}
