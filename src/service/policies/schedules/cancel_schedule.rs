//! CancelSchedule: ends a schedule for good. What it put in force stays in force.

use crate::domain::Result;
use crate::domain::command::ChangeSchedule;
use crate::domain::event::EventKind;
use crate::domain::outcome::ScheduleChanged;
use crate::domain::schedule::{Schedule, ScheduleState};
use crate::service::context::Context;
use crate::service::policies::use_cases::Policies;

impl Policies {
    /// Ends a schedule that is pending or suspended.
    ///
    /// # Errors
    /// `SCHEDULE_NOT_FOUND`, `SCHEDULE_STATE_WRONG`, `ETAG_MISMATCH`, `INVALID_ARGUMENT`.
    pub async fn cancel_schedule(&self, context: &Context, request: ChangeSchedule) -> Result<ScheduleChanged> {
        self.change_schedule(context, "CancelSchedule", EventKind::CancelSchedule, request, |found, _| {
            found.check_state(&[ScheduleState::Pending, ScheduleState::Suspended])?;
            Ok(Schedule { state: ScheduleState::Cancelled, next_time: None, problem: String::new(), ..found })
        })
        .await
    }
}
