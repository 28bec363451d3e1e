//! Schedules: read in the order of their names.

use crate::domain::filter::{EnumNames, Field, Listing, Order, Value};
use crate::domain::schedule::{Schedule, ScheduleState};

const STATES: EnumNames =
    EnumNames { prefix: "SCHEDULE_STATE_", all: || ScheduleState::ALL.iter().map(|state| state.as_str()).collect() };

/// Says what ListSchedules takes.
pub static SCHEDULES: Listing<Schedule> = Listing {
    request: "ListSchedulesRequest",
    fields: &[
        Field::text("name", |schedule| Value::written(&schedule.name)),
        Field::enumeration("state", STATES, |schedule| Value::Enum(schedule.state.as_str())),
        Field::text("creator", |schedule| Value::text(&schedule.creator)),
        Field::time("next_time", |schedule| Value::time(schedule.next_time)),
        Field::time("create_time", |schedule| Value::Time(schedule.create_time)),
    ],
    orders: &[Order::ascending("name")],
};
