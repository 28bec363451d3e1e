//! Schedules.

use crate::api::pb;
use crate::api::time::timestamp;
use crate::domain::event::Position;
use crate::domain::name::{NamespaceId, PolicyName};
use crate::domain::schedule::{Schedule, ScheduleEntry, ScheduleState, Weekday, When};

fn state(from: ScheduleState) -> pb::ScheduleState {
    match from {
        ScheduleState::Pending => pb::ScheduleState::Pending,
        ScheduleState::Suspended => pb::ScheduleState::Suspended,
        ScheduleState::Done => pb::ScheduleState::Done,
        ScheduleState::Cancelled => pb::ScheduleState::Cancelled,
    }
}

fn weekday(from: Weekday) -> pb::Weekday {
    match from {
        Weekday::Monday => pb::Weekday::Monday,
        Weekday::Tuesday => pb::Weekday::Tuesday,
        Weekday::Wednesday => pb::Weekday::Wednesday,
        Weekday::Thursday => pb::Weekday::Thursday,
        Weekday::Friday => pb::Weekday::Friday,
        Weekday::Saturday => pb::Weekday::Saturday,
        Weekday::Sunday => pb::Weekday::Sunday,
    }
}

fn entry(namespace: &NamespaceId, from: ScheduleEntry) -> pb::ScheduleEntry {
    use pb::schedule_entry::When as Written;
    let target = |target: crate::domain::schedule::ScheduledTarget| pb::ScheduledTarget {
        policy: PolicyName { namespace: namespace.clone(), policy: target.policy }.to_string(),
        to: Some(pb::scheduled_target::To::Version(target.version)),
    };
    let when = match from.when {
        When::Once(time) => Written::Time(timestamp(time)),
        When::Weekly(weekly) => Written::Weekly(pb::WeeklyTime {
            weekdays: weekly.weekdays.into_iter().map(|day| weekday(day).into()).collect(),
            time: weekly.time.to_string(),
        }),
    };
    pb::ScheduleEntry { targets: from.targets.into_iter().map(target).collect(), when: Some(when) }
}

/// Writes a schedule.
#[must_use]
pub fn schedule(from: Schedule) -> pb::Schedule {
    let etag = from.etag().to_string();
    let namespace = &from.name.namespace;
    pb::Schedule {
        name: from.name.to_string(),
        entries: from.entries.into_iter().map(|each| entry(namespace, each)).collect(),
        time_zone: from.time_zone,
        state: state(from.state).into(),
        creator: from.creator,
        reason: from.reason,
        base: from.base.known().map(|base| Position::from(base).into()),
        next_time: from.next_time.map(timestamp),
        last_due_time: from.last_due_time.map(timestamp),
        problem: from.problem,
        etag,
        create_time: Some(timestamp(from.create_time)),
        update_time: Some(timestamp(from.update_time)),
    }
}
