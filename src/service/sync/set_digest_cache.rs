//! Digests of active sets, of the positions that were asked for last.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use crate::domain::digest::Digest;
use crate::domain::event::Cursor;
use crate::domain::name::NamespaceId;

/// Digests kept, of the places asked for last: a whole fleet reports the same few.
const PLACES_KEPT_MAX: usize = 64;

/// Digests of active sets by their places. One is read once, however many ask for it at once.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<VecDeque<Place>>);

type Place = (NamespaceId, Cursor, Arc<OnceCell<Digest>>);

impl Places {
    pub(super) fn cell(&self, namespace: &NamespaceId, cursor: Cursor) -> Arc<OnceCell<Digest>> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = places.iter().find(|(kept, place, _)| *place == cursor && kept == namespace);
        if let Some((_, _, cell)) = kept {
            return Arc::clone(cell);
        }
        if places.len() == PLACES_KEPT_MAX {
            places.pop_front();
        }
        let cell = Arc::default();
        places.push_back((namespace.clone(), cursor, Arc::clone(&cell)));
        cell
    }
}
