//! ThawNamespace: an admin has looked at what did not hold, and lets a frozen namespace go on.

use serde_json::json;

use super::write::Begun;
use super::{Context, Service};
use crate::domain::audit::{Finding, Findings};
use crate::domain::command::ThawNamespace;
use crate::domain::error::FieldViolation;
use crate::domain::event::{Change, EventKind};
use crate::domain::lifecycle;
use crate::domain::name::NamespaceId;
use crate::domain::{Error, Reason, Result};

/// Findings that a refusal names, so that it fits the trailers of a call.
const NAMED_MAX: usize = 10;

impl Service {
    /// Thaws a namespace, when a fresh check finds nothing that the caller does not accept. Answers the revision of its event.
    ///
    /// # Errors
    /// `FINDINGS_REMAIN`, `CONCURRENT_CHANGE`, `NAMESPACE_NOT_FOUND`, `INVALID_ARGUMENT`, `DATA_LOSS` when the pointers do not make
    /// the root of the newest event: nothing can be signed over them.
    pub async fn thaw_namespace(&self, context: &Context, request: ThawNamespace) -> Result<i64> {
        lifecycle::check_reason(&request.reason)?;
        let call = self.call(context, "ThawNamespace", &request)?;
        if let Some(answer) = call.replayed(&self.store.read().await?).await? {
            return Ok(answer);
        }
        let namespace = &request.namespace;
        let (verdict, end) = self.check_log(namespace, 0).await?;
        check_accepted(namespace, &verdict.findings, &request.accepted)?;
        let mut write = match call.begin_frozen(namespace).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        if write.tx.head() != end {
            let message = format!("{} changed while it was checked; try again", namespace.name());
            return Err(Error::new(Reason::ConcurrentChange, message).about(namespace.name()));
        }
        self.hub.check_pointers(write.tx.read(), namespace, end).await?;
        let change = Change {
            reason: request.reason,
            settings: Some(json!({"accepted": verdict.findings.kept})),
            ..Change::new(EventKind::ThawNamespace, None)
        };
        let recorded = write.record(change).await?;
        let answer = write.finish(recorded.revision()).await?;
        if let Some(cursor) = recorded.cursor {
            self.store.thaw(namespace, cursor);
            self.audits.settled(namespace);
            self.hub.wake();
        }
        Ok(answer)
    }

    /// The namespaces that are frozen, as this replica knows.
    #[must_use]
    pub fn frozen_namespaces(&self) -> Vec<NamespaceId> {
        self.store.all_frozen()
    }
}

/// Everything that is found was accepted, and nothing else.
fn check_accepted(namespace: &NamespaceId, found: &Findings, accepted: &[Finding]) -> Result<()> {
    if let Some(absent) = accepted.iter().find(|finding| !found.kept.contains(finding)) {
        let message = format!("names what is not found: {} {}", absent.row, absent.message);
        return Err(Error::invalid("accepted_findings", message));
    }
    let left: Vec<&Finding> = found.kept.iter().filter(|finding| !accepted.contains(finding)).collect();
    let unnamed = found.count.saturating_sub(found.kept.len() as u64);
    if left.is_empty() && unnamed == 0 {
        return Ok(());
    }
    let count = left.len() as u64 + unnamed;
    let message =
        format!("{count} findings remain in {}; repair what they are about, or accept them", namespace.name());
    let violations = left.into_iter().take(NAMED_MAX).map(|finding| FieldViolation {
        field: if finding.row.is_empty() { format!("event {}", finding.revision) } else { finding.row.clone() },
        description: finding.message.clone(),
    });
    let refusal = Error::new(Reason::FindingsRemain, message).with("findings", count).about(namespace.name());
    Err(Error { violations: violations.collect(), ..refusal })
}
