//! Whether a form is offered: to who may do what it does. The server decides again when it is sent.

use crate::domain::access::{Grants, RequiredPermission, Rpc};

/// Returns whether grants include what an RPC asks for. For one that asks for a permission in all namespaces, they must be those there.
#[must_use]
pub fn may(grants: &Grants, rpc: Rpc) -> bool {
    match rpc.required_permission() {
        RequiredPermission::Authenticated => true,
        RequiredPermission::InNamespace(permission) | RequiredPermission::StoreWide(permission) => {
            grants.permit(permission)
        }
    }
}
