//! VerifyLog: streams the progress of a check of a log, and its result.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::try_unfold;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tonic::body::Body;
use tonic::{Request, Status};

use super::read_stream::{ReadStream, encode_reserved, next_unless_draining};
use crate::api::status::status;
use crate::api::{pb, request, response};
use crate::domain::Result;
use crate::domain::audit::LogVerdict;
use crate::domain::limits::LOG_CHECK_MAX_SECONDS;
use crate::grpc::frame_message::frame_message;
use crate::grpc::handler::Handler;
use crate::grpc::middleware::{POLICY_ANSWER_MAX_BYTES, ReadStreamSlot, Reserved};
use crate::service::LogProgress;

/// The time between two messages about progress. Shorter: more messages that nobody reads. Longer: the stream looks dead.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// The messages of a check: how it begins, its progress each second, its result. The check runs while they are polled, and is dropped with them.
struct CheckMessages {
    slot: ReadStreamSlot,
    /// The memory for the result, reserved at the start. Otherwise a check of an hour could fail because there is no memory for its
    /// result.
    reserved: Option<Reserved>,
    /// None once the check has its verdict.
    check: Option<BoxFuture<'static, Result<LogVerdict>>>,
    progress: Arc<LogProgress>,
    ticks: Interval,
}

impl CheckMessages {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        if self.reserved.is_none() && self.check.is_some() {
            self.reserved = Some(self.slot.reserve(POLICY_ANSWER_MAX_BYTES).await?);
            return Ok(Some(self.progress()));
        }
        let (Some(check), Some(_)) = (&mut self.check, &self.reserved) else { return Ok(None) };
        tokio::select! {
            biased;
            _ = self.ticks.tick() => Ok(Some(self.progress())),
            verdict = check => {
                self.check = None;
                let result = response::verdict(verdict?);
                self.reserved.take().map(|reserved| encode_reserved(&result, reserved)).transpose()
            }
        }
    }

    fn progress(&self) -> Bytes {
        frame_message(&response::log_progress(self.progress.read()))
    }
}

/// Handles VerifyLog. Returns the body of the response.
pub(in crate::grpc) async fn verify_log(
    handler: &Handler,
    request: Request<pb::VerifyLogRequest>,
) -> Result<Body, Status> {
    handler.read(&request).await?;
    let (namespace, after) = request::verify_log(request.get_ref()).map_err(status)?;
    let stream = ReadStream::open(&request, Duration::from_secs(LOG_CHECK_MAX_SECONDS))?;
    let (service, progress) = (handler.service.clone(), Arc::<LogProgress>::default());
    let reported = Arc::clone(&progress);
    let check = Box::pin(async move { service.archive.verify_log(&namespace, after, &reported).await });
    // The first message is sent without a tick.
    let mut ticks = interval(PROGRESS_INTERVAL);
    ticks.reset();
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let connection = stream.connection.clone();
    let check = CheckMessages { slot: stream.slot.clone(), reserved: None, check: Some(check), progress, ticks };
    let messages = try_unfold((check, connection), |(mut check, connection)| async move {
        let next = next_unless_draining(&connection, check.next()).await?;
        Ok(next.map(|message| (message, (check, connection))))
    });
    Ok(stream.into_body(messages))
}
