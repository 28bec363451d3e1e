//! One activation, encoded once for all subscribers with the same filter.
//!
//! A message is at most `MESSAGE_MAX_BYTES`, so an activation comes in parts. The parts with its bundles are shared by all whose filters
//! select the same changes; the last part of a filtered stream is separate, since it carries the proof for that filter.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::encode::WatchFilter;
use super::source::FeedSource;
use super::split::{bundle_bytes, split};
use super::verify::{SetTree, Trusted};
use crate::domain::bundle::{Activation, Bundle};
use crate::domain::event::{Cursor, Head};
use crate::domain::limits::ACTIVATION_TARGETS_MAX;
use crate::domain::name::{NamespaceId, PolicyId};
use crate::domain::watch_message::{ActivationChanges, ActivationEnd};
use crate::domain::{Error, Result};

/// The changes of an activation that a filter selects: a bit for each bundle, then for each tombstone. There are at most
/// `ACTIVATION_TARGETS_MAX` of both.
type Selection = u128;

const _: () = assert!(ACTIVATION_TARGETS_MAX <= Selection::BITS as usize);

/// Size of the encoded forms that a frame keeps, as a multiple of its content: all changes together, and each change by itself. Rarer
/// filters are encoded for their subscriber alone.
const KEPT_CONTENTS_MAX: usize = 2;
/// Bytes of encoded forms that a frame may keep besides content: statements, manifests, names, proofs.
const KEPT_OVERHEAD_BYTES: usize = 256 * 1024;

/// Size of what a frame holds besides contents and signed texts, about: names, fields, the changed nodes of its tree.
const FIXED_BYTES: usize = 2 * 1024;

/// Maximal size of a policy's name besides its id: the namespace and the framing.
const TOMBSTONE_OVERHEAD_BYTES: usize = 128;

/// An activation and its encoded forms.
#[derive(Debug)]
pub(super) struct Frame {
    activation: Activation,
    content_bytes: usize,
    held_bytes: usize,
    /// The active set after it; none where it was not needed when the frame was created.
    tree: Option<Arc<dyn SetTree>>,
    written: Mutex<EncodedFrame>,
    trusted: Trusted,
}

/// Identifies parts: which changes, with or without content, and whether the last part includes the end. The parts of a filter never do,
/// even when it selects every change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct PartsKey {
    selection: Selection,
    metadata_only: bool,
    has_end: bool,
}

/// The encoded forms, and their size.
#[derive(Debug, Default)]
struct EncodedFrame {
    bytes: usize,
    /// The parts by their key.
    parts: BTreeMap<PartsKey, Vec<Bytes>>,
    /// The last parts of filters.
    ends: BTreeMap<Arc<WatchFilter>, Bytes>,
}

impl EncodedFrame {
    fn keep(&mut self, written: &[Bytes], content_bytes: usize) -> bool {
        let bytes: usize = written.iter().map(Bytes::len).sum();
        let fits = self.bytes + bytes <= content_bytes * KEPT_CONTENTS_MAX + KEPT_OVERHEAD_BYTES;
        if fits {
            self.bytes += bytes;
        }
        fits
    }
}

impl Frame {
    /// Creates a frame. With the tree of the set after it, it serves every filter; without, only unfiltered streams.
    pub(super) fn new(activation: Activation, tree: Option<Arc<dyn SetTree>>) -> Self {
        let content_bytes = activation.bundles.iter().map(|bundle| bundle.content.len()).sum();
        let manifest_bytes: usize = activation.bundles.iter().map(|bundle| bundle.version.manifest.len()).sum();
        let text_bytes = activation.statement.len() + manifest_bytes;
        let held_bytes = (content_bytes + text_bytes) * (1 + KEPT_CONTENTS_MAX) + FIXED_BYTES;
        Self { activation, content_bytes, held_bytes, tree, written: Mutex::default(), trusted: Trusted::default() }
    }

    pub(super) fn cursor(&self) -> Cursor {
        self.activation.cursor
    }

    /// Returns the head after its event.
    pub(super) fn head(&self) -> Head {
        self.activation.head()
    }

    /// Whether a filter selects any change of it.
    pub(super) fn concerns(&self, filter: &WatchFilter) -> bool {
        self.selection(filter) != 0
    }

    /// Whether a subscriber would accept it: its statement has a root, and nothing in it is signed by a key that was revoked since.
    pub(super) fn is_believed(&self, source: &FeedSource) -> bool {
        let manifests = self.activation.bundles.iter().map(|bundle| bundle.version.manifest.as_str());
        let tokens = manifests.chain([&*self.activation.statement]);
        self.activation.root.is_some() && self.trusted.check(&*source.proof, tokens).is_ok()
    }

    /// Returns the size that counts for the budget of rings: contents, statement and manifests, with as many encoded forms of them as a
    /// frame keeps. Not in it are the last parts of filters, which `KEPT_OVERHEAD_BYTES` bounds: most frames have none or a few.
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Returns the messages for a filter, in order, and encodes them if needed; none when the filter selects no change.
    ///
    /// # Errors
    /// `INTERNAL` for a filter, when the frame was created without a tree.
    pub(super) fn messages(
        &self,
        namespace: &NamespaceId,
        filter: &Arc<WatchFilter>,
        source: &FeedSource,
    ) -> Result<Option<Vec<Bytes>>> {
        let selection = self.selection(filter);
        if selection == 0 {
            return Ok(None);
        }
        // Held while messages are encoded: another caller with the same filter waits and shares them.
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let key = PartsKey { selection, metadata_only: filter.metadata_only, has_end: filter.wants_all() };
        let mut messages = match written.parts.get(&key) {
            Some(kept) => kept.clone(),
            None => {
                source.counts.activations_written.add();
                let parts = self.parts(namespace, filter, source);
                if written.keep(&parts, self.content_bytes) {
                    written.parts.insert(key, parts.clone());
                }
                parts
            }
        };
        if !filter.wants_all() {
            messages.push(self.end(namespace, filter, source, &mut written)?);
        }
        Ok(Some(messages))
    }

    /// Returns the parts that a filter selects. The last one includes the end when the filter selects all policies.
    fn parts(&self, namespace: &NamespaceId, filter: &WatchFilter, source: &FeedSource) -> Vec<Bytes> {
        let Activation { bundles, tombstones, .. } = &self.activation;
        let bundles: Vec<Arc<Bundle>> =
            bundles.iter().filter(|each| filter.wants(&each.version.policy.policy)).cloned().collect();
        let tombstones: Vec<PolicyId> = tombstones.iter().filter(|policy| filter.wants(policy)).cloned().collect();
        let sizes = bundles.iter().map(|bundle| bundle_bytes(bundle, filter.metadata_only));
        let names: usize = tombstones.iter().map(|policy| policy.as_str().len() + TOMBSTONE_OVERHEAD_BYTES).sum();
        let end_bytes = if filter.wants_all() { self.activation.statement.len() + names } else { names };
        let ranges = split(sizes, end_bytes);
        let last = ranges.len().saturating_sub(1);
        let set_proof = &Bytes::new();
        let part = |(index, range): (usize, std::ops::Range<usize>)| {
            // All tombstones together are small: the last part with bundles carries them.
            let tombstones = if index == last { tombstones.as_slice() } else { &[] };
            let bundles = bundles.get(range).unwrap_or_default();
            let changes = ActivationChanges { at: self.activation.head().cursor, bundles, tombstones };
            let ends = index == last && filter.wants_all();
            let end = ends.then_some(ActivationEnd { activation: &self.activation, set_proof });
            source.encode.activation_part(namespace, changes, filter.metadata_only, end)
        };
        ranges.into_iter().enumerate().map(part).collect()
    }

    fn end(
        &self,
        namespace: &NamespaceId,
        filter: &Arc<WatchFilter>,
        source: &FeedSource,
        written: &mut EncodedFrame,
    ) -> Result<Bytes> {
        if let Some(kept) = written.ends.get(filter) {
            return Ok(kept.clone());
        }
        let tree = self.tree.as_ref().ok_or_else(|| Error::internal("an activation was read without its set"))?;
        let set_proof = &Bytes::from(tree.prove(filter.policies()));
        let end = Some(ActivationEnd { activation: &self.activation, set_proof });
        let end = source.encode.activation_part(namespace, ActivationChanges::default(), filter.metadata_only, end);
        if written.keep(std::slice::from_ref(&end), self.content_bytes) {
            written.ends.insert(Arc::clone(filter), end.clone());
        }
        Ok(end)
    }

    fn selection(&self, filter: &WatchFilter) -> Selection {
        let bundles = self.activation.bundles.iter().map(|bundle| &bundle.version.policy.policy);
        let changed = bundles.chain(&self.activation.tombstones);
        changed.enumerate().filter(|(_, policy)| filter.wants(policy)).fold(0, |bits, (index, _)| bits | bit(index))
    }
}

fn bit(index: usize) -> Selection {
    u32::try_from(index).ok().and_then(|index| Selection::from(1_u8).checked_shl(index)).unwrap_or(0)
}
