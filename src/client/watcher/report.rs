//! What a watcher tells the server of what its runtime did.
//!
//! Boundary: one call; when it is made is the watcher's to decide. Invariant: the newest word replaces an older one that was
//! not told yet.

use std::time::Duration;

use tonic::Code;

use crate::api::pb;
use crate::client::channel::Client;
use crate::domain::event::Position;
use crate::domain::limits::NOTE_MAX_BYTES;

/// How long a report may take: the stream waits for it.
const REPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// A word about a place.
#[derive(Debug, Clone)]
pub(super) struct Report {
    /// The place, and the event there.
    pub at: Position,
    /// Digest of what is in force now.
    pub digest: String,
    /// Why the runtime keeps what it had; none: it runs with everything up to the place.
    pub rejection: Option<String>,
}

impl Report {
    /// Tells it, if there is an id to tell it under. False: it was not heard, and should be told again.
    pub async fn tell(&self, client: &Client, parent: String, subscriber_id: &str) -> bool {
        if subscriber_id.is_empty() {
            return true;
        }
        let status = if self.rejection.is_some() { pb::ApplyStatus::Rejected } else { pb::ApplyStatus::Applied };
        let request = pb::ReportStatusRequest {
            parent,
            subscriber_id: subscriber_id.to_owned(),
            cursor: Some(self.at.into()),
            digest: self.digest.clone(),
            status: status.into(),
            reason: self.rejection.as_deref().map(clipped).unwrap_or_default(),
        };
        match tokio::time::timeout(REPORT_TIMEOUT, client.report_status(request)).await {
            Ok(Ok(_)) => true,
            Err(_) => false,
            // What the server does not take once, it does not take again; a token may be renewed.
            Ok(Err(error)) => error.is_terminal() && error.code != Code::Unauthenticated,
        }
    }
}

/// A reason as the server takes it: not empty, and not too long.
fn clipped(reason: &str) -> String {
    let mut end = reason.len().min(NOTE_MAX_BYTES);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    match reason.get(..end) {
        Some(text) if !text.trim().is_empty() => text.to_owned(),
        _ => "no reason given".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_as_the_server_takes_it() {
        assert_eq!(clipped("too strict"), "too strict");
        assert_eq!(clipped("  \n"), "no reason given");
        let long = format!("{}ä", "x".repeat(NOTE_MAX_BYTES - 1));
        assert_eq!(clipped(&long).len(), NOTE_MAX_BYTES - 1, "cut before the letter, not in it");
    }
}
