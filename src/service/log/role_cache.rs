//! The roles that bindings give to callers, cached for a second and proven again when the bindings change.

use std::sync::Arc;

use super::binding_cache::{BindingCache, NamespaceRoles};
use super::reader::LogReader;
use super::role_proofs::{bindings_broken, prove_chained_bindings, prove_revision};
use crate::domain::access::{Permission, Role};
use crate::domain::name::NamespaceId;
use crate::domain::principal::Principal;
use crate::domain::time::Micros;
use crate::domain::{Reason, Result};
use crate::store::{LogState, WriteTx};

/// The roles of callers, proven by the logs.
#[derive(Debug)]
pub struct RoleCache {
    log: Arc<LogReader>,
    bindings: BindingCache,
}

impl RoleCache {
    pub fn new(log: Arc<LogReader>) -> Self {
        Self { log, bindings: BindingCache::default() }
    }

    /// Returns whether a namespace is known to exist: its bindings were proven.
    pub fn is_known(&self, namespace: &NamespaceId) -> bool {
        self.bindings.contains(namespace)
    }

    /// Makes the next check read the bindings of a namespace again.
    pub fn invalidate(&self, namespace: &NamespaceId) {
        self.bindings.invalidate(namespace);
    }

    /// Returns a number that is raised whenever bindings are invalidated.
    pub fn generation(&self) -> u64 {
        self.bindings.generation()
    }

    /// Returns whether the cached bindings of a namespace that was used recently give any of these members a permission, however old they are.
    pub fn permit_recently(&self, members: &[String], permission: Permission) -> bool {
        self.bindings.permit_recently(members, permission)
    }

    /// Returns whether the cached bindings of any namespace give any of these members a permission.
    pub fn permit_anywhere(&self, members: &[String], permission: Permission) -> bool {
        self.bindings.permit_anywhere(members, permission)
    }

    /// Returns the last revision that changed the bindings of a locked log, for the next event to name: from an earlier proof, or from the
    /// event at the head.
    pub async fn revision(&self, namespace: &NamespaceId, tx: &WriteTx) -> Result<i64> {
        let state = LogState { head: tx.head(), access_revision: tx.access_revision() };
        if self.bindings.get(namespace).is_some_and(|roles| roles.is_current(state)) {
            return Ok(state.access_revision);
        }
        prove_revision(&self.log.signer, tx.read(), namespace, state).await
    }

    /// Returns the roles that the bindings of one log give a caller. In an outage, the roles that were proven last are used.
    pub async fn roles_of(&self, principal: &Principal, namespace: &NamespaceId, now: Micros) -> Result<Vec<Role>> {
        let (held, _lock) = self.bindings.get_or_lock(namespace).await;
        if let Some(roles) = held.as_ref().filter(|roles| !roles.claim_recheck(now)) {
            return Ok(roles.roles_of(principal));
        }
        // Boxed: otherwise the future of every call would have its size, and hardly any call runs it.
        let failed = match Box::pin(self.proven_roles(namespace, held.as_ref(), now)).await {
            Ok(roles) => return Ok(roles.map(|roles| roles.roles_of(principal)).unwrap_or_default()),
            Err(error) => self.log.store.or_suspected_loss(error).await,
        };
        match (failed, held) {
            // In an outage, after suspected data loss, and when the database was changed by hand, use the roles that were proven last.
            (error, Some(held)) => {
                if error.reason == Reason::DataLoss {
                    let detail = error.internal;
                    tracing::error!(%namespace, detail, "using the role bindings that were proven before");
                }
                Ok(held.roles_of(principal))
            }
            (error, None) => Err(error),
        }
    }

    /// Returns the roles in a namespace, read again when its bindings changed; none for a namespace that does not exist.
    async fn proven_roles(
        &self,
        namespace: &NamespaceId,
        held: Option<&Arc<NamespaceRoles>>,
        now: Micros,
    ) -> Result<Option<Arc<NamespaceRoles>>> {
        if let Some(held) = held {
            let states = self.log.store.log_states(&[namespace]).await?;
            if states.first().is_some_and(|(_, state)| held.is_current(*state)) {
                return Ok(Some(Arc::clone(held)));
            }
        }
        let generation = self.generation();
        let (was_in_doubt, view) = (self.log.store.suspected_loss().is_some(), self.log.signer.view());
        let tx = self.log.store.read().await?;
        let Some(state) = tx.log_state(namespace).await? else {
            if held.is_some() && self.log.store.detects_loss().await {
                // The namespace counts as existing until an operator accepts the loss.
                return Ok(held.map(Arc::clone));
            }
            self.invalidate(namespace);
            return Ok(None);
        };
        let bindings = prove_chained_bindings(&self.log.signer, &view, &tx, namespace, state).await?;
        let roles = NamespaceRoles::new(bindings, state, now);
        // The rows were replaced by an older set of the same epoch.
        if held.is_some_and(|held| held.epoch == roles.epoch && held.access_revision > roles.access_revision) {
            return Err(bindings_broken(namespace, "they are older than those that were there before"));
        }
        // What was read while data loss is suspected may not be of this store, and is not kept.
        if was_in_doubt || self.log.store.suspected_loss().is_some() {
            return Ok(Some(Arc::new(roles)));
        }
        Ok(Some(self.bindings.insert(namespace, roles, generation)))
    }
}
