//! ReportStatus: records what a runtime did with the changes that it received.

use super::use_cases::Sync;
use crate::domain::event::Position;
use crate::domain::lifecycle::check_note;
use crate::domain::subscriber::{ReportVerdict, StatusReport};
use crate::domain::{Error, Result};
use crate::service::context::Context;

impl Sync {
    /// Records a caller's report of what its runtime did. Returns whether it is already in the database; otherwise it is in memory, and
    /// will be written.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a cursor that is no position of the log, `RESUME_POINT_GONE` when another event is there now,
    /// `NAMESPACE_NOT_FOUND`, `LIMIT_EXCEEDED`, `QUOTA_EXCEEDED`, `SUBSCRIBER_ID_TAKEN`.
    pub async fn report_status(&self, context: &Context, report: StatusReport) -> Result<bool> {
        if let ReportVerdict::Rejected { reason } = &report.verdict {
            if reason.trim().is_empty() {
                return Err(Error::invalid("reason", "is required: why it was rejected"));
            }
            check_note("reason", reason)?;
        }
        let namespace = &report.subscriber.namespace;
        let digest = self.set_digest_at(namespace, report.cursor).await?;
        let position = Position { cursor: report.cursor, event: report.event };
        self.log.hub.feed(namespace).await?.check(position).await?;
        let matches = digest == report.digest;
        self.writer.check_authority(context)?;
        let reported = self.leases.report(report, context.actor(), matches).await;
        reported.inspect_err(|error| self.count_refused_subscriber(error))
    }
}
