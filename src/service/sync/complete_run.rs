//! CompleteRun: records how a run ended.

use super::use_cases::Sync;
use crate::domain::run::{CompleteRun, Run, RunEnd, RunId};
use crate::domain::{Error, Reason, Result};
use crate::service::context::Context;

impl Sync {
    /// Completes a run; only its recorder may. The same request again gets the first answer. The answer has only the first policy.
    ///
    /// # Errors
    /// `RUN_NOT_FOUND`, `PERMISSION_DENIED` for another principal, `RUN_CONFLICT` when it ended in another way, `REQUEST_ID_REUSED`.
    pub async fn complete_run(&self, context: &Context, request: CompleteRun) -> Result<Run> {
        let call = self.writer.call(context, "CompleteRun", &request)?;
        let (namespace, id) = (&request.namespace, &request.id);
        let (tx, _) = self.log.read_current(namespace).await?;
        let recorded = |found: Option<Run>| found.ok_or_else(|| id.not_found(namespace));
        let run = recorded(tx.run_summary(namespace, id).await?)?;
        if call.replayed::<RunId>(&tx).await?.is_some() || request.is_done(&context.actor(), &run)? {
            return Ok(run);
        }
        drop(tx);
        let end = RunEnd {
            outcome: request.outcome,
            message: request.message.clone(),
            // The clocks of two hosts may differ, and no run ends before it was recorded.
            complete_time: context.now.max(run.create_time),
        };
        self.log.store.check_no_suspected_loss()?;
        self.writer.check_authority(context)?;
        let kept = call.kept(id)?;
        if self.log.store.end_run(&run, &end, kept).await? {
            return Ok(Run { end: Some(end), ..run });
        }
        // The run ended meanwhile, or was deleted.
        let run = recorded(self.log.store.read().await?.run_summary(namespace, id).await?)?;
        if request.is_done(&context.actor(), &run)? {
            return Ok(run);
        }
        Err(Error::new(Reason::ConcurrentChange, "the run changed meanwhile; try again"))
    }
}
