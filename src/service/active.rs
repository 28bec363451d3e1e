//! GetActive: what is in force, now or as it was, proven before it is served.

use std::sync::Arc;

use super::query::no_active;
use super::signer::set_digest;
use super::{Context, Service};
use crate::domain::bundle::{ActiveBundle, ActiveSet, Bundle};
use crate::domain::command::{ActiveScope, AsOf};
use crate::domain::digest::Digest;
use crate::domain::event::Cursor;
use crate::domain::name::{NamespaceId, PolicyName};
use crate::domain::outcome::Namespace;
use crate::domain::{Error, Result};
use crate::signing::digest_of;
use crate::store::{ActiveRow, ReadTx};
use crate::watch::Verify as _;

/// What is in force.
#[derive(Debug, Clone)]
pub struct Active {
    /// Whose.
    pub namespace: NamespaceId,
    /// Where the log stood.
    pub cursor: Cursor,
    /// In order of their policies.
    pub bundles: Vec<ActiveBundle>,
    /// Digest of the whole set; none when one policy was asked for.
    pub set_digest: Option<Digest>,
    /// Whether what the caller holds is still it; then there are no bundles.
    pub not_modified: bool,
}

impl Service {
    /// What is in force.
    ///
    /// # Errors
    /// `NO_ACTIVE_VERSION` for one policy, `POLICY_NOT_FOUND`, `NAMESPACE_NOT_FOUND`, `INVALID_ARGUMENT` for a revision
    /// beyond the head, `DATA_LOSS`.
    pub async fn get_active(
        &self,
        context: &Context,
        scope: &ActiveScope,
        as_of: AsOf,
        if_digest: Option<&Digest>,
    ) -> Result<Active> {
        let namespace = match scope {
            ActiveScope::Policy(name) => &name.namespace,
            ActiveScope::Namespace(namespace) => namespace,
        };
        // Read before the transaction: what this replica had read by then must be in it.
        let read = self.hub.existing(namespace).map(|feed| feed.head().cursor);
        let tx = self.store.read().await?;
        let (cursor, found) = self.place(&tx, namespace, as_of).await?;
        if read > Some(found.cursor) {
            return Err(Error::data_loss(format!("{}: its log lost its end", namespace.name())));
        }
        match scope {
            ActiveScope::Policy(name) => {
                let active = self.active_policy(context, &tx, name, cursor, as_of).await?;
                let not_modified = if_digest == Some(&active.bundle.version.digest);
                let bundles = if not_modified { Vec::new() } else { vec![active] };
                Ok(Active { namespace: namespace.clone(), cursor, bundles, set_digest: None, not_modified })
            }
            ActiveScope::Namespace(_) => {
                let rows = match as_of {
                    AsOf::Now => tx.active_now(namespace, cursor.revision).await?,
                    _ => tx.active_set(namespace, cursor.revision).await?,
                };
                let bundles = rows.into_iter().map(|row| self.proven(row)).collect::<Result<Vec<_>>>()?;
                let set = ActiveSet { namespace: namespace.clone(), cursor, head_hash: found.head_hash, bundles };
                let digest = set_digest(&set);
                let not_modified = if_digest == Some(&digest);
                let bundles = if not_modified { Vec::new() } else { set.bundles };
                Ok(Active { namespace: set.namespace, cursor, bundles, set_digest: Some(digest), not_modified })
            }
        }
    }

    async fn active_policy(
        &self,
        context: &Context,
        tx: &ReadTx,
        name: &PolicyName,
        cursor: Cursor,
        as_of: AsOf,
    ) -> Result<ActiveBundle> {
        let policy = tx.policy(name).await?;
        let row = tx.active_at(name, cursor.revision).await?;
        if as_of == AsOf::Now && row.as_ref().map_or(0, |row| row.version.number) != policy.active_version {
            return Err(Error::data_loss(format!("{name}: its pointer is not where the log put it")));
        }
        match row {
            Some(row) => self.proven(row),
            None if as_of == AsOf::Now && policy.settings.allow_draft_fallback => {
                self.newest_draft(context, tx, name).await
            }
            None => Err(no_active(name)),
        }
    }

    /// A bundle that every signature holds for.
    fn proven(&self, row: ActiveRow) -> Result<ActiveBundle> {
        self.signer.bundle(&row.version, &row.content)?;
        self.signer.in_force(&row)?;
        Ok(ActiveBundle {
            bundle: Arc::new(Bundle { version: row.version, content: row.content }),
            revision: row.revision,
            statement: row.statement.into(),
            preview: false,
        })
    }

    /// The newest open draft, signed as a preview and never as a bundle (rule 10).
    async fn newest_draft(&self, context: &Context, tx: &ReadTx, name: &PolicyName) -> Result<ActiveBundle> {
        let mut version = tx.open_versions(name).await?.pop().ok_or_else(|| no_active(name))?;
        let content = tx.content(&version.digest).await?;
        if digest_of(&content) != version.digest {
            return Err(Error::data_loss(format!("{}: its content is not that of its digest", version.name())));
        }
        version.manifest = self.signer.preview(&version, &context.actor(), context.now)?;
        Ok(ActiveBundle {
            bundle: Arc::new(Bundle { version, content }),
            revision: 0,
            statement: Arc::from(""),
            preview: true,
        })
    }

    /// Where the log stood.
    async fn place(&self, tx: &ReadTx, namespace: &NamespaceId, as_of: AsOf) -> Result<(Cursor, Namespace)> {
        let found = tx.namespace(namespace).await?;
        let head = found.cursor;
        let revision = match as_of {
            AsOf::Now => head.revision,
            AsOf::Time(time) => tx.revision_at(namespace, time).await?,
            AsOf::Revision(revision) if (0..=head.revision).contains(&revision) => revision,
            AsOf::Revision(revision) => {
                let message = format!("revision {revision} is not in 0 to {}, the head", head.revision);
                return Err(Error::invalid("revision", message).with("head", head.revision));
            }
        };
        if revision == 0 {
            return Ok((Cursor { epoch: head.epoch, revision }, found));
        }
        let event = tx.event(namespace, revision).await?;
        // Its epoch goes out as the cursor's: a raised one would make clients drop what they hold.
        self.signer.event(&event)?;
        if revision == head.revision && (event.hash != found.head_hash || event.cursor != head) {
            return Err(Error::data_loss(format!("{namespace}: its head is not its last event")));
        }
        Ok((event.cursor, found))
    }
}
