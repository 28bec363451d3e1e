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
use super::keys::trusted_keys;
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

/// How long keys of the server are used before it is asked again. Longer: a revocation is heard of later.
pub const KEYS_INTERVAL: Duration = Duration::from_secs(60);
/// How long that answer may take: the stream waits for it.
const KEYS_TIMEOUT: Duration = Duration::from_secs(5);

/// What to watch.
#[derive(Debug, Clone)]
pub struct WatchOptions {
    /// Whose active set.
    pub namespace: NamespaceId,
    /// The keys to trust.
    pub keys: KeySet,
    /// Whether they are the server's own: it is asked for them again when it signs with one that is not among them, and
    /// every [`KEYS_INTERVAL`]. Without it, keys change by whoever gave them.
    pub learn_keys: bool,
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
    /// Whom to ask for keys, and when they were asked for last.
    keys_of: Option<(Client, tokio::time::Instant)>,
}

/// Opens a watch with a set of its own.
///
/// # Errors
/// The error of the call: OUT_OF_RANGE with RESUME_POINT_GONE means to start without a resume point.
pub async fn watch(client: &Client, options: WatchOptions) -> Result<Watch, ClientError> {
    let WatchOptions { namespace, keys, learn_keys, set, resume, subscriber_id, labels } = options;
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
    let keys_of = learn_keys.then(|| (client.clone(), tokio::time::Instant::now()));
    Ok(Watch { stream: client.watch_active(request).await?, set, keys_of })
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
        let are_old = self.keys_of.as_ref().is_some_and(|(_, asked)| asked.elapsed() >= KEYS_INTERVAL);
        if are_old || self.set.names_unknown_key(&message) {
            self.learn_keys().await;
        }
        let change = self.set.apply(&message, now_seconds())?;
        Ok(Some((message, change)))
    }

    /// Asks for the keys, once; without an answer those known stand. One message asks once at most, and is refused when its
    /// key is still unknown: a server can't make a watch ask for ever.
    async fn learn_keys(&mut self) {
        let Some((client, asked)) = &mut self.keys_of else { return };
        *asked = tokio::time::Instant::now();
        let answer = tokio::time::timeout(KEYS_TIMEOUT, client.list_signing_keys(pb::ListSigningKeysRequest {})).await;
        if let Ok(Ok(answer)) = answer
            && let Ok(keys) = trusted_keys(&answer)
        {
            self.set.trust(keys);
        }
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
