//! CreateNamespace.

use super::use_cases::Access;
use crate::domain::command::CreateNamespace;
use crate::domain::event::EventKind;
use crate::domain::lifecycle::check_note;
use crate::domain::outcome::NamespaceChanged;
use crate::domain::{Error, Reason, Result};
use crate::service::context::Context;

impl Access {
    /// Creates a namespace.
    ///
    /// # Errors
    /// `NAMESPACE_EXISTS`, `INVALID_ARGUMENT`.
    pub async fn create_namespace(&self, context: &Context, request: CreateNamespace) -> Result<NamespaceChanged> {
        check_note("description", &request.description)?;
        let call = self.writer.call(context, "CreateNamespace", &request)?;
        self.change_namespace(&call, EventKind::CreateNamespace, async |write| {
            let name = request.namespace.name();
            if write.tx.read().find_namespace(&request.namespace).await?.is_some() {
                return Err(Error::new(Reason::NamespaceExists, format!("{name} exists already")).about(name));
            }
            write.tx.insert_namespace(&request.namespace, &request.description, request.quotas, write.time()).await?;
            write.tx.read().namespace(&request.namespace).await
        })
        .await
    }
}
