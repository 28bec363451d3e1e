//! UpdateNamespace.

use super::use_cases::Access;
use crate::domain::Result;
use crate::domain::command::{QuotasPatch, UpdateNamespace};
use crate::domain::event::EventKind;
use crate::domain::lifecycle::{check_etag, check_note};
use crate::domain::outcome::NamespaceChanged;
use crate::domain::quota::Quotas;
use crate::service::context::Context;

fn patch(quotas: &mut Quotas, patch: QuotasPatch) {
    let QuotasPatch { max_policies, max_versions, max_content_bytes, max_streams, writes_per_second, reads_per_second } =
        patch;
    quotas.max_policies = max_policies.unwrap_or(quotas.max_policies);
    quotas.max_versions = max_versions.unwrap_or(quotas.max_versions);
    quotas.max_content_bytes = max_content_bytes.unwrap_or(quotas.max_content_bytes);
    quotas.max_streams = max_streams.unwrap_or(quotas.max_streams);
    quotas.writes_per_second = writes_per_second.unwrap_or(quotas.writes_per_second);
    quotas.reads_per_second = reads_per_second.unwrap_or(quotas.reads_per_second);
}

impl Access {
    /// Updates a namespace.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, `ETAG_MISMATCH`, `INVALID_ARGUMENT`.
    pub async fn update_namespace(&self, context: &Context, request: UpdateNamespace) -> Result<NamespaceChanged> {
        let call = self.writer.call(context, "UpdateNamespace", &request)?;
        self.change_namespace(&call, EventKind::UpdateNamespace, async |write| {
            let mut namespace = write.tx.read().namespace(&request.namespace).await?;
            check_etag(request.etag.as_ref(), &namespace.etag(), &namespace.id.name())?;
            if let Some(description) = request.description {
                check_note("description", &description)?;
                namespace.description = description;
            }
            patch(&mut namespace.quotas, request.quotas);
            namespace.edits += 1;
            write.tx.update_namespace(&namespace).await?;
            Ok(namespace)
        })
        .await
    }
}
