//! GetActive: the active version of a policy, now or in the past, proven before it is served.

use std::sync::Arc;

use super::use_cases::Sync;
use crate::domain::bundle::{ActiveBundle, Bundle, Staleness};
use crate::domain::command::{AsOf, GetActive};
use crate::domain::event::{Cursor, Position};
use crate::domain::lifecycle;
use crate::domain::outcome::Namespace;
use crate::domain::policy::Policy;
use crate::domain::time::Micros;
use crate::domain::{Error, Result};
use crate::service::context::Context;
use crate::store::ReadTx;
use crate::watch::{InForce, Verify as _};

/// The active version of a policy.
#[derive(Debug, Clone)]
pub struct ActiveAnswer {
    /// The position of the log.
    pub at: Position,
    /// The bundle; none when the caller already holds its content.
    pub bundle: Option<ActiveBundle>,
    /// Why a newer version may be active.
    pub staleness: Staleness,
    /// Time at which the bundle was compared with the database; none for the past.
    pub checked: Option<Micros>,
}

/// Returns a bundle, unless the caller already holds its content.
fn drop_if_held(bundle: ActiveBundle, query: &GetActive) -> Option<ActiveBundle> {
    Some(bundle).filter(|active| query.if_digest.as_ref() != Some(&active.bundle.version.digest))
}

impl Sync {
    /// Returns the active version of a policy.
    ///
    /// # Errors
    /// `NO_ACTIVE_VERSION`, `POLICY_NOT_FOUND`, `NAMESPACE_NOT_FOUND`, `INVALID_ARGUMENT` for a revision beyond the head,
    /// `KEY_STATE_WRONG` for a version signed by a revoked key, `DATA_LOSS`.
    pub async fn get_active(&self, context: &Context, query: &GetActive) -> Result<ActiveAnswer> {
        if query.as_of != AsOf::Now {
            return Box::pin(self.read_as_of(context, query)).await;
        }
        // It was verified when it was read into memory.
        let name = &query.policy;
        let InForce { view, checked, staleness } = self.log.hub.in_force(&name.namespace).await?;
        // The policy is unknown, not active, or has a draft to fall back to: the database has the answer.
        let Some(active) = view.get(&name.policy) else {
            return Box::pin(self.read_as_of(context, query)).await;
        };
        self.log.signer.trusted(&mut active.tokens())?;
        let checked = Some(checked).filter(|checked| *checked > Micros(0));
        Ok(ActiveAnswer { at: view.head().into(), bundle: drop_if_held(active.clone(), query), staleness, checked })
    }

    /// Answers from the database with a version that is proven before it is served.
    async fn read_as_of(&self, context: &Context, query: &GetActive) -> Result<ActiveAnswer> {
        let namespace = &query.policy.namespace;
        // Read this before the transaction: what this replica had read by then must be in it.
        let read = self.log.hub.read_up_to(namespace);
        let tx = self.log.store.read().await?;
        let (at, found) = self.log.find_position(&tx, namespace, query.as_of).await?;
        read.check_reaches(namespace, found.cursor);
        let active = self.read_active(context, &tx, &found, query, at.cursor).await?;
        if query.as_of == AsOf::Now {
            // The past is served unchanged, even when its key was revoked since: the signature still proves who signed it.
            self.log.signer.trusted(&mut active.tokens())?;
        }
        let staleness = Staleness { degraded: false, in_doubt: self.log.store.suspected_loss().is_some() };
        Ok(ActiveAnswer { at, bundle: drop_if_held(active, query), staleness, checked: None })
    }

    async fn read_active(
        &self,
        context: &Context,
        tx: &ReadTx,
        found: &Namespace,
        query: &GetActive,
        cursor: Cursor,
    ) -> Result<ActiveBundle> {
        let GetActive { policy: name, as_of, .. } = query;
        let policy = tx.policy(name).await?;
        let row = self.log.read_in_force(tx, found, name, cursor).await?;
        if *as_of == AsOf::Now && row.as_ref().map_or(0, |row| row.version.number) != policy.active_version {
            return Err(Error::data_loss(format!("{name}: its pointer is not where the log put it")));
        }
        match row {
            Some(row) => self.log.signer.active_bundle(row),
            None if *as_of == AsOf::Now && policy.settings.allow_draft_fallback => {
                self.preview_newest_draft(context, tx, &policy).await
            }
            None => Err(lifecycle::no_active(name)),
        }
    }

    /// Returns the newest open draft, signed as a preview and never as a bundle.
    async fn preview_newest_draft(&self, context: &Context, tx: &ReadTx, policy: &Policy) -> Result<ActiveBundle> {
        let open = tx.version_list(policy).await?.open;
        let mut version = open.into_iter().next_back().ok_or_else(|| lifecycle::no_active(&policy.name))?;
        let content = self.log.read_content(tx, &version).await?;
        version.manifest = self.log.signer.preview(&version, &context.actor(), context.now)?;
        Ok(ActiveBundle {
            bundle: Arc::new(Bundle { version, content }),
            activation: Cursor::NONE,
            statement: Arc::from(""),
            preview: true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Largest future of a GetActive that is answered from memory.
    const ANSWER_STATE_MAX_BYTES: usize = 3 * 1024;

    /// Takes the function for the type of its future only.
    fn output_bytes<A, B, C, R>(_: fn(A, B, C) -> R) -> usize {
        size_of::<R>()
    }

    #[test]
    fn an_answer_from_memory_does_not_carry_the_reading_of_the_database() {
        let bytes = output_bytes(Sync::get_active);
        assert!(bytes <= ANSWER_STATE_MAX_BYTES, "{bytes} bytes");
    }
}
