//! Suspends a schedule that was due and can't run, until somebody resumes or cancels it.

use super::due_run::DueRun;
use crate::domain::event::{Change, EventKind};
use crate::domain::limits::NOTE_MAX_BYTES;
use crate::domain::outcome::ScheduleChanged;
use crate::domain::schedule::{Schedule, ScheduleState};
use crate::domain::time::Micros;
use crate::domain::{Error, Result};
use crate::service::context::Context;
use crate::service::policies::use_cases::Policies;

impl Policies {
    /// Suspends a schedule, unless another replica carried it out or suspended it meanwhile.
    ///
    /// # Errors
    /// `CONCURRENT_CHANGE`, `DATA_LOSS`, and errors of the database.
    pub(super) async fn suspend_schedule(&self, due: &DueRun, why: &Error, now: Micros) -> Result<ScheduleChanged> {
        let context = Context::of_schedule(due.request_id(), now);
        let call = self.writer.call(&context, "SuspendSchedule", &due.schedule)?;
        call.mutate(&due.schedule.name.namespace, async |write| {
            due.check_unchanged(write).await?;
            let problem = problem(why);
            let schedule = Schedule {
                state: ScheduleState::Suspended,
                next_time: None,
                problem: problem.clone(),
                edits: due.schedule.edits + 1,
                update_time: write.time(),
                ..due.schedule.clone()
            };
            due.put(write, &schedule).await?;
            let change = Change {
                reason: problem,
                schedule: Some(due.event()),
                ..Change::new(EventKind::SuspendSchedule, None)
            };
            let recorded = write.record(change).await?;
            Ok(ScheduleChanged { schedule, cursor: recorded.cursor })
        })
        .await
    }
}

/// Returns the reason of an error and its message, as long as a note may be.
fn problem(why: &Error) -> String {
    let mut text = format!("{}: {}", why.reason.as_str(), why.message).replace('\0', "");
    text.truncate(text.floor_char_boundary(NOTE_MAX_BYTES));
    text
}
