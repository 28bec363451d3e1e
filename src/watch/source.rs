//! Where feeds read, how they prove it and how they write it: the same for all of a replica.

use std::sync::Arc;

use super::counts::Counts;
use super::encode::Encode;
use super::verify::Proof;
use crate::store::Store;

/// What every feed reads through.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) store: Store,
    pub(super) proof: Arc<dyn Proof>,
    pub(super) encode: Arc<dyn Encode>,
    pub(super) counts: Arc<Counts>,
}
