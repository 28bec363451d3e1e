//! Schedules: made, cancelled and resumed by callers, carried out by the server.
//!
//! Every replica carries out what is due, and each run is one transaction under the lock of its namespace, which activates and moves
//! the row of the schedule on. So one of them does it, also when another one ends in the middle.

mod cancel_schedule;
mod change;
mod counts;
mod create_schedule;
mod due_run;
mod list_schedules;
mod resume_schedule;
mod run_due;
mod suspend_schedule;

pub(super) use counts::{ScheduleCounts, ScheduleRetries};
pub(super) use due_run::DueRun;
