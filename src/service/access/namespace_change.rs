//! The steps that every change of a namespace shares. Changes of namespaces are events of the log of `system`.

use super::use_cases::Access;
use crate::domain::Result;
use crate::domain::event::{Change, EventKind};
use crate::domain::name::NamespaceId;
use crate::domain::outcome::{Namespace, NamespaceChanged};
use crate::service::log::{IdempotentCall, Write};

impl Access {
    /// Writes the namespace that `change` returns to the log of `system`, and applies its quotas once they are committed.
    pub(super) async fn change_namespace(
        &self,
        call: &IdempotentCall<'_>,
        kind: EventKind,
        change: impl AsyncFnOnce(&mut Write<'_>) -> Result<Namespace>,
    ) -> Result<NamespaceChanged> {
        let mut committed = None;
        let answer = call
            .mutate(&NamespaceId::system(), async |write| {
                let namespace = change(write).await?;
                let recorded = write.record(describe_namespace(kind, &namespace)).await?;
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

fn describe_namespace(kind: EventKind, namespace: &Namespace) -> Change {
    let settings = serde_json::json!({
        "namespace": namespace.id, "description": namespace.description, "quotas": namespace.quotas,
    });
    Change { settings: Some(settings), ..Change::new(kind, None) }
}
