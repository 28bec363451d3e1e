//! DeleteRoleBinding.

use super::binding_change::record_binding_change;
use super::use_cases::Access;
use crate::domain::access::Role;
use crate::domain::command::DeleteRoleBinding;
use crate::domain::event::EventKind;
use crate::domain::lifecycle::check_note;
use crate::domain::outcome::BindingChanged;
use crate::domain::{Error, Reason, Result};
use crate::service::context::Context;

impl Access {
    /// Deletes a role binding.
    ///
    /// # Errors
    /// `BINDING_NOT_FOUND`, `LAST_ADMIN`, `NAMESPACE_NOT_FOUND`, `DATA_LOSS`.
    pub async fn delete_role_binding(&self, context: &Context, request: DeleteRoleBinding) -> Result<BindingChanged> {
        check_note("reason", &request.reason)?;
        let call = self.writer.call(context, "DeleteRoleBinding", &request)?;
        let namespace = &request.name.namespace;
        let changed = call
            .mutate(namespace, async |write| {
                let mut bindings = self.read_bindings(write, namespace).await?;
                let at = bindings.iter().position(|each| each.name == request.name);
                let binding = bindings.remove(at.ok_or_else(|| request.name.not_found())?);
                if namespace.is_system() && !bindings.iter().any(|each| each.role == Role::Admin) {
                    let message = "it is the last binding of the role admin on *; grant it to somebody else first";
                    return Err(Error::new(Reason::LastAdmin, message).about(&request.name));
                }
                write.tx.delete_binding(&request.name).await?;
                record_binding_change(write, EventKind::DeleteRoleBinding, request.reason, binding, bindings).await
            })
            .await;
        self.invalidate_bindings(namespace, changed)
    }
}
