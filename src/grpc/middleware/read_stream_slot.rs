//! The resources of a long-reading stream: its slot, and the budget of its messages.

use std::sync::Arc;

use super::in_flight::{InFlight, Reserved};
use crate::domain::Result;
use crate::service::FairSlot;

/// The slot of a stream, and the budget of its messages; in the extensions of the request. Clones are the same one.
#[derive(Debug, Clone)]
pub(in crate::grpc) struct ReadStreamSlot {
    _slot: Arc<FairSlot>,
    in_flight: InFlight,
    caller: String,
}

impl ReadStreamSlot {
    /// Holds a slot of a caller.
    pub(super) fn new(slot: FairSlot, in_flight: InFlight, caller: String) -> Self {
        // Use a separate share: the caller reads pages beside its stream, and would wait for the memory of the stream's next message.
        Self { _slot: Arc::new(slot), in_flight, caller: format!("streams of {caller}") }
    }

    /// Waits for memory for a message of up to `bytes`.
    ///
    /// # Errors
    /// `REQUEST_BUDGET_EXHAUSTED`.
    pub(in crate::grpc) async fn reserve(&self, bytes: u64) -> Result<Reserved> {
        self.in_flight.reserve(&self.caller, bytes).await
    }
}
