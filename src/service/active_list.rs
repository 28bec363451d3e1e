//! ListActive: the active set in pages, with the proof that it is whole.
//!
//! Invariant: every page is of the cursor of the first one. The checkpoint that the last page brings was signed for that cursor
//! when the first page was made: nothing is signed for a past head.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::Service;
use super::active_sets::tree_of;
use crate::domain::bundle::{ActiveBundle, Staleness};
use crate::domain::command::{ActiveKey, AsOf, ListActive};
use crate::domain::event::{Cursor, Position};
use crate::domain::name::{NamespaceId, PolicyId};
use crate::domain::time::Micros;
use crate::domain::{Error, Reason, Result};
use crate::store::ReadTx;
use crate::watch::{InForce, Verify as _};

/// Content after which a page ends early. With one content more, manifests and the proof, it is below `MESSAGE_MAX_BYTES`.
const PAGE_MAX_BYTES: usize = 768 * 1024;
/// What a bundle takes beside its content, at most.
const BUNDLE_OVERHEAD_BYTES: usize = 3 * 1024;

/// A page of an active set.
#[derive(Debug, Clone)]
pub struct ActivePage {
    /// Where the log stood.
    pub at: Position,
    /// In order of their policies.
    pub bundles: Vec<ActiveBundle>,
    /// Where it ended; none on the last page.
    pub next: Option<ActiveKey>,
    /// A checkpoint of the cursor; empty but on the last page, and for the past.
    pub checkpoint: String,
    /// Proves under its root what is active of the policies asked for; empty when all were.
    pub set_proof: Bytes,
    /// Why something newer may be in force.
    pub staleness: Staleness,
    /// When it was compared with the database; none for the past, and for further pages.
    pub checked: Option<Micros>,
}

/// How much a page holds already.
struct Budget {
    left: usize,
    bytes: usize,
}

impl Budget {
    fn of(query: &ListActive) -> Self {
        Self { left: query.page.size as usize, bytes: 0 }
    }

    /// Whether a bundle with a content of so many bytes still fits. The first one always does.
    fn takes(&mut self, content_bytes: usize) -> bool {
        let fits = self.left > 0 && self.bytes < PAGE_MAX_BYTES;
        self.left = self.left.saturating_sub(1);
        self.bytes += content_bytes + BUNDLE_OVERHEAD_BYTES;
        fits
    }
}

impl Service {
    /// A page of what is in force.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, `INVALID_ARGUMENT` for a revision beyond the head, `INVALID_PAGE_TOKEN` for a cursor that the log has
    /// no more, `KEY_STATE_WRONG` for what is in force by a key that was revoked, `DATA_LOSS`.
    pub async fn list_active(&self, query: &ListActive) -> Result<ActivePage> {
        match (&query.page.after, query.as_of) {
            (None, AsOf::Now) => self.first_page(query).await,
            (None, as_of) => {
                let tx = self.store.read().await?;
                let (at, _) = self.place(&tx, &query.namespace, as_of).await?;
                self.page_of(&tx, query, at, "").await
            }
            (Some(after), _) => {
                let tx = self.store.read().await?;
                let at = self.cursor_of_pages(&tx, &query.namespace, after.cursor).await?;
                self.page_of(&tx, query, at, &after.checkpoint).await
            }
        }
    }

    /// From memory: what was verified when it was read.
    async fn first_page(&self, query: &ListActive) -> Result<ActivePage> {
        let in_force = self.hub.in_force(&query.namespace).await?;
        self.hub.check_trusted(&in_force.view)?;
        let checkpoint = self.hub.checkpoint(&query.namespace, &in_force)?;
        let InForce { view, checked, staleness } = in_force;
        let at = view.head().into();
        let wanted = |policy: &PolicyId| query.policies.is_empty() || query.policies.contains(policy);
        let mut budget = Budget::of(query);
        let all = view.bundles().filter(|active| wanted(&active.bundle.version.policy.policy));
        let content_bytes = |active: &ActiveBundle| if query.metadata_only { 0 } else { active.bundle.content.len() };
        let (mut bundles, mut is_last) = (Vec::new(), true);
        for active in all {
            is_last = budget.takes(content_bytes(active));
            if !is_last {
                break;
            }
            bundles.push(active.clone());
        }
        let next = key_after(&bundles, is_last, view.head().cursor, &checkpoint);
        let set_proof = if is_last { self.hub.prove(&view, &query.policies) } else { Bytes::new() };
        let checkpoint = if is_last { checkpoint } else { String::new() };
        let checked = Some(checked).filter(|checked| *checked > Micros(0));
        Ok(ActivePage { at, bundles, next, checkpoint, set_proof, staleness, checked })
    }

    /// From the database: what was in force at a cursor, proven before it is served.
    async fn page_of(&self, tx: &ReadTx, query: &ListActive, at: Position, checkpoint: &str) -> Result<ActivePage> {
        let ListActive { namespace, policies, page, .. } = query;
        let revision = at.cursor.revision;
        let after = page.after.as_ref().map(|key| &key.policy);
        let mut budget = Budget::of(query);
        // Contents are read and compared with their digests, also when they are left out of the answer.
        let takes = |bytes: usize| budget.takes(bytes);
        let (rows, is_last) = tx.active_page(namespace, revision, (policies, after), takes).await?;
        let bundles = rows.into_iter().map(|row| self.signer.active_bundle(row)).collect::<Result<Vec<_>>>()?;
        if !checkpoint.is_empty() {
            // Of now, not of the past: what a revoked key signed is not served.
            self.signer.trusted(&mut bundles.iter().flat_map(ActiveBundle::tokens))?;
        }
        let next = key_after(&bundles, is_last, at.cursor, checkpoint);
        let checkpoint = if is_last { checkpoint.to_owned() } else { String::new() };
        let set_proof =
            if checkpoint.is_empty() { Bytes::new() } else { prove(tx, namespace, revision, policies).await? };
        let staleness = Staleness { degraded: false, in_doubt: self.store.doubt().is_some() };
        Ok(ActivePage { at, bundles, next, checkpoint, set_proof, staleness, checked: None })
    }

    /// The cursor of the first page, as far as the log still has it.
    async fn cursor_of_pages(&self, tx: &ReadTx, namespace: &NamespaceId, cursor: Cursor) -> Result<Position> {
        let head = tx.namespace(namespace).await?.cursor;
        let gone =
            || Error::new(Reason::InvalidPageToken, "the log has not that cursor any more; start without page_token");
        if cursor.revision > head.revision {
            return Err(gone());
        }
        let (at, _) = self.place(tx, namespace, AsOf::Revision(cursor.revision)).await?;
        if at.cursor == cursor { Ok(at) } else { Err(gone()) }
    }
}

/// Where a page ended, when it is not the last one.
fn key_after(bundles: &[ActiveBundle], is_last: bool, cursor: Cursor, checkpoint: &str) -> Option<ActiveKey> {
    let last = bundles.last().filter(|_| !is_last)?;
    let policy = last.bundle.version.policy.policy.clone();
    Some(ActiveKey { cursor, policy, checkpoint: checkpoint.to_owned() })
}

async fn prove(tx: &ReadTx, namespace: &NamespaceId, revision: i64, policies: &BTreeSet<PolicyId>) -> Result<Bytes> {
    if policies.is_empty() {
        return Ok(Bytes::new());
    }
    let entries = tx.active_entries(namespace, 0, revision).await?;
    let there = entries.iter().filter_map(|(policy, entry)| Some((policy, entry.clone()?)));
    Ok(tree_of(there).prove(policies).into())
}
