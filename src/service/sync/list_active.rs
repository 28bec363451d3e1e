//! ListActive: the active set in pages, with the proof that it is complete.
//!
//! Invariant: every page is of the cursor of the first one. The checkpoint on the last page was signed for that cursor when the first page
//! was made: nothing is signed for a past head.

use bytes::Bytes;

use super::use_cases::Sync;
use crate::domain::bundle::{ActiveBundle, Staleness};
use crate::domain::command::{ActiveKey, AsOf, ListActive};
use crate::domain::event::{Cursor, Position};
use crate::domain::limits::MESSAGE_MAX_BYTES;
use crate::domain::name::{NamespaceId, PolicyId};
use crate::domain::time::Micros;
use crate::domain::{Error, Reason, Result};
use crate::service::proof::tree_of;
use crate::store::{ActivePart, ActiveRows, ReadTx};
use crate::watch::{InForce, Verify as _};

/// A page of an active set.
#[derive(Debug, Clone)]
pub struct ActivePage {
    /// The position of the log.
    pub at: Position,
    /// The bundles in order of their policies: at least as many as fit into an answer, unless the page or the set ends before.
    pub bundles: Vec<ActiveBundle>,
    /// Whether the set ends with them.
    pub is_last: bool,
    /// A checkpoint of the cursor, for the last answer and the tokens before it; empty for the past.
    pub checkpoint: String,
    /// Proves under its root the active versions of the policies asked for; empty when all were, and when more bundles follow.
    pub set_proof: Bytes,
    /// Why a newer set may be active.
    pub staleness: Staleness,
    /// Time at which the set was compared with the database; none for the past, and for further pages.
    pub checked: Option<Micros>,
}

/// What may still be read for a page.
struct ActivePageBudget {
    items: usize,
    bytes: usize,
}

impl ActivePageBudget {
    fn new(query: &ListActive) -> Self {
        Self { items: query.page.size as usize, bytes: MESSAGE_MAX_BYTES }
    }

    /// Subtracts a bundle of `content_bytes` from the budget. Returns whether it fits.
    fn take(&mut self, content_bytes: usize) -> bool {
        let is_wanted = self.items > 0 && self.bytes > 0;
        self.items = self.items.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(content_bytes);
        is_wanted
    }
}

impl ActivePage {
    /// Returns the key of an answer that ends with a policy.
    #[must_use]
    pub fn key_after(&self, policy: &PolicyId) -> ActiveKey {
        ActiveKey { cursor: self.at.cursor, policy: policy.clone(), checkpoint: self.checkpoint.clone() }
    }
}

impl Sync {
    /// Returns a page of the active set.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, `INVALID_ARGUMENT` for a revision beyond the head, `INVALID_PAGE_TOKEN` for a cursor that the log no longer
    /// has, `KEY_STATE_WRONG` for a version signed by a revoked key, `DATA_LOSS`.
    pub async fn list_active(&self, query: &ListActive) -> Result<ActivePage> {
        match (&query.page.after, query.as_of) {
            (None, AsOf::Now) => self.first_page(query).await,
            (None, as_of) => {
                let tx = self.log.store.read().await?;
                let (at, _) = self.log.find_position(&tx, &query.namespace, as_of).await?;
                self.read_page(&tx, query, at, "").await
            }
            (Some(after), _) => {
                let tx = self.log.store.read().await?;
                let at = self.find_position_of_pages(&tx, &query.namespace, after.cursor).await?;
                self.read_page(&tx, query, at, &after.checkpoint).await
            }
        }
    }

    /// Answers from memory, with a set that was verified when it was read.
    async fn first_page(&self, query: &ListActive) -> Result<ActivePage> {
        let in_force = self.in_force(&query.namespace).await?;
        let checkpoint = self.log.hub.checkpoint(&query.namespace, &in_force)?;
        let InForce { view, checked, staleness } = in_force;
        let at = view.head().into();
        let wanted = |policy: &PolicyId| query.policies.is_empty() || query.policies.contains(policy);
        let mut budget = ActivePageBudget::new(query);
        let all = view.bundles().filter(|active| wanted(&active.bundle.version.policy.policy));
        let content_bytes = |active: &ActiveBundle| if query.metadata_only { 0 } else { active.bundle.content.len() };
        let (mut bundles, mut is_last) = (Vec::new(), true);
        for active in all {
            is_last = budget.take(content_bytes(active));
            if !is_last {
                break;
            }
            bundles.push(active.clone());
        }
        let set_proof = if is_last { self.log.hub.prove(&view, &query.policies) } else { Bytes::new() };
        let checked = Some(checked).filter(|checked| *checked > Micros(0));
        Ok(ActivePage { at, bundles, is_last, checkpoint, set_proof, staleness, checked })
    }

    /// Answers from the database with the active set at a cursor, proven before it is served.
    async fn read_page(&self, tx: &ReadTx, query: &ListActive, at: Position, checkpoint: &str) -> Result<ActivePage> {
        let ListActive { namespace, policies, page, .. } = query;
        let revision = at.cursor.revision;
        let after = page.after.as_ref().map(|key| &key.policy);
        let mut budget = ActivePageBudget::new(query);
        // Contents are read and compared with their digests, even when they are left out of the answer.
        let takes = |bytes: usize| budget.take(bytes);
        let ActiveRows { rows, is_last } =
            tx.active_page(namespace, ActivePart { revision, policies, after }, takes).await?;
        let bundles = self.log.signer.active_bundles(rows)?;
        if !checkpoint.is_empty() {
            // This is the current set and not the past: versions signed by a revoked key are not served.
            self.log.signer.trusted(&mut bundles.iter().flat_map(ActiveBundle::tokens))?;
        }
        let is_proven = is_last && !checkpoint.is_empty() && !policies.is_empty();
        let set_proof = if is_proven {
            let entries = tx.active_entries(namespace, 0, revision).await?;
            tree_of(&entries).prove(policies).into()
        } else {
            Bytes::new()
        };
        let checkpoint = checkpoint.to_owned();
        let staleness = Staleness { degraded: false, in_doubt: self.log.store.suspected_loss().is_some() };
        Ok(ActivePage { at, bundles, is_last, checkpoint, set_proof, staleness, checked: None })
    }

    /// Returns the position of the first page, if the log still has it.
    async fn find_position_of_pages(&self, tx: &ReadTx, namespace: &NamespaceId, cursor: Cursor) -> Result<Position> {
        let head = tx.namespace(namespace).await?.cursor;
        let gone = || {
            Error::new(Reason::InvalidPageToken, "the log does not have that cursor any more; start without page_token")
        };
        if cursor.revision > head.revision {
            return Err(gone());
        }
        let (at, _) = self.log.find_position(tx, namespace, AsOf::Event(cursor.into())).await?;
        if at.cursor == cursor { Ok(at) } else { Err(gone()) }
    }
}
