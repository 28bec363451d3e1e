//! CreateRoleBinding: an event in the log of the namespace where the role holds.

use super::binding_change::record_binding_change;
use super::use_cases::Access;
use crate::domain::binding::{BindingName, RoleBinding};
use crate::domain::command::CreateRoleBinding;
use crate::domain::event::EventKind;
use crate::domain::lifecycle::check_note;
use crate::domain::limits::ROLE_BINDINGS_PER_NAMESPACE_MAX;
use crate::domain::outcome::BindingChanged;
use crate::domain::{Error, Reason, Result};
use crate::service::context::Context;

impl Access {
    /// Creates a role binding.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, `BINDING_EXISTS`, `LIMIT_EXCEEDED`, `INVALID_ARGUMENT`, `DATA_LOSS`.
    pub async fn create_role_binding(&self, context: &Context, request: CreateRoleBinding) -> Result<BindingChanged> {
        check_note("reason", &request.reason)?;
        let call = self.writer.call(context, "CreateRoleBinding", &request)?;
        let namespace = request.namespace.clone();
        let changed = call
            .mutate(&namespace, async |write| {
                let mut bindings = self.read_bindings(write, &request.namespace).await?;
                let same = |each: &&RoleBinding| each.member == request.member && each.role == request.role;
                if let Some(found) = bindings.iter().find(same) {
                    let message = format!("{} has the role {} here already", request.member, request.role.as_str());
                    return Err(Error::new(Reason::BindingExists, message).with("id", &found.name).about(&found.name));
                }
                if bindings.len() >= ROLE_BINDINGS_PER_NAMESPACE_MAX {
                    let message = format!("there are {ROLE_BINDINGS_PER_NAMESPACE_MAX} role bindings here already");
                    return Err(Error::new(Reason::LimitExceeded, message)
                        .with("limit_role_bindings", ROLE_BINDINGS_PER_NAMESPACE_MAX));
                }
                let name = BindingName { namespace: request.namespace.clone(), id: uuid::Uuid::now_v7().to_string() };
                let (role, member) = (request.role, request.member);
                let binding = RoleBinding { name, role, member, creator: context.actor(), create_time: write.time() };
                write.tx.insert_binding(&binding).await?;
                bindings.push(binding.clone());
                record_binding_change(write, EventKind::CreateRoleBinding, request.reason, binding, bindings).await
            })
            .await;
        self.invalidate_bindings(&namespace, changed)
    }
}
