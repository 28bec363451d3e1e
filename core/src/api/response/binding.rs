//! Role bindings.

use crate::api::pb;
use crate::api::time::timestamp;
use crate::domain::access::Role;
use crate::domain::binding::RoleBinding;

fn role(from: Role) -> pb::Role {
    match from {
        Role::Viewer => pb::Role::Viewer,
        Role::Subscriber => pb::Role::Subscriber,
        Role::Author => pb::Role::Author,
        Role::Approver => pb::Role::Approver,
        Role::Publisher => pb::Role::Publisher,
        Role::Activator => pb::Role::Activator,
        Role::Admin => pb::Role::Admin,
        Role::GuardrailAdmin => pb::Role::GuardrailAdmin,
    }
}

/// Returns a role binding.
#[must_use]
pub fn role_binding(from: RoleBinding) -> pb::RoleBinding {
    pb::RoleBinding {
        name: from.name.to_string(),
        role: role(from.role).into(),
        member: from.member,
        creator: from.creator,
        create_time: Some(timestamp(from.create_time)),
    }
}
