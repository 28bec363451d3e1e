//! VerifyLog: how far the check of a log is, and what it found.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::try_unfold;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tonic::{Request, Response, Status};

use super::admin::AdminHandler;
use super::answers::POLICY_ANSWER_MAX_BYTES;
use super::encode::framed;
use super::in_flight::Reserved;
use super::read_stream::{EmptyStream, ReadStream, StreamTurn, answer, held, next_unless_draining};
use crate::api::status::status;
use crate::api::{pb, request, response};
use crate::domain::Result;
use crate::domain::audit::LogVerdict;
use crate::domain::limits::LOG_CHECK_MAX_SECONDS;
use crate::service::LogProgress;

/// How often a check says how far it is. Shorter: more messages that nobody reads. Longer: a stream looks dead.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// The messages of a check. It runs while they are asked for, and is dropped with them.
struct CheckMessages {
    turn: StreamTurn,
    /// Of the result, from the beginning: who has waited for an hour is not told that there is no room for it.
    reserved: Option<Reserved>,
    /// None once it has its verdict.
    check: Option<BoxFuture<'static, Result<LogVerdict>>>,
    progress: Arc<LogProgress>,
    ticks: Interval,
}

impl CheckMessages {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        if self.reserved.is_none() && self.check.is_some() {
            self.reserved = Some(self.turn.reserve(POLICY_ANSWER_MAX_BYTES).await?);
        }
        let (Some(check), Some(_)) = (&mut self.check, &self.reserved) else { return Ok(None) };
        tokio::select! {
            biased;
            _ = self.ticks.tick() => Ok(Some(framed(&response::log_progress(self.progress.read())))),
            verdict = check => {
                self.check = None;
                let result = response::verdict(verdict?);
                self.reserved.take().map(|reserved| held(&result, reserved)).transpose()
            }
        }
    }
}

impl AdminHandler {
    pub(super) async fn check_log(
        &self,
        asked: Request<pb::VerifyLogRequest>,
    ) -> Result<Response<EmptyStream<pb::VerifyLogResponse>>, Status> {
        self.0.read(&asked).await?;
        let (namespace, after) = request::verify_log(asked.get_ref()).map_err(status)?;
        let limit = Duration::from_secs(LOG_CHECK_MAX_SECONDS);
        let ReadStream { turn, connection, until } = ReadStream::open(&asked, limit)?;
        let (service, progress) = (self.0.service.clone(), Arc::<LogProgress>::default());
        let told = Arc::clone(&progress);
        let check = Box::pin(async move { service.archive.verify_log(&namespace, after, &told).await });
        let mut ticks = interval(PROGRESS_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let check = CheckMessages { turn, reserved: None, check: Some(check), progress, ticks };
        let messages = try_unfold((check, connection), |(mut check, connection)| async move {
            let next = next_unless_draining(&connection, check.next()).await?;
            Ok(next.map(|message| (message, (check, connection))))
        });
        Ok(answer(until, messages))
    }
}
