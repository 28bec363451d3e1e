//! GetActive: what is in force of a policy, now or as it was, proven before it is served.

use std::sync::Arc;

use super::{Context, Service};
use crate::domain::bundle::{ActiveBundle, Bundle, Staleness};
use crate::domain::command::{AsOf, GetActive};
use crate::domain::event::{Cursor, Position};
use crate::domain::lifecycle;
use crate::domain::name::NamespaceId;
use crate::domain::outcome::Namespace;
use crate::domain::policy::Policy;
use crate::domain::time::Micros;
use crate::domain::{Error, Result};
use crate::store::ReadTx;
use crate::watch::{InForce, Verify as _};

/// What is in force of a policy.
#[derive(Debug, Clone)]
pub struct Active {
    /// Where the log stood.
    pub at: Position,
    /// The bundle; none: it is what the caller holds still.
    pub bundle: Option<ActiveBundle>,
    /// Why something newer may be in force.
    pub staleness: Staleness,
    /// When it was compared with the database; none for the past.
    pub checked: Option<Micros>,
}

/// A bundle, unless the caller holds its content.
fn unless_held(bundle: ActiveBundle, query: &GetActive) -> Option<ActiveBundle> {
    Some(bundle).filter(|active| query.if_digest.as_ref() != Some(&active.bundle.version.digest))
}

impl Service {
    /// What is in force of a policy.
    ///
    /// # Errors
    /// `NO_ACTIVE_VERSION`, `POLICY_NOT_FOUND`, `NAMESPACE_NOT_FOUND`, `INVALID_ARGUMENT` for a revision beyond the head,
    /// `KEY_STATE_WRONG` for what is in force by a key that was revoked, `DATA_LOSS`.
    pub async fn get_active(&self, context: &Context, query: &GetActive) -> Result<Active> {
        if query.as_of != AsOf::Now {
            return self.active_as_of(context, query).await;
        }
        // From memory: what was verified when it was read.
        let name = &query.policy;
        let InForce { view, checked, staleness } = self.hub.in_force(&name.namespace).await?;
        // Unknown, not active, or a draft to fall back to: the database knows which.
        let Some(active) = view.get(&name.policy) else { return self.active_as_of(context, query).await };
        self.signer.trusted(&mut active.tokens())?;
        let checked = Some(checked).filter(|checked| *checked > Micros(0));
        Ok(Active { at: view.head().into(), bundle: unless_held(active.clone(), query), staleness, checked })
    }

    /// From the database: what was in force, proven before it is served.
    async fn active_as_of(&self, context: &Context, query: &GetActive) -> Result<Active> {
        let namespace = &query.policy.namespace;
        // Read before the transaction: what this replica had read by then must be in it.
        let read = self.hub.read_up_to(namespace);
        let tx = self.store.read().await?;
        let (at, found) = self.place(&tx, namespace, query.as_of).await?;
        read.check_reaches(namespace, found.cursor);
        let active = self.active_policy(context, &tx, &found, query, at.cursor).await?;
        if query.as_of == AsOf::Now {
            // The past is shown as it was: what it was signed with proves who said it, whatever became of the key.
            self.signer.trusted(&mut active.tokens())?;
        }
        let staleness = Staleness { degraded: false, in_doubt: self.store.suspected_loss().is_some() };
        Ok(Active { at, bundle: unless_held(active, query), staleness, checked: None })
    }

    async fn active_policy(
        &self,
        context: &Context,
        tx: &ReadTx,
        found: &Namespace,
        query: &GetActive,
        cursor: Cursor,
    ) -> Result<ActiveBundle> {
        let GetActive { policy: name, as_of, .. } = query;
        let policy = tx.policy(name).await?;
        let row = self.in_force_at(tx, found, name, cursor).await?;
        if *as_of == AsOf::Now && row.as_ref().map_or(0, |row| row.version.number) != policy.active_version {
            return Err(Error::data_loss(format!("{name}: its pointer is not where the log put it")));
        }
        match row {
            Some(row) => self.signer.active_bundle(row),
            None if *as_of == AsOf::Now && policy.settings.allow_draft_fallback => {
                self.newest_draft(context, tx, &policy).await
            }
            None => Err(lifecycle::no_active(name)),
        }
    }

    /// The newest open draft, signed as a preview and never as a bundle (rule 10).
    async fn newest_draft(&self, context: &Context, tx: &ReadTx, policy: &Policy) -> Result<ActiveBundle> {
        let open = tx.version_list(policy).await?.open;
        let mut version = open.into_iter().next_back().ok_or_else(|| lifecycle::no_active(&policy.name))?;
        let content = self.content_of(tx, &version).await?;
        version.manifest = self.signer.preview(&version, &context.actor(), context.now)?;
        Ok(ActiveBundle {
            bundle: Arc::new(Bundle { version, content }),
            activation: Cursor::NONE,
            statement: Arc::from(""),
            preview: true,
        })
    }

    /// Where the log stood.
    pub(super) async fn place(
        &self,
        tx: &ReadTx,
        namespace: &NamespaceId,
        as_of: AsOf,
    ) -> Result<(Position, Namespace)> {
        let found = tx.namespace(namespace).await?;
        let head = found.cursor;
        let at = match as_of {
            AsOf::Now => head.into(),
            AsOf::Time(time) => {
                let newest = self.store.newest_time(tx, namespace, head.revision).await?;
                if time > newest {
                    return Err(Error::invalid("time", "is in the future: what will be in force then is not known"));
                }
                Cursor { epoch: 0, revision: tx.revision_at(namespace, time).await? }.into()
            }
            AsOf::Event(at) => at,
        };
        // The epoch of the event goes out as the cursor's: a raised one would make clients drop what they hold.
        let at = match self.event_at(tx, &found, ("cursor", at)).await? {
            Some((event, _)) => event.head().into(),
            None => Cursor { revision: 0, ..head }.into(),
        };
        Ok((at, found))
    }
}
