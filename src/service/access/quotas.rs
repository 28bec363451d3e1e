//! Quotas of calls: a call is metered before anything is read for it.

use super::use_cases::Access;
use crate::domain::Result;
use crate::domain::access::Rpc;
use crate::domain::name::NamespaceId;
use crate::domain::principal::Principal;
use crate::domain::quota::Quota;
use crate::domain::time::Micros;
use crate::service::meters::StreamPermit;

impl Access {
    /// Counts a call against its caller's rate. Before authorization, so that refused calls count too.
    ///
    /// # Errors
    /// `RATE_LIMITED`.
    pub fn meter_caller(&self, principal: &Principal, rpc: Rpc, now: Micros) -> Result<()> {
        self.meters.meter_principal(principal, rpc.rate(), now)
    }

    /// Counts a call against the rate of the namespace of `scope`, a resource name exactly as it was sent. Call it after authorization, so
    /// that callers without a role don't use up a tenant's quota.
    ///
    /// # Errors
    /// `RATE_LIMITED`.
    pub fn meter_scope(&self, scope: &str, rpc: Rpc, now: Micros) -> Result<()> {
        let id = scope.strip_prefix("namespaces/").and_then(|rest| rest.split('/').next());
        // A malformed name is refused by the parser that follows.
        match id.map(|id| NamespaceId::parse("namespace", id)) {
            Some(Ok(namespace)) => self.meters.meter_namespace(&namespace, rpc.rate(), now),
            _ => Ok(()),
        }
    }

    /// Counts a stream in the quotas of its namespace and its caller, until the permit is dropped.
    ///
    /// # Errors
    /// `QUOTA_EXCEEDED`.
    pub fn open_stream(&self, principal: &Principal, namespace: &NamespaceId) -> Result<StreamPermit> {
        self.meters.open_stream(principal, namespace)
    }

    /// Returns the refusals of this replica so far, by quota.
    pub fn quota_refusals(&self) -> impl Iterator<Item = (Quota, u64)> + '_ {
        self.meters.refusals()
    }

    /// Reads the quotas of namespaces if the log of `system` moved. Otherwise it costs one query by key.
    ///
    /// # Errors
    /// Errors of the database; then the known quotas stay in force.
    pub async fn refresh_quotas(&self) -> Result<()> {
        let heads = self.log.store.heads(&[NamespaceId::system()]).await?;
        let Some((_, head)) = heads.into_iter().next() else { return Ok(()) };
        if !self.meters.is_current_at(head.cursor) {
            // Read this after the head, so that a change in between is read again by the next poll.
            self.meters.replace_overrides(head.cursor, self.log.store.own_quotas().await?);
        }
        Ok(())
    }
}
