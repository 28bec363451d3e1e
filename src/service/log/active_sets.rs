//! The tree of each active set that this replica writes to, and the root that the next event names.
//!
//! The database is an untrusted log: a tree is used only when its root is the one that the event at the head names, which is
//! sealed. So a pointer that was changed, put back or deleted stops the namespace before anything is signed over it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::domain::bundle::ActiveEntry;
use crate::domain::digest::ActiveSetRoot;
use crate::domain::event::{Cursor, Event, Head, Payload, PointerChange};
use crate::domain::name::{NamespaceId, PolicyId};
use crate::domain::{Error, Result};
use crate::service::proof::{Moves, Signer, leaf, moved, moves_of, tree_of};
use crate::signing::ActiveSetTree;
use crate::store::ReadTx;
use crate::watch::Verify as _;

/// Policies and namespaces in all trees that are kept, a few hundred bytes each. When there are more, every tree is dropped,
/// and the next write of each namespace reads its pointers again.
const KEPT_MAX_POLICIES: usize = 200_000;

/// The trees by their namespaces, each as of a head.
#[derive(Debug, Default)]
pub struct ActiveSets(Mutex<HashMap<NamespaceId, ActiveSet>>);

/// The active set of a namespace at a head.
#[derive(Debug, Clone)]
pub struct ActiveSet {
    head: Head,
    tree: ActiveSetTree,
}

impl ActiveSets {
    pub(super) fn kept(&self, namespace: &NamespaceId) -> Option<ActiveSet> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(namespace).cloned()
    }

    /// Keeps a set whose event was committed.
    pub fn keep(&self, namespace: &NamespaceId, set: ActiveSet) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let others: usize = all.values().map(|kept| kept.tree.len() + 1).sum();
        if others + set.tree.len() + 1 > KEPT_MAX_POLICIES {
            all.clear();
        }
        all.insert(namespace.clone(), set);
    }

    /// The set of a locked log at its head, proven.
    ///
    /// # Errors
    /// `DATA_LOSS` when the pointers do not make the root that the event at the head names.
    pub async fn at_head(
        &self,
        signer: &Signer,
        tx: &ReadTx,
        namespace: &NamespaceId,
        head: Head,
    ) -> Result<ActiveSet> {
        let kept = self.kept(namespace);
        if let Some(kept) = kept.as_ref().filter(|kept| kept.head == head) {
            return Ok(kept.clone());
        }
        let Cursor { revision, .. } = head.cursor;
        let sealed = match revision {
            0 => Some(ActiveSetRoot::default()),
            _ => signer.head(&tx.event(namespace, revision).await?, head)?.active_set_root,
        };
        // Another replica wrote since: what it moved is enough, unless the log went on from elsewhere.
        if let Some(ActiveSet { head: Head { cursor: known, .. }, mut tree }) = kept
            && known.revision <= revision
        {
            let since = tx_entries(tx, namespace, known.revision, revision).await?;
            moved(&mut tree, &since);
            if sealed == Some(ActiveSetRoot(tree.root())) {
                return Ok(ActiveSet { head, tree });
            }
        }
        Self::whole(tx, namespace, head, sealed).await
    }

    /// The set right after an older event, which is proven.
    ///
    /// # Errors
    /// `DATA_LOSS` when the pointers do not make the root that the event names.
    pub async fn at_event(tx: &ReadTx, event: &Event, payload: &Payload) -> Result<ActiveSet> {
        Self::whole(tx, &event.namespace, event.head(), payload.active_set_root).await
    }

    /// The pointers of the set right after an event, which is proven, in byte order of its policies.
    ///
    /// # Errors
    /// As `at_event`.
    pub async fn entries_at_event(
        tx: &ReadTx,
        event: &Event,
        payload: &Payload,
    ) -> Result<Vec<(PolicyId, ActiveEntry)>> {
        let revision = event.cursor.revision;
        let entries = tx_entries(tx, &event.namespace, 0, revision).await?;
        check_root(&event.namespace, revision, payload.active_set_root, &tree_of(&entries))?;
        Ok(entries.into_iter().filter_map(|(policy, entry)| Some((policy, entry?))).collect())
    }

    async fn whole(
        tx: &ReadTx,
        namespace: &NamespaceId,
        head: Head,
        sealed: Option<ActiveSetRoot>,
    ) -> Result<ActiveSet> {
        let revision = head.cursor.revision;
        let tree = tree_of(&tx_entries(tx, namespace, 0, revision).await?);
        check_root(namespace, revision, sealed, &tree)?;
        Ok(ActiveSet { head, tree })
    }
}

fn check_root(
    namespace: &NamespaceId,
    revision: i64,
    sealed: Option<ActiveSetRoot>,
    tree: &ActiveSetTree,
) -> Result<()> {
    // An event that was written before events carried a root says nothing; the next one does.
    if sealed.is_none_or(|sealed| sealed == ActiveSetRoot(tree.root())) {
        return Ok(());
    }
    Err(Error::data_loss(format!("{namespace}: its pointers do not make the root that event {revision} names")))
}

async fn tx_entries(
    tx: &ReadTx,
    namespace: &NamespaceId,
    after: i64,
    revision: i64,
) -> Result<Vec<(PolicyId, Option<ActiveEntry>)>> {
    if after >= revision { Ok(Vec::new()) } else { tx.active_entries(namespace, after, revision).await }
}

impl ActiveSet {
    /// Checks that policies point to what this set has of them: a decision read where they point from their rows.
    ///
    /// # Errors
    /// `DATA_LOSS`.
    pub fn check_pointed(&self, pointed: &Moves) -> Result<()> {
        let is_other = |(policy, entry): &&(PolicyId, Option<ActiveEntry>)| match entry {
            Some(entry) => !self.tree.holds(leaf(policy, entry)),
            None => self.tree.contains(policy),
        };
        match pointed.iter().find(is_other) {
            Some((policy, _)) => Err(Error::data_loss(format!("{policy}: its pointer is not where the log put it"))),
            None => Ok(()),
        }
    }

    /// The set after an event that will stand at `cursor`.
    pub fn after(mut self, pointers: &[PointerChange], cursor: Cursor) -> Self {
        moved(&mut self.tree, &moves_of(pointers, cursor));
        self
    }

    /// The same set, at the event that was written.
    pub fn at(self, head: Head) -> Self {
        Self { head, ..self }
    }

    /// Its root.
    pub fn root(&self) -> ActiveSetRoot {
        ActiveSetRoot(self.tree.root())
    }
}
