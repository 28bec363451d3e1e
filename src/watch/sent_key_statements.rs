//! The key statements that were sent on a stream, by any of its watches.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use super::source::FeedSource;
use crate::domain::event::Cursor;

/// The newest key statement that was sent on a stream.
#[derive(Debug)]
pub struct SentKeyStatements(Mutex<SentState>);

#[derive(Debug)]
struct SentState {
    /// Cursor of the newest statement that was sent.
    at: Cursor,
    /// The key number of the last comparison; 0: none.
    number: u64,
}

impl SentKeyStatements {
    /// Creates the record of a stream that has every statement up to a cursor.
    #[must_use]
    pub fn up_to(at: Cursor) -> Self {
        Self(Mutex::new(SentState { at, number: 0 }))
    }

    /// Returns the statements that the stream does not have, each once. They must be sent right before the messages of the same step,
    /// because a new key may have signed those. Cheap while no key changes.
    pub(super) fn new_statements(&self, source: &FeedSource) -> Vec<Bytes> {
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = source.proof.keys_number();
        if sent.number == number {
            return Vec::new();
        }
        // Later statements come after the newest of these.
        let (statements, newest) = source.proof.key_statements(sent.at);
        (sent.at, sent.number) = (sent.at.max(newest), number);
        drop(sent);
        let write = |statement| {
            source.counts.messages_taken.add();
            source.encode.key_statement(statement)
        };
        statements.into_iter().map(write).collect()
    }
}
