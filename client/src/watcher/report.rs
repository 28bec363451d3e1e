//! What a watcher reports to the server of what its runtime did, and under which id.
//!
//! Boundary: makes the call; when it is made is the watcher's to decide. Invariant: the newest report replaces an older one that
//! was not sent yet, and no answer outlives the stream that follows it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tonic::Code;

use crate::channel::RpcClient;
use policyhub_core::api::pb;
use policyhub_core::domain::event::Position;
use policyhub_core::domain::limits::NOTE_MAX_BYTES;

/// Sets how long a report may take: no other one is sent meanwhile.
const REPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Sets how long a refused report rests, and a stream without the subscriber id that was refused, before the watcher asks again.
/// Shorter: a runtime with a wrong id opens streams all the time. Longer: a runtime whose refusal was forged stays unreported after
/// it is back at an honest server.
pub(super) const ID_RETRY_INTERVAL: Duration = Duration::from_secs(300);

/// Holds what the runtime did with the set of a cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RuntimeReport {
    /// The cursor, and the event there.
    pub at: Position,
    /// Digest of what is in force now.
    pub digest: String,
    /// Says why the runtime keeps what it had; none: it runs with everything up to the cursor.
    pub rejection: Option<String>,
}

/// Says how a server answered a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReportAnswer {
    Taken,
    /// Nobody answered, or not for good: send it again.
    Unsent,
    /// It is refused for good. No signature proves that the store said so.
    Refused,
}

/// A report on its way. It is kept here, so that it outlives whoever stops waiting for its answer.
struct Sending {
    /// Holds the report; none for the refusal of a stream, which is sent once.
    report: Option<RuntimeReport>,
    answer: BoxFuture<'static, ReportAnswer>,
}

impl fmt::Debug for Sending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").field("report", &self.report).finish_non_exhaustive()
    }
}

/// Sends reports under the id of a runtime.
///
/// No answer to a report is signed: a server may lose a report after it took it, and whoever stands between may make an answer up.
/// So each stream reports what is in force at least once, and what was refused is sent again after [`ID_RETRY_INTERVAL`].
#[derive(Debug)]
pub(super) struct Reporter {
    subscriber_id: String,
    attributes: BTreeMap<String, String>,
    /// A server said that the id is another principal's: the next stream is opened without it.
    is_id_refused: bool,
    /// Says whether the stream was opened without the id, though there is one.
    is_withheld: bool,
    unsent: Option<RuntimeReport>,
    sending: Option<Sending>,
    /// Says from when on the set in force is reported again; none: it was reported on this stream.
    repeat_at: Option<Instant>,
}

impl Reporter {
    /// Reports under this id; empty: the runtime is anonymous and nothing is reported.
    pub fn new(subscriber_id: String, attributes: BTreeMap<String, String>) -> Self {
        Self {
            subscriber_id,
            attributes,
            is_id_refused: false,
            is_withheld: false,
            unsent: None,
            sending: None,
            repeat_at: None,
        }
    }

    /// Answers the id and the attributes for the next stream: none after a stream that refused the id, since with it that stream
    /// would end as well, and the policies are worth more than the reports.
    pub fn begin_stream(&mut self) -> (String, BTreeMap<String, String>) {
        self.is_withheld = std::mem::take(&mut self.is_id_refused);
        self.repeat_at = Some(Instant::now());
        if self.is_withheld { Default::default() } else { (self.subscriber_id.clone(), self.attributes.clone()) }
    }

    /// Notes that a server refused the id.
    pub fn refuse_id(&mut self) {
        if !self.subscriber_id.is_empty() {
            self.is_id_refused = true;
            tracing::warn!(
                subscriber_id = self.subscriber_id,
                retry_seconds = ID_RETRY_INTERVAL.as_secs(),
                "the server says that the id belongs to another principal: the next stream is opened without it, and nothing is \
                 reported meanwhile; if it does, give another id"
            );
        }
    }

    /// Returns whether the stream should end after this time, so that the next one asks under the id again.
    pub fn should_retry_id(&self, stream_age: Duration) -> bool {
        self.is_withheld && stream_age >= ID_RETRY_INTERVAL
    }

    /// Returns whether nothing that this stream reported was taken, and nothing waits to be sent.
    pub fn should_repeat(&self) -> bool {
        self.unsent.is_none()
            && self.sending.is_none()
            && self.repeat_at.is_some_and(|repeat_at| repeat_at <= Instant::now())
    }

    /// Takes the newest report, to be sent instead of an older one.
    pub fn set(&mut self, report: RuntimeReport) {
        self.unsent = Some(report);
    }

    /// Returns whether a report waits to be sent.
    pub fn has_unsent(&self) -> bool {
        self.unsent.is_some()
    }

    /// Begins to send what was not sent yet, unless the stream has no id or another report is on its way.
    pub fn start(&mut self, client: &RpcClient, parent: &str) {
        if self.sending.is_none()
            && let Some(report) = self.unsent.clone()
        {
            self.begin(Some(report.clone()), report, client, parent);
        }
    }

    /// Begins to send what a stream was refused for; nothing is kept for later.
    pub fn start_refusal(&mut self, refusal: RuntimeReport, client: &RpcClient, parent: &str) {
        self.begin(None, refusal, client, parent);
    }

    fn begin(&mut self, kept: Option<RuntimeReport>, report: RuntimeReport, client: &RpcClient, parent: &str) {
        if self.subscriber_id.is_empty() {
            self.unsent = None;
        } else if !self.is_withheld {
            let request = report.request(format!("{parent}/subscribers/{}", self.subscriber_id));
            self.sending = Some(Sending { report: kept, answer: Box::pin(send(client.clone(), request)) });
        }
    }

    /// Returns whether a report is on its way.
    pub fn is_sending(&self) -> bool {
        self.sending.is_some()
    }

    /// Waits for the answer to the report that is on its way; for ever when none is. Returns whether another one waits by now: the
    /// same one is sent again with the next message of the stream, so that a server that is in trouble is not asked without a pause.
    /// Dropped while it waits, it loses nothing.
    pub async fn answered(&mut self) -> bool {
        let Some(sending) = &mut self.sending else { return std::future::pending().await };
        let answer = sending.answer.as_mut().await;
        let Some(Sending { report: Some(report), .. }) = self.sending.take() else { return self.unsent.is_some() };
        let is_same = self.unsent.as_ref() == Some(&report);
        if answer != ReportAnswer::Unsent {
            self.unsent.take_if(|_| is_same);
            self.repeat_at = (answer == ReportAnswer::Refused).then(|| Instant::now() + ID_RETRY_INTERVAL);
        }
        self.unsent.is_some() && !is_same
    }
}

impl RuntimeReport {
    fn request(&self, name: String) -> pb::ReportStatusRequest {
        let status = if self.rejection.is_some() { pb::ApplyStatus::Rejected } else { pb::ApplyStatus::Applied };
        pb::ReportStatusRequest {
            name,
            cursor: Some(self.at.into()),
            digest: self.digest.clone(),
            status: status.into(),
            reason: self.rejection.as_deref().map(clipped).unwrap_or_default(),
        }
    }
}

async fn send(client: RpcClient, request: pb::ReportStatusRequest) -> ReportAnswer {
    match tokio::time::timeout(REPORT_TIMEOUT, client.report_status(request)).await {
        Ok(Ok(_)) => ReportAnswer::Taken,
        // A token may be renewed.
        Ok(Err(error)) if error.is_terminal() && error.code != Code::Unauthenticated => ReportAnswer::Refused,
        Ok(Err(_)) | Err(_) => ReportAnswer::Unsent,
    }
}

/// Returns a reason as the server takes it: not empty, and not too long.
fn clipped(reason: &str) -> String {
    let mut end = reason.len().min(NOTE_MAX_BYTES);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    match reason.get(..end) {
        Some(text) if !text.trim().is_empty() => text.to_owned(),
        _ => "no reason given".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_without_the_id_ends_after_its_interval() {
        let mut reporter = Reporter::new("shop-1".to_owned(), BTreeMap::new());
        reporter.begin_stream();
        assert!(!reporter.should_retry_id(ID_RETRY_INTERVAL), "it has the id");
        reporter.refuse_id();
        assert_eq!(reporter.begin_stream().0, "");
        assert!(!reporter.should_retry_id(ID_RETRY_INTERVAL - Duration::from_secs(1)));
        assert!(reporter.should_retry_id(ID_RETRY_INTERVAL));
        assert_eq!(reporter.begin_stream().0, "shop-1");

        let mut anonymous = Reporter::new(String::new(), BTreeMap::new());
        anonymous.refuse_id();
        anonymous.begin_stream();
        assert!(!anonymous.should_retry_id(ID_RETRY_INTERVAL), "there is nothing to ask for");
    }

    #[test]
    fn a_reason_is_as_the_server_takes_it() {
        assert_eq!(clipped("too strict"), "too strict");
        assert_eq!(clipped("  \n"), "no reason given");
        let long = format!("{}ä", "x".repeat(NOTE_MAX_BYTES - 1));
        assert_eq!(clipped(&long).len(), NOTE_MAX_BYTES - 1, "cut before the letter, not in it");
    }
}
