//! CreateNamespace. Changes of namespaces are events of the log of `system`.

use super::use_cases::Access;
use crate::domain::command::CreateNamespace;
use crate::domain::event::{Change, EventKind};
use crate::domain::lifecycle::check_note;
use crate::domain::name::NamespaceId;
use crate::domain::outcome::{Namespace, NamespaceChanged};
use crate::domain::{Error, Reason, Result};
use crate::service::context::Context;

pub(super) fn describe_namespace(kind: EventKind, namespace: &Namespace) -> Change {
    let settings = serde_json::json!({
        "namespace": namespace.id, "description": namespace.description, "quotas": namespace.quotas,
    });
    Change { settings: Some(settings), ..Change::new(kind, None) }
}

impl Access {
    /// Creates a namespace.
    ///
    /// # Errors
    /// `NAMESPACE_EXISTS`, `INVALID_ARGUMENT`.
    pub async fn create_namespace(&self, context: &Context, request: CreateNamespace) -> Result<NamespaceChanged> {
        check_note("description", &request.description)?;
        let call = self.writer.call(context, "CreateNamespace", &request)?;
        let mut committed = None;
        let answer = call
            .mutate(&NamespaceId::system(), async |write| {
                let name = request.namespace.name();
                if write.tx.read().find_namespace(&request.namespace).await?.is_some() {
                    return Err(Error::new(Reason::NamespaceExists, format!("{name} exists already")).about(name));
                }
                write
                    .tx
                    .insert_namespace(&request.namespace, &request.description, request.quotas, write.time())
                    .await?;
                let namespace = write.tx.read().namespace(&request.namespace).await?;
                let recorded = write.record(describe_namespace(EventKind::CreateNamespace, &namespace)).await?;
                committed = recorded.cursor.map(|_| namespace.clone());
                Ok(NamespaceChanged { namespace, cursor: recorded.cursor })
            })
            .await?;
        // Not for a replayed answer: it may hold older quotas than those in force.
        if let Some(namespace) = committed {
            self.meters.apply_committed(&namespace);
        }
        Ok(answer)
    }
}
