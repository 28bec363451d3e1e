//! The store, the keys and the encoder that all feeds of a replica share.

use std::sync::Arc;

use super::counts::WatchCounts;
use super::encode::Encode;
use super::verify::Proof;
use crate::store::Store;

/// The store, keys, encoder and counters of a feed.
#[derive(Debug, Clone)]
pub(super) struct FeedSource {
    pub(super) store: Store,
    pub(super) proof: Arc<dyn Proof>,
    pub(super) encode: Arc<dyn Encode>,
    pub(super) counts: Arc<WatchCounts>,
}
