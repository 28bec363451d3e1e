//! Quotas at the door of every use case: a call is metered before anything is read for it.

use super::use_cases::Access;
use crate::domain::Result;
use crate::domain::access::Rpc;
use crate::domain::name::NamespaceId;
use crate::domain::principal::Principal;
use crate::domain::quota::Quota;
use crate::domain::time::Micros;
use crate::service::meters::StreamPlace;

impl Access {
    /// Takes a call out of its caller's rate. Before authorization: who asks for what is not theirs is metered too.
    ///
    /// # Errors
    /// `RATE_LIMITED`.
    pub fn meter_caller(&self, principal: &Principal, rpc: Rpc, now: Micros) -> Result<()> {
        self.meters.meter_principal(principal, rpc.rate(), now)
    }

    /// Takes a call out of the rate of the namespace that `scope`, a resource name as it was sent, is in. After
    /// authorization: a stranger uses up nothing of a tenant.
    ///
    /// # Errors
    /// `RATE_LIMITED`.
    pub fn meter_scope(&self, scope: &str, rpc: Rpc, now: Micros) -> Result<()> {
        let id = scope.strip_prefix("namespaces/").and_then(|rest| rest.split('/').next());
        // A name that is none is told by what reads it next.
        match id.map(|id| NamespaceId::parse("namespace", id)) {
            Some(Ok(namespace)) => self.meters.meter_namespace(&namespace, rpc.rate(), now),
            _ => Ok(()),
        }
    }

    /// A place for a watch in the quotas of its namespace and its caller, for as long as it is held.
    ///
    /// # Errors
    /// `QUOTA_EXCEEDED`.
    pub fn open_stream(&self, principal: &Principal, namespace: &NamespaceId) -> Result<StreamPlace> {
        self.meters.open_stream(principal, namespace)
    }

    /// Refusals of this replica so far, by quota.
    pub fn quota_refusals(&self) -> impl Iterator<Item = (Quota, u64)> + '_ {
        self.meters.refusals()
    }

    /// Reads what namespaces were given, if the log of `system` says that it may have changed: one query by key when not.
    ///
    /// # Errors
    /// When the database fails; then what was known holds.
    pub async fn refresh_quotas(&self) -> Result<()> {
        let heads = self.log.store.heads(&[NamespaceId::system()]).await?;
        let Some((_, head)) = heads.into_iter().next() else { return Ok(()) };
        if !self.meters.is_as_of(head.cursor) {
            // Read after the head: what is newer than it is read again at the next look.
            self.meters.learn(head.cursor, self.log.store.own_quotas().await?);
        }
        Ok(())
    }
}
