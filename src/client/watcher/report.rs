//! What a watcher reports to the server of what its runtime did, and under which id.
//!
//! Boundary: makes the call; when it is made is the watcher's to decide. Invariant: the newest report replaces an older one that
//! was not sent yet, and no refusal outlives the stream that follows it.

use std::collections::BTreeMap;
use std::time::Duration;

use tonic::Code;

use crate::api::pb;
use crate::client::channel::Client;
use crate::domain::event::Position;
use crate::domain::limits::NOTE_MAX_BYTES;

/// How long a report may take: the stream waits for it.
const REPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a stream stays without the subscriber id after a server refused it, before the watcher asks again under it. Shorter:
/// a runtime with a wrong id opens streams all the time. Longer: a runtime whose refusal was forged stays unreported after it is
/// back at an honest server.
pub(super) const ID_RETRY_INTERVAL: Duration = Duration::from_secs(300);

/// What the runtime did with the set of a cursor.
#[derive(Debug, Clone)]
pub(super) struct Report {
    /// The cursor, and the event there.
    pub at: Position,
    /// Digest of what is in force now.
    pub digest: String,
    /// Why the runtime keeps what it had; none: it runs with everything up to the cursor.
    pub rejection: Option<String>,
}

/// How a server answered a report.
enum Answer {
    Taken,
    /// Nobody answered, or not for good: send it again.
    Unsent,
    /// It is refused for good. No signature proves that the store said so, so the next stream sends it again.
    Refused,
}

/// Sends reports under the id of a runtime. A refusal counts for one stream: whoever stands between may have made it up.
#[derive(Debug)]
pub(super) struct Reporter {
    subscriber_id: String,
    labels: BTreeMap<String, String>,
    /// A server said that the id is another principal's: the next stream is opened without it.
    is_id_refused: bool,
    /// Whether the stream was opened without the id, though there is one.
    is_withheld: bool,
    unsent: Option<Report>,
    /// Refused on this stream.
    refused: Option<Report>,
}

impl Reporter {
    /// Reports under this id; empty: the runtime is anonymous and nothing is reported.
    pub fn new(subscriber_id: String, labels: BTreeMap<String, String>) -> Self {
        Self { subscriber_id, labels, is_id_refused: false, is_withheld: false, unsent: None, refused: None }
    }

    /// Answers the id and the labels for the next stream: none after a stream that refused the id, since with it that stream
    /// would end as well, and the policies are worth more than the reports.
    pub fn begin_stream(&mut self) -> (String, BTreeMap<String, String>) {
        self.is_withheld = std::mem::take(&mut self.is_id_refused);
        self.unsent = self.unsent.take().or(self.refused.take());
        if self.is_withheld { Default::default() } else { (self.subscriber_id.clone(), self.labels.clone()) }
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

    /// Whether the stream should end after this time, so that the next one asks under the id again.
    pub fn should_retry_id(&self, stream_age: Duration) -> bool {
        self.is_withheld && stream_age >= ID_RETRY_INTERVAL
    }

    /// Takes the newest report, to be sent instead of an older one.
    pub fn set(&mut self, report: Report) {
        (self.unsent, self.refused) = (Some(report), None);
    }

    /// Whether a report waits to be sent.
    pub fn has_unsent(&self) -> bool {
        self.unsent.is_some()
    }

    /// Sends what was not sent yet, if the stream has an id. Dropped while it waits, it sends it again the next time.
    pub async fn send(&mut self, client: &Client, parent: String) {
        let Some(report) = self.unsent.clone().filter(|_| !self.is_withheld) else { return };
        match self.send_once(&report, client, parent).await {
            Answer::Unsent => {}
            Answer::Taken => self.unsent = None,
            Answer::Refused => self.refused = self.unsent.take(),
        }
    }

    /// Sends what a stream was refused for; nothing is kept for later.
    pub async fn send_refusal(&self, report: &Report, client: &Client, parent: String) {
        if !self.is_withheld {
            let _ = self.send_once(report, client, parent).await;
        }
    }

    async fn send_once(&self, report: &Report, client: &Client, parent: String) -> Answer {
        if self.subscriber_id.is_empty() {
            return Answer::Taken;
        }
        let status = if report.rejection.is_some() { pb::ApplyStatus::Rejected } else { pb::ApplyStatus::Applied };
        let request = pb::ReportStatusRequest {
            parent,
            subscriber_id: self.subscriber_id.clone(),
            cursor: Some(report.at.into()),
            digest: report.digest.clone(),
            status: status.into(),
            reason: report.rejection.as_deref().map(clipped).unwrap_or_default(),
        };
        match tokio::time::timeout(REPORT_TIMEOUT, client.report_status(request)).await {
            Ok(Ok(_)) => Answer::Taken,
            // A token may be renewed.
            Ok(Err(error)) if error.is_terminal() && error.code != Code::Unauthenticated => Answer::Refused,
            Ok(Err(_)) | Err(_) => Answer::Unsent,
        }
    }
}

/// A reason as the server takes it: not empty, and not too long.
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
