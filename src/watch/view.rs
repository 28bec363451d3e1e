//! The state of a namespace at one head: the source of snapshots, checkpoints and GetActive.
//!
//! A view never changes. Its snapshots are encoded once per filter, part by part as streams need them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;

use super::encode::WatchFilter;
use super::source::FeedSource;
use super::split::{bundle_bytes, split};
use super::verify::{Attest, SetTree, Trusted};
use crate::domain::Result;
use crate::domain::bundle::{Activation, ActiveBundle};
use crate::domain::digest::{ActiveSetRoot, Digest};
use crate::domain::event::Head;
use crate::domain::name::{NamespaceId, PolicyId};
use crate::domain::watch_message::SnapshotEnd;

/// Size of the end of a snapshot: its checkpoint and its cursor.
const END_BYTES: usize = 4 * 1024;
/// Maximal size of the proof of one policy: 32 hashes are the path to a leaf among billions.
const PROOF_BYTES: usize = 1024;
/// Maximal size of the encoded snapshots kept of one view, for all filters. Beyond it, parts are encoded for each subscriber: their
/// contents are in memory once already.
const SNAPSHOT_KEPT_MAX_BYTES: usize = 64 * 1024 * 1024;
/// Number of filters whose snapshots of one view are shared.
const SNAPSHOT_FILTERS_MAX: usize = 64;

/// The active bundles, by policy.
#[derive(Debug, Clone)]
pub(super) struct ActiveBundles {
    bundles: BTreeMap<PolicyId, ActiveBundle>,
    tree: Arc<dyn SetTree>,
    digest: OnceLock<Digest>,
}

/// A namespace at a head.
#[derive(Debug)]
pub struct ActiveView {
    head: Head,
    active: Arc<ActiveBundles>,
    snapshots: Mutex<BTreeMap<Arc<WatchFilter>, Arc<Snapshot>>>,
    proofs: Mutex<BTreeMap<BTreeSet<PolicyId>, Bytes>>,
    trusted: Trusted,
}

/// The snapshot of a view for one filter.
#[derive(Debug)]
pub(super) struct Snapshot {
    bundles: Vec<ActiveBundle>,
    metadata_only: bool,
    /// Approximate size of all parts.
    bytes: usize,
    /// Ends with a part that may be empty: there is always a last one, even of an empty set.
    parts: Vec<Range<usize>>,
    /// Encoded parts except the last; empty when they are not kept.
    written: Vec<OnceLock<Bytes>>,
    /// The last part, with the checkpoint with which it was encoded.
    last: Mutex<Option<(Arc<str>, Bytes)>>,
    trusted: Trusted,
}

impl ActiveBundles {
    pub(super) fn new(bundles: BTreeMap<PolicyId, ActiveBundle>, attest: &dyn Attest) -> Self {
        let entries: Vec<_> = bundles.iter().map(|(policy, active)| (policy.clone(), Some(active.entry()))).collect();
        let tree = attest.tree(&entries);
        Self { bundles, tree, digest: OnceLock::new() }
    }

    pub(super) fn tree(&self) -> &Arc<dyn SetTree> {
        &self.tree
    }

    /// Applies an activation, given the tree after it.
    pub(super) fn change(&mut self, activation: &Activation, tree: Arc<dyn SetTree>) {
        (self.tree, self.digest) = (tree, OnceLock::new());
        for policy in &activation.tombstones {
            self.bundles.remove(policy);
        }
        for bundle in &activation.bundles {
            let active = ActiveBundle {
                bundle: Arc::clone(bundle),
                activation: activation.cursor,
                statement: Arc::clone(&activation.statement),
                preview: false,
            };
            self.bundles.insert(bundle.version.policy.policy.clone(), active);
        }
    }

    pub(super) fn digest(&self, attest: &dyn Attest) -> &Digest {
        self.digest.get_or_init(|| attest.set_digest(&mut self.bundles.values().map(ActiveBundle::set_entry)))
    }
}

impl ActiveView {
    pub(super) fn new(head: Head, active: Arc<ActiveBundles>) -> Self {
        let trusted = Trusted::default();
        Self { head, active, snapshots: Mutex::default(), proofs: Mutex::default(), trusted }
    }

    /// Returns the head of the view.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// Returns the active bundle of a policy.
    #[must_use]
    pub fn get(&self, policy: &PolicyId) -> Option<&ActiveBundle> {
        self.active.bundles.get(policy)
    }

    /// Returns all active bundles, in byte order of the policies.
    pub fn bundles(&self) -> impl Iterator<Item = &ActiveBundle> {
        self.active.bundles.values()
    }

    pub(super) fn digest(&self, attest: &dyn Attest) -> &Digest {
        self.active.digest(attest)
    }

    /// Returns the root of the active set.
    #[must_use]
    pub fn root(&self) -> ActiveSetRoot {
        self.active.tree.root()
    }

    /// Proves the active versions of the policies of a filter; empty for a filter of all policies. Computed once per filter.
    pub(super) fn proof(&self, filter: &WatchFilter) -> Bytes {
        if filter.wants_all() {
            return Bytes::new();
        }
        let mut proofs = self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(proof) = proofs.get(filter.policies()) {
            return proof.clone();
        }
        let proof = Bytes::from(self.active.tree.prove(filter.policies()));
        if proofs.len() < SNAPSHOT_FILTERS_MAX {
            proofs.insert(filter.policies().clone(), proof.clone());
        }
        proof
    }

    /// Checks the same as `Verify::trusted`, for the whole active set.
    pub(super) fn check_trusted(&self, source: &FeedSource) -> Result<()> {
        self.trusted.check(&*source.proof, self.bundles().flat_map(ActiveBundle::tokens))
    }

    /// Returns the snapshot for a filter, shared by all with the same filter.
    pub(super) fn snapshot(&self, filter: &Arc<WatchFilter>) -> Arc<Snapshot> {
        let mut snapshots = self.snapshots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(snapshot) = snapshots.get(filter) {
            return Arc::clone(snapshot);
        }
        let wanted = self.bundles().filter(|each| filter.wants(&each.bundle.version.policy.policy));
        let mut snapshot = Snapshot::new(wanted.cloned().collect(), filter);
        let kept: usize = snapshots.values().map(|kept| kept.bytes).sum();
        if snapshots.len() >= SNAPSHOT_FILTERS_MAX || kept + snapshot.bytes > SNAPSHOT_KEPT_MAX_BYTES {
            snapshot.written.clear();
            return Arc::new(snapshot);
        }
        let snapshot = Arc::new(snapshot);
        snapshots.insert(Arc::clone(filter), Arc::clone(&snapshot));
        snapshot
    }
}

impl Snapshot {
    fn new(bundles: Vec<ActiveBundle>, filter: &WatchFilter) -> Self {
        let (metadata_only, end_bytes) = (filter.metadata_only, END_BYTES + filter.policies().len() * PROOF_BYTES);
        let sizes: Vec<usize> = bundles.iter().map(|active| bundle_bytes(&active.bundle, metadata_only)).collect();
        let bytes = sizes.iter().sum();
        let parts = split(sizes.into_iter(), end_bytes);
        let written = std::iter::repeat_with(OnceLock::new).take(parts.len() - 1).collect();
        Self { bundles, metadata_only, bytes, parts, written, last: Mutex::default(), trusted: Trusted::default() }
    }

    /// Checks that it may be sent: nothing in it is signed by a revoked key.
    ///
    /// # Errors
    /// `KEY_STATE_WRONG`.
    pub(super) fn check_trusted(&self, source: &FeedSource) -> Result<()> {
        self.trusted.check(&*source.proof, self.bundles.iter().flat_map(ActiveBundle::tokens))
    }

    /// Whether this part is the last one, which must be encoded with the snapshot's end.
    pub(super) fn is_last(&self, part: usize) -> bool {
        part + 1 >= self.parts.len()
    }

    fn bundles_of(&self, part: usize) -> &[ActiveBundle] {
        self.parts.get(part).and_then(|range| self.bundles.get(range.clone())).unwrap_or_default()
    }

    /// Returns a part other than the last.
    pub(super) fn part(&self, namespace: &NamespaceId, part: usize, source: &FeedSource) -> Bytes {
        let write = || {
            source.counts.snapshot_parts_written.add();
            source.encode.snapshot_part(namespace, self.bundles_of(part), self.metadata_only, None)
        };
        self.written.get(part).map_or_else(write, |kept| kept.get_or_init(write).clone())
    }

    /// Returns the last part, encoded again when the checkpoint is new.
    pub(super) fn last(
        &self,
        namespace: &NamespaceId,
        view: &ActiveView,
        filter: &WatchFilter,
        checkpoint: &Arc<str>,
        source: &FeedSource,
    ) -> Bytes {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((kept_for, message)) = &*last
            && kept_for == checkpoint
        {
            return message.clone();
        }
        let set_proof = &view.proof(filter);
        let end = SnapshotEnd { head: view.head, set_proof, checkpoint };
        let bundles = self.bundles_of(self.parts.len() - 1);
        source.counts.snapshot_parts_written.add();
        let message = source.encode.snapshot_part(namespace, bundles, self.metadata_only, Some(end));
        *last = Some((Arc::clone(checkpoint), message.clone()));
        message
    }
}
