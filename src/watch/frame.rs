//! One activation, written once for all who want the same of it.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::encode::Filter;
use super::source::Source;
use super::verify::Trusted;
use crate::domain::bundle::Activation;
use crate::domain::event::{Cursor, Head};
use crate::domain::limits::ACTIVATION_TARGETS_MAX;
use crate::domain::name::NamespaceId;

/// Which changes of an activation somebody wants: a bit for each bundle, then for each tombstone. There are at most
/// `ACTIVATION_TARGETS_MAX` of both.
type Selection = u128;

const _: () = assert!(ACTIVATION_TARGETS_MAX <= Selection::BITS as usize);

/// How much of what it wrote a frame keeps, as a multiple of its whole content: everything, and each change by itself.
/// Stranger filters are written for their subscriber alone.
const KEPT_CONTENTS_MAX: usize = 2;
/// What a frame may keep whatever its content: statements, manifests, names.
const KEPT_OVERHEAD_BYTES: usize = 256 * 1024;

/// An activation and its written forms.
#[derive(Debug)]
pub(super) struct Frame {
    activation: Activation,
    content_bytes: usize,
    written: Mutex<Vec<Written>>,
    trusted: Trusted,
}

#[derive(Debug)]
struct Written {
    selection: Selection,
    metadata_only: bool,
    message: Bytes,
}

impl Frame {
    pub(super) fn new(activation: Activation) -> Self {
        let content_bytes = activation.bundles.iter().map(|bundle| bundle.content.len()).sum();
        Self { activation, content_bytes, written: Mutex::default(), trusted: Trusted::default() }
    }

    pub(super) fn cursor(&self) -> Cursor {
        self.activation.cursor
    }

    /// The event it tells of.
    pub(super) fn head(&self) -> Head {
        Head { cursor: self.activation.cursor, hash: self.activation.event_hash }
    }

    /// Whether it may still be told: nothing in it is by a key that was revoked since.
    pub(super) fn is_trusted(&self, source: &Source) -> bool {
        let manifests = self.activation.bundles.iter().map(|bundle| bundle.version.manifest.as_str());
        self.trusted.check(&*source.proof, manifests.chain([&*self.activation.statement])).is_ok()
    }

    /// Bytes that it holds, at most: its contents, and what it keeps of their written forms.
    pub(super) fn held_bytes(&self) -> usize {
        self.content_bytes * (1 + KEPT_CONTENTS_MAX)
    }

    /// The message for a filter, written when nobody asked for it before; none when the filter wants nothing of it.
    pub(super) fn message(&self, namespace: &NamespaceId, filter: &Filter, source: &Source) -> Option<Bytes> {
        let selection = self.selection(filter);
        if selection == 0 {
            return None;
        }
        let metadata_only = filter.metadata_only;
        // Held while it is written: whoever asks for the same meanwhile waits and shares it.
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |kept: &&Written| kept.selection == selection && kept.metadata_only == metadata_only;
        if let Some(kept) = written.iter().find(same) {
            return Some(kept.message.clone());
        }
        source.counts.activations_written.add();
        let message = if filter.wants_all() {
            source.encode.activation(namespace, &self.activation, metadata_only)
        } else {
            source.encode.activation(namespace, &self.selected(filter), metadata_only)
        };
        let kept_bytes: usize = written.iter().map(|kept| kept.message.len()).sum();
        if kept_bytes + message.len() <= self.content_bytes * KEPT_CONTENTS_MAX + KEPT_OVERHEAD_BYTES {
            written.push(Written { selection, metadata_only, message: message.clone() });
        }
        Some(message)
    }

    fn selection(&self, filter: &Filter) -> Selection {
        let bundles = self.activation.bundles.iter().map(|bundle| &bundle.version.policy.policy);
        let changed = bundles.chain(&self.activation.tombstones);
        changed.enumerate().filter(|(_, policy)| filter.wants(policy)).fold(0, |bits, (index, _)| bits | bit(index))
    }

    fn selected(&self, filter: &Filter) -> Activation {
        let Activation { cursor, event_hash, statement, root, bundles, tombstones } = &self.activation;
        Activation {
            cursor: *cursor,
            event_hash: *event_hash,
            statement: Arc::clone(statement),
            root: *root,
            bundles: bundles.iter().filter(|each| filter.wants(&each.version.policy.policy)).cloned().collect(),
            tombstones: tombstones.iter().filter(|policy| filter.wants(policy)).cloned().collect(),
        }
    }
}

fn bit(index: usize) -> Selection {
    u32::try_from(index).ok().and_then(|index| Selection::from(1_u8).checked_shl(index)).unwrap_or(0)
}
