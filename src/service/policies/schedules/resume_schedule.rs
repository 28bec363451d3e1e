//! ResumeSchedule: lets a suspended schedule run again.

use crate::domain::Result;
use crate::domain::command::ChangeSchedule;
use crate::domain::event::EventKind;
use crate::domain::outcome::ScheduleChanged;
use crate::domain::schedule::{Schedule, ScheduleState, next_time};
use crate::service::context::Context;
use crate::service::policies::use_cases::Policies;

impl Policies {
    /// Lets a suspended schedule run again, based on what is active now. What it missed is due at once: it was not dealt with.
    ///
    /// # Errors
    /// `SCHEDULE_NOT_FOUND`, `SCHEDULE_STATE_WRONG`, `ETAG_MISMATCH`, `INVALID_ARGUMENT`.
    pub async fn resume_schedule(&self, context: &Context, request: ChangeSchedule) -> Result<ScheduleChanged> {
        self.change_schedule(context, "ResumeSchedule", EventKind::ResumeSchedule, request, |found, base| {
            found.check_state(&[ScheduleState::Suspended])?;
            let next_time = next_time(&found.entries, &found.time_zone, found.handled_until)?;
            let state = ScheduleState::Pending;
            Ok(Schedule { state, base, next_time, problem: String::new(), ..found })
        })
        .await
    }
}
