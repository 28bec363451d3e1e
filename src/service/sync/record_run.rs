//! RecordRun: records which versions were active when a unit of work started, read from the verified log and provable later.
//!
//! A run changes nothing of its namespace: no lock, no event.

use super::use_cases::Sync;
use crate::domain::Result;
use crate::domain::event::Cursor;
use crate::domain::run::{RecordRun, Run, RunId};
use crate::service::context::Context;

impl Sync {
    /// Records a run, which belongs to its recorder. The same run again gets the first answer.
    ///
    /// # Errors
    /// `NO_ACTIVE_VERSION`, `RUN_CONFLICT`, `INVALID_ARGUMENT` for a cursor that is no position of the log, `RESUME_POINT_GONE` for
    /// one of another event, `POLICY_NOT_FOUND`, `LIMIT_EXCEEDED`, `REQUEST_ID_REUSED`, `RUN_NOT_FOUND` for a request that was
    /// answered with a run that was deleted since.
    pub async fn record_run(&self, context: &Context, request: RecordRun) -> Result<Run> {
        let call = self.writer.call(context, "RecordRun", &request)?;
        let RecordRun { namespace, id, policies, cursor } = &request;
        let (tx, found) = self.log.read_current(namespace).await?;
        // Store only the id: the answer may be of the maximal size, and a recorded run does not change.
        if let Some(id) = call.replayed::<RunId>(&tx).await? {
            return tx.run(namespace, &id).await?.ok_or_else(|| id.not_found(namespace));
        }
        let event = self.log.read_event_at(&tx, &found, ("cursor", cursor.unwrap_or(found.cursor.into()))).await?;
        if let Some(recorded) = tx.run(namespace, id).await? {
            request.check_same(&context.actor(), &recorded)?;
            return Ok(recorded);
        }
        // Nothing is active before the first event.
        let cursor = event.map_or(Cursor { revision: 0, ..found.cursor }, |(event, _)| event.cursor);
        let active = self.run_policies_at(&tx, &found, policies, cursor).await?;
        request.check_size(active.len())?;
        drop(tx);
        let run = Run {
            namespace: namespace.clone(),
            id: id.clone(),
            policy_count: active.len(),
            policies: active,
            is_whole_set: policies.is_empty(),
            cursor,
            recorder: context.actor(),
            create_time: context.now,
            end: None,
        };
        self.log.store.check_no_suspected_loss()?;
        self.writer.check_authority(context)?;
        let kept = call.kept(id)?;
        if self.log.store.insert_run(&run, kept).await? {
            return Ok(run);
        }
        // Another call recorded the run meanwhile.
        let recorded = self.log.store.read().await?.run(namespace, id).await?;
        let recorded = recorded.ok_or_else(|| id.not_found(namespace))?;
        request.check_same(&context.actor(), &recorded)?;
        Ok(recorded)
    }
}
