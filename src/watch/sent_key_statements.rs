//! The key statements that were sent on a stream, whichever of its namespaces they came with.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use super::source::FeedSource;
use crate::domain::event::Cursor;

/// The newest key statement that was sent on a stream.
#[derive(Debug)]
pub struct SentKeyStatements(Mutex<State>);

#[derive(Debug)]
struct State {
    /// The newest statement that it has.
    at: Cursor,
    /// The number of the keys that this was compared with; 0: none.
    number: u64,
}

impl SentKeyStatements {
    /// A stream that holds every statement up to a cursor.
    #[must_use]
    pub fn up_to(at: Cursor) -> Self {
        Self(Mutex::new(State { at, number: 0 }))
    }

    /// Returns the statements that the stream does not have, each once. What is made by the same step has to follow them at once:
    /// a key may have begun to sign. Cheap while no key changes.
    pub(super) fn new_statements(&self, source: &FeedSource) -> Vec<Bytes> {
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = source.proof.keys_number();
        if sent.number == number {
            return Vec::new();
        }
        // What comes later than these is after the newest of them.
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
