//! VerifyLog: the server's own check of a log, message by message up to its result.
//!
//! Invariant: it ends, whatever the server sends: within an hour, within so many messages, and after a silence.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tonic::Code;

use super::calls::timed;
use super::channel::RpcClient;
use super::error::ClientError;
use policyhub_core::api::pb;
use policyhub_core::api::pb::verify_log_response::Message;
use policyhub_core::domain::limits::LOG_CHECK_MAX_SECONDS;

/// Sets how long a whole check may take, its wait for a turn included.
const CHECK_TIMEOUT: Duration = Duration::from_secs(LOG_CHECK_MAX_SECONDS);
/// Longest silence of a check that runs. A server says every second how far it is.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Most messages of one check: ten for each second that it may take.
const MESSAGES_MAX: u64 = 10 * LOG_CHECK_MAX_SECONDS;

/// Says why a check ended without a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum BrokenCheck {
    #[error("the server's check of the log ended without a result; ask again")]
    NoResult,
    #[error("the server's check of the log sends no end of progress")]
    Endless,
    #[error("the server's check of the log goes back, or beyond its own end")]
    Back,
    #[error("the server's check of the log sent a message that says nothing")]
    Nothing,
    #[error("the server's check of the log goes on after its result")]
    After,
}

impl From<BrokenCheck> for ClientError {
    fn from(error: BrokenCheck) -> Self {
        Self::local(Code::Internal, error.to_string())
    }
}

/// Looks at each message of a check.
#[derive(Debug, Default)]
struct CheckGuard {
    messages: u64,
    last: pb::VerifyLogProgress,
}

impl CheckGuard {
    /// Takes the next message; the result, when it is the one.
    fn take(&mut self, message: Option<Message>) -> Result<Option<pb::VerifyLogResult>, BrokenCheck> {
        self.messages += 1;
        if self.messages > MESSAGES_MAX {
            return Err(BrokenCheck::Endless);
        }
        match message {
            None => Err(BrokenCheck::Nothing),
            Some(Message::Result(result)) => Ok(Some(result)),
            Some(Message::Progress(progress)) => {
                let pb::VerifyLogProgress { phase, events, total_events } = progress;
                // The total is known once the check has begun, and stays: it is the head as of then.
                let is_same = total_events == self.last.total_events || self.last.total_events == 0;
                if !is_same || phase < self.last.phase || events < self.last.events {
                    return Err(BrokenCheck::Back);
                }
                self.last = progress;
                Ok(None)
            }
        }
    }
}

impl RpcClient {
    /// Checks the chain, the seals, the statements, the manifests and the rows of a namespace. Takes as long as its log is, an hour at
    /// most.
    ///
    /// # Errors
    /// The error of the call, INTERNAL when the server sends anything but a check up to its result, DEADLINE_EXCEEDED after an
    /// hour or a silence of a minute.
    pub async fn verify_log(&self, request: pb::VerifyLogRequest) -> Result<pb::VerifyLogResult, ClientError> {
        self.verify_log_with(request, |_| ()).await
    }

    /// Does the same, and reports how far the check is. Dropped before it has ended, it ends the check at the server.
    ///
    /// # Errors
    /// Those of [`Self::verify_log`].
    pub async fn verify_log_with(
        &self,
        request: pb::VerifyLogRequest,
        mut progress: impl FnMut(&pb::VerifyLogProgress),
    ) -> Result<pb::VerifyLogResult, ClientError> {
        let end = Instant::now() + CHECK_TIMEOUT;
        let late = |_| ClientError::local(Code::DeadlineExceeded, "the check of the log did not go on in time");
        let mut admin = self.admin.clone();
        let opened = timeout_at(end, admin.verify_log(timed(request, CHECK_TIMEOUT))).await;
        let (mut stream, mut guard) = (opened.map_err(late)??.into_inner(), CheckGuard::default());
        let mut result = None;
        loop {
            let next = timeout_at(end.min(Instant::now() + SILENCE_MAX), stream.message()).await;
            let Some(message) = next.map_err(late)?? else {
                return Ok(result.ok_or(BrokenCheck::NoResult)?);
            };
            if result.is_some() {
                return Err(BrokenCheck::After.into());
            }
            result = guard.take(message.message)?;
            if result.is_none() {
                progress(&guard.last);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(phase: pb::VerifyLogPhase, events: i64, total_events: i64) -> Option<Message> {
        Some(Message::Progress(pb::VerifyLogProgress { phase: phase.into(), events, total_events }))
    }

    #[test]
    fn a_check_goes_on_up_to_its_result() {
        use pb::VerifyLogPhase::{Events, Rows, Waiting};
        let mut guard = CheckGuard::default();
        for (phase, events, total) in
            [(Waiting, 0, 0), (Waiting, 0, 0), (Events, 0, 9), (Events, 5, 9), (Rows, 9, 9), (Rows, 9, 9)]
        {
            assert_eq!(guard.take(progress(phase, events, total)), Ok(None));
        }
        for (phase, events, total) in [(Events, 9, 9), (Rows, 8, 9), (Rows, 9, 10)] {
            assert_eq!(
                guard.take(progress(phase, events, total)),
                Err(BrokenCheck::Back),
                "{phase:?} {events} {total}"
            );
        }
        assert_eq!(guard.take(None), Err(BrokenCheck::Nothing));
        let result = pb::VerifyLogResult::default();
        assert_eq!(guard.take(Some(Message::Result(result.clone()))), Ok(Some(result)));
    }

    #[test]
    fn progress_without_an_end_is_an_end() {
        let mut guard = CheckGuard::default();
        let mut taken = 0;
        while guard.take(progress(pb::VerifyLogPhase::Waiting, 0, 0)).is_ok() {
            taken += 1;
        }
        assert_eq!(taken, MESSAGES_MAX);
    }
}
