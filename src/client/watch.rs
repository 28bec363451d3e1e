//! One stream of an active set, verified message by message.
//!
//! Boundary: opens one stream and reads it to its end; it does not reconnect, wait or keep anything on disk. Whoever
//! holds the [`ActiveSet`] may open the next stream with it.
//! Invariant: a message is yielded only after [`ActiveSet::apply`] took it over.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tonic::{Code, Streaming};

use super::active_set::{ActiveSet, ActiveSetOptions, Change};
use super::channel::Client;
use super::error::ClientError;
use super::refusal::Refusal;
use crate::api::pb;
use crate::domain::event::Cursor;
use crate::domain::name::NamespaceId;
use crate::signing::KeySet;

#[cfg(test)]
#[cfg(feature = "server")]
mod tests;

/// Longest silence of a stream that lives: three heartbeats.
pub const SILENCE_MAX: Duration = Duration::from_secs(30);

/// What to watch.
#[derive(Debug, Clone)]
pub struct WatchOptions {
    /// Whose active set.
    pub namespace: NamespaceId,
    /// The keys to trust.
    pub keys: KeySet,
    /// Which policies, and how much of them.
    pub set: ActiveSetOptions,
    /// The place to go on from; none: start with a snapshot.
    pub resume: Option<Cursor>,
    /// Stable id of this runtime; empty: anonymous.
    pub subscriber_id: String,
    /// Free labels of this runtime, for those who look at the list of subscribers.
    pub labels: BTreeMap<String, String>,
}

/// Why a watch ended.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The server or the transport ended it.
    #[error(transparent)]
    Call(#[from] ClientError),
    /// A message was refused. What was in force before it still is.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// An open watch.
#[derive(Debug)]
pub struct Watch {
    stream: Streaming<pb::WatchActiveResponse>,
    set: ActiveSet,
}

/// Opens a watch with a set of its own.
///
/// # Errors
/// The error of the call: OUT_OF_RANGE with RESUME_POINT_GONE means to start without a resume point.
pub async fn watch(client: &Client, options: WatchOptions) -> Result<Watch, ClientError> {
    let WatchOptions { namespace, keys, set, resume, subscriber_id, labels } = options;
    let mode = if set.latest { pb::WatchMode::Latest } else { pb::WatchMode::All };
    let request = pb::WatchActiveRequest {
        parent: namespace.name(),
        policies: set.policies.iter().map(ToString::to_string).collect(),
        resume: resume.map(|place| pb::Cursor { epoch: place.epoch, revision: place.revision }),
        subscriber_id,
        labels: labels.into_iter().collect(),
        mode: mode.into(),
        metadata_only: set.metadata_only,
    };
    let empty = ActiveSet::new(namespace, keys, set);
    let set = match resume {
        Some(place) => empty.resume_at(place),
        None => empty,
    };
    Ok(Watch { stream: client.watch_active(request).await?, set })
}

impl Watch {
    /// The next message, verified, and what it changed. None when the server ended the stream in order.
    ///
    /// # Errors
    /// DEADLINE_EXCEEDED after a silence of [`SILENCE_MAX`], the error of the stream, or the refusal of a message. Each
    /// ends the watch.
    pub async fn next(&mut self) -> Result<Option<(pb::WatchActiveResponse, Change)>, WatchError> {
        let message = match tokio::time::timeout(SILENCE_MAX, self.stream.message()).await {
            Err(_) => return Err(silence().into()),
            Ok(Err(status)) => return Err(ClientError::from(status).into()),
            Ok(Ok(None)) => return Ok(None),
            Ok(Ok(Some(message))) => message,
        };
        let change = self.set.apply(&message, now_seconds())?;
        Ok(Some((message, change)))
    }

    /// What is in force.
    #[must_use]
    pub fn set(&self) -> &ActiveSet {
        &self.set
    }
}

fn silence() -> ClientError {
    let message = format!("stream is dead: nothing came for {} s", SILENCE_MAX.as_secs());
    ClientError::local(Code::DeadlineExceeded, message)
}

#[expect(clippy::disallowed_methods, reason = "the client's one clock")]
fn now_seconds() -> i64 {
    // A clock before 1970 makes every checkpoint come from the future: refused, which is right.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX))
}
