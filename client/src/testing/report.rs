//! What subscribers reported, as a test reads it.

use policyhub_core::domain::event::Cursor;
use policyhub_core::domain::subscriber::{ReportVerdict, StatusReport};

/// A report that a subscriber sent by ReportStatus.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriberReport {
    /// The id that the subscriber gave itself.
    pub subscriber_id: String,
    /// The cursor that it speaks of.
    pub cursor: Cursor,
    /// Digest of the active set that it runs with.
    pub digest: String,
    /// Says whether it applied the activation, or why it rejected it.
    pub verdict: ReportVerdict,
}

impl SubscriberReport {
    /// Answers whether the subscriber runs with everything up to the cursor.
    #[must_use]
    pub fn is_applied(&self) -> bool {
        self.verdict == ReportVerdict::Applied
    }

    /// Returns why the subscriber rejected the activation; none when it applied it.
    #[must_use]
    pub fn rejection(&self) -> Option<&str> {
        if let ReportVerdict::Rejected { reason } = &self.verdict { Some(reason) } else { None }
    }
}

impl From<&StatusReport> for SubscriberReport {
    fn from(report: &StatusReport) -> Self {
        Self {
            subscriber_id: report.subscriber.id.to_string(),
            cursor: report.cursor,
            digest: report.digest.to_string(),
            verdict: report.verdict.clone(),
        }
    }
}
