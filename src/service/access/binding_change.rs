//! The steps that every change of role bindings shares.

use super::use_cases::Access;
use crate::domain::Result;
use crate::domain::binding::{AccessChange, RoleBinding};
use crate::domain::event::{Change, EventKind};
use crate::domain::name::NamespaceId;
use crate::domain::outcome::BindingChanged;
use crate::service::log::{Write, bindings_digest, prove_chained_bindings};
use crate::store::LogState;

impl Access {
    /// Invalidates the cached bindings after a change, whatever its result: it may be unknown whether it was committed, and a replayed
    /// answer may be of another replica, or of a call that was cancelled before this line.
    pub(super) fn invalidate_bindings<T>(&self, namespace: &NamespaceId, changed: T) -> T {
        self.roles.invalidate(namespace);
        changed
    }

    /// Reads and proves the bindings of a locked log: the digest in the next event is made of them.
    pub(super) async fn read_bindings(&self, write: &Write<'_>, namespace: &NamespaceId) -> Result<Vec<RoleBinding>> {
        let state = LogState { head: write.tx.head(), access_revision: write.tx.access_revision() };
        prove_chained_bindings(&self.log.signer, &self.log.signer.view(), write.tx.read(), namespace, state).await
    }
}

/// Records a change of the bindings; `bindings` is the new state.
pub(super) async fn record_binding_change(
    write: &mut Write<'_>,
    kind: EventKind,
    reason: String,
    binding: RoleBinding,
    mut bindings: Vec<RoleBinding>,
) -> Result<BindingChanged> {
    bindings.sort_by(|one, other| one.name.cmp(&other.name));
    let access = AccessChange { binding: binding.clone(), bindings_digest: bindings_digest(&bindings)? };
    let recorded = write.record(Change { reason, access: Some(access), ..Change::new(kind, None) }).await?;
    Ok(BindingChanged { binding, cursor: recorded.cursor })
}
