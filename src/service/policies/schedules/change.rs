//! What every change of a schedule by a caller does: read it under the lock, compare its etag, write it with its event.

use crate::domain::Result;
use crate::domain::command::ChangeSchedule;
use crate::domain::event::{Change, Cursor, EventKind, EventSchedule};
use crate::domain::lifecycle::{check_etag, check_reason};
use crate::domain::outcome::ScheduleChanged;
use crate::domain::schedule::Schedule;
use crate::service::context::Context;
use crate::service::log::Write;
use crate::service::policies::use_cases::Policies;

impl Policies {
    /// Changes a schedule. `decide` gets it with the cursor of the event, and returns it changed.
    ///
    /// # Errors
    /// `SCHEDULE_NOT_FOUND`, `ETAG_MISMATCH`, `INVALID_ARGUMENT`, and those of `decide`.
    pub(super) async fn change_schedule(
        &self,
        context: &Context,
        method: &'static str,
        kind: EventKind,
        request: ChangeSchedule,
        decide: impl FnOnce(Schedule, Cursor) -> Result<Schedule>,
    ) -> Result<ScheduleChanged> {
        check_reason(&request.reason)?;
        let call = self.writer.call(context, method, &request)?;
        call.mutate(&request.schedule.namespace, async |write| {
            let found = write.tx.read().schedule(&request.schedule).await?;
            check_etag(request.etag.as_ref(), &found.etag(), &found.name.to_string())?;
            let edits = found.edits + 1;
            let schedule = decide(found, write.tx.head().next())?;
            write_schedule(write, kind, request.reason, Schedule { edits, ..schedule }).await
        })
        .await
    }
}

/// Writes a schedule with its event.
pub(super) async fn write_schedule(
    write: &mut Write<'_>,
    kind: EventKind,
    reason: String,
    schedule: Schedule,
) -> Result<ScheduleChanged> {
    let schedule = Schedule { update_time: write.time(), ..schedule };
    write.tx.put_schedule(&schedule).await?;
    let settings = (kind == EventKind::Schedule)
        .then(|| serde_json::json!({ "entries": schedule.entries, "time_zone": schedule.time_zone }));
    let about = EventSchedule { id: schedule.name.id.clone(), creator: None, due_time: None };
    let change = Change { reason, settings, schedule: Some(about), ..Change::new(kind, None) };
    let next = write.tx.head().next();
    let recorded = write.record(change).await?;
    // With `validate_only` there is no such event.
    let is_absent = recorded.cursor.is_none() && schedule.base == next;
    let base = if is_absent { Cursor::NONE } else { schedule.base };
    Ok(ScheduleChanged { schedule: Schedule { base, ..schedule }, cursor: recorded.cursor })
}
