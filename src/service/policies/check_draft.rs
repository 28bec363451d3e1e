//! What checks find in a content before it is drafted. Nothing is written.

use super::use_cases::Policies;
use crate::domain::Result;
use crate::domain::bundle::Bundle;
use crate::domain::command::{Draft, RequestOptions};
use crate::domain::report::Report;
use crate::service::checking::CheckKind;
use crate::service::context::Context;

impl Policies {
    /// Returns the report that a draft would have when it is staged.
    ///
    /// # Errors
    /// Those of `draft`, `LIMIT_EXCEEDED` when too many checks run, `CHECKS_UNAVAILABLE`.
    pub async fn check_draft(&self, context: &Context, request: Draft) -> Result<Report> {
        let content = request.content.clone();
        let options = RequestOptions { request_id: String::new(), validate_only: true };
        let rehearsal = Context { options, ..context.clone() };
        let version = self.draft(&rehearsal, request).await?.version;
        let tx = self.log.store.read().await?;
        let policy = tx.policy(&version.policy).await?;
        let input = self.check_input_with(&tx, policy, Bundle { version, content }).await?;
        drop(tx);
        let (_, report) = self.checks.check(input, CheckKind::BeforePublish, context.now).await?;
        Ok(report)
    }
}
