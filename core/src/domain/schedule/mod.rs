//! Schedules: activations for later, once or every week.
//!
//! Times of the week are computed by `occurrences`, which needs a database of time zones and is built for servers alone.

mod entry;
mod id;
#[cfg(feature = "server")]
mod occurrences;
mod state;

pub use entry::{LocalTime, ScheduleEntry, ScheduledTarget, Weekday, WeeklyTime, When, check_entries};
pub use id::{ScheduleId, ScheduleName};
#[cfg(feature = "server")]
pub use occurrences::{Occurrence, check_time_zone, due, local_time, next_time, parse_local_time};
pub use state::{Schedule, ScheduleState, check_base, suspends};
