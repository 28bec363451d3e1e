//! One stream of an active set, verified message by message.
//!
//! Boundary: opens one stream and reads it to its end; the next one is opened when its holder asks for it. Nothing is kept on
//! disk: see [`super::watcher`].
//! Invariant: a message is yielded only after [`ActiveSet::apply`] took it over.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::Instant;
use tonic::{Code, Status, Streaming};

use super::active_set::{ActiveSet, ActiveSetOptions, SetChange, duration_of};
use super::channel::RpcClient;
use super::clock::now_seconds;
use super::error::ClientError;
use super::keys::trusted_keys;
use super::pinned_file::PinnedFile;
use super::reconnect::Pauses;
use super::refusal::Refusal;
use super::source::StreamSource;
use policyhub_core::api::pb;
use policyhub_core::api::pb::watch_active_response::Message;
use policyhub_core::domain::event::Cursor;
use policyhub_core::domain::name::NamespaceId;
use policyhub_core::signing::KeySet;

#[cfg(test)]
pub(super) mod tests;

/// Longest silence of a stream that lives, whatever the server says of its heartbeats, unless longer intervals were asked for.
pub const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Shortest silence that ends a stream. Shorter: a machine that is busy for a moment loses its streams.
const SILENCE_MIN: Duration = Duration::from_secs(3);
/// Heartbeats that a stream may miss.
const HEARTBEATS_MISSED: u32 = 3;

/// Sets how long keys of the server are used before it is asked again. Longer: a revocation is noticed later.
pub const KEYS_INTERVAL: Duration = Duration::from_secs(60);
/// Sets how long a stream may take to open.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// Sets how long that answer may take: the stream waits for it.
const KEYS_TIMEOUT: Duration = Duration::from_secs(5);

/// Holds what to watch.
#[derive(Debug, Clone)]
pub struct WatchOptions {
    /// Names the namespace of the active set.
    pub namespace: NamespaceId,
    /// The keys to trust.
    pub keys: KeySet,
    /// Says whether they are the server's own: it is asked for them again when it signs with one that is not among them, and
    /// every minute. Without it, keys change by whoever gave them.
    pub learn_keys: bool,
    /// Says which policies, and how much of them.
    pub set: ActiveSetOptions,
    /// The cursor to go on from; none: start with a snapshot.
    pub resume: Option<Cursor>,
    /// Stable id of this runtime; empty: anonymous.
    pub subscriber_id: String,
    /// Holds what to say of this runtime, for those who look at the list of subscribers.
    pub attributes: BTreeMap<String, String>,
}

/// Says why a watch ended.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The server or the transport ended it.
    #[error(transparent)]
    Call(#[from] ClientError),
    /// A message was refused. What was in force before it still is.
    #[error("{refusal}")]
    Refused {
        /// Says why.
        #[source]
        refusal: Refusal,
        /// The cursor that the message named. Nothing proves it.
        cursor: Option<Cursor>,
    },
}

/// An open watch.
#[derive(Debug)]
pub struct Watch {
    connection: StreamConnection,
    set: ActiveSet,
    learn_keys: bool,
    pinned: Option<PinnedFile>,
    subscriber_id: String,
    attributes: BTreeMap<String, String>,
    since: Option<Instant>,
    pauses: Pauses,
    /// The next stream begins with a snapshot.
    needs_snapshot: bool,
}

/// A stream, apart from the set that its messages change.
#[derive(Debug)]
pub(super) struct StreamConnection {
    stream: Streaming<pb::WatchActiveResponse>,
    /// Holds what came and is not verified yet, or how the stream ended: whoever stops waiting in between loses none.
    came: Option<Result<Option<pb::WatchActiveResponse>, Status>>,
    /// Says when the last message came.
    last_message_at: Instant,
    /// Longest silence of this stream.
    silence_max: Duration,
    /// Upper bound of `silence_max`.
    silence_limit: Duration,
    /// Says whom to ask for keys.
    client: RpcClient,
    /// Says when the keys were asked for last; none: they are not the server's to name.
    keys_asked: Option<Instant>,
    /// The pinned keys changed: the statements that lead on from them came before, and are asked for.
    statements_due: bool,
}

/// Opens a watch with a set of its own.
///
/// # Errors
/// The error of the call: OUT_OF_RANGE with RESUME_POINT_GONE means to start without a resume point.
pub async fn watch(client: &RpcClient, options: WatchOptions) -> Result<Watch, ClientError> {
    open(client, options, None).await
}

/// Returns the same with the keys of a file in place of [`WatchOptions::keys`]: it is read again when it changes, and unless it is
/// strict the watch follows the key statements of the store.
///
/// # Errors
/// Those of [`watch`].
pub async fn watch_pinned(client: &RpcClient, options: WatchOptions, file: PinnedFile) -> Result<Watch, ClientError> {
    let options = WatchOptions { keys: file.keys().clone(), learn_keys: false, ..options };
    open(client, options, Some(file)).await
}

async fn open(client: &RpcClient, options: WatchOptions, pinned: Option<PinnedFile>) -> Result<Watch, ClientError> {
    let WatchOptions { namespace, keys, learn_keys, set, resume, subscriber_id, attributes } = options;
    let empty = ActiveSet::new(namespace, keys, set);
    let follows = pinned.as_ref().is_some_and(|file| !file.is_strict());
    let empty = if follows { empty.following_keys() } else { empty };
    let set = match resume {
        Some(cursor) => empty.resume_at(cursor),
        None => empty,
    };
    let request = set.request(subscriber_id.clone(), attributes.clone(), resume);
    let connection = StreamConnection::open(client, request, learn_keys).await?;
    let (since, pauses) = (Some(Instant::now()), Pauses::new());
    Ok(Watch { connection, set, learn_keys, pinned, subscriber_id, attributes, since, pauses, needs_snapshot: false })
}

impl Watch {
    /// Returns the next message, verified, and what it changed. None when the server ended the stream in order.
    ///
    /// # Errors
    /// DEADLINE_EXCEEDED after a silence of three heartbeats, at most [`SILENCE_MAX`] unless longer ones were asked for, the error of the
    /// stream, or the refusal of a message. Each ends the watch.
    pub async fn next(&mut self) -> Result<Option<(pb::WatchActiveResponse, SetChange)>, WatchError> {
        self.connection.next(&mut self.set, &mut self.pinned).await
    }

    /// Opens the next stream, by a connection of its own, after one that ended: it goes on after the last message, and misses
    /// nothing. It waits first: what the server `asked` for, and a jitter that grows with each stream that did not last.
    ///
    /// # Errors
    /// The error of the try; another one may follow. OUT_OF_RANGE with RESUME_POINT_GONE: nothing goes on from here, see
    /// [`Self::begin_afresh`].
    pub async fn reconnect(&mut self, source: &StreamSource, asked: Duration) -> Result<RpcClient, ClientError> {
        self.pauses.ended(self.since.take(), asked);
        self.pauses.wait().await;
        self.set.begin_stream();
        look_at_pins(&mut self.pinned, &mut self.set, true).await;
        // Also without the policies, after a resume by whoever knows only the cursor.
        let request = self.set.request(self.subscriber_id.clone(), self.attributes.clone(), self.resume_point());
        let (client, connection) = open_stream(source, request, self.learn_keys).await?;
        (self.connection, self.since, self.needs_snapshot) = (connection, Some(Instant::now()), false);
        Ok(client)
    }

    /// Lets the next stream begin with a snapshot, compared with what is held: where no stream can go on, as after a lost tail,
    /// and the epoch was raised.
    pub fn begin_afresh(&mut self) {
        self.needs_snapshot = true;
    }

    /// Returns the cursor that the next stream goes on from; none: it begins with a snapshot.
    #[must_use]
    pub fn resume_point(&self) -> Option<Cursor> {
        self.set.cursor().filter(|_| !self.needs_snapshot)
    }

    /// Returns what is in force.
    #[must_use]
    pub fn set(&self) -> &ActiveSet {
        &self.set
    }
}

impl StreamConnection {
    /// Opens a stream.
    pub async fn open(
        client: &RpcClient,
        request: pb::WatchActiveRequest,
        learn_keys: bool,
    ) -> Result<Self, ClientError> {
        let asked = request.heartbeat_interval.as_ref().map(duration_of).unwrap_or_default();
        let silence_limit = SILENCE_MAX.max(asked * HEARTBEATS_MISSED);
        let stream = client.watch_active(request).await?;
        let now = Instant::now();
        let (client, keys_asked) = (client.clone(), learn_keys.then_some(now));
        Ok(Self {
            stream,
            came: None,
            last_message_at: now,
            silence_max: SILENCE_MAX,
            silence_limit,
            client,
            keys_asked,
            statements_due: false,
        })
    }

    /// Does what [`Watch::next`] does. Dropped while it waits, it loses nothing.
    pub async fn next(
        &mut self,
        set: &mut ActiveSet,
        pinned: &mut Option<PinnedFile>,
    ) -> Result<Option<(pb::WatchActiveResponse, SetChange)>, WatchError> {
        if self.came.is_none() {
            match tokio::time::timeout_at(self.last_message_at + self.silence_max, self.stream.message()).await {
                Err(_) => return Err(silence(self.silence_max).into()),
                Ok(came) => (self.came, self.last_message_at) = (Some(came), Instant::now()),
            }
        }
        if let Some(Ok(Some(message))) = &self.came {
            let untrusted = set.names_untrusted_key(message);
            self.statements_due |= look_at_pins(pinned, set, untrusted).await && set.follows_keys();
            // If there is no answer, the keys are asked for again with the next message.
            if self.statements_due
                && let Some(answer) = list_keys(&self.client).await
            {
                self.statements_due = false;
                for statement in &answer.key_statements {
                    set.take_key_statement(statement);
                }
            }
            let are_old = self.keys_asked.is_some_and(|asked| asked.elapsed() >= KEYS_INTERVAL);
            if are_old || set.names_untrusted_key(message) {
                self.learn_keys(set).await;
            }
        }
        let message = match self.came.take() {
            Some(Ok(Some(message))) => message,
            Some(Err(status)) => return Err(ClientError::from(status).into()),
            Some(Ok(None)) | None => return Ok(None),
        };
        match set.apply(&message, now_seconds()) {
            Ok(change) => {
                if let SetChange::Opened { heartbeat_interval } = &change {
                    let silence_max = heartbeat_interval.saturating_mul(HEARTBEATS_MISSED);
                    self.silence_max = silence_max.clamp(SILENCE_MIN, self.silence_limit);
                }
                Ok(Some((message, change)))
            }
            Err(refusal) => Err(WatchError::Refused { refusal, cursor: cursor_named(&message) }),
        }
    }

    /// Returns whether a message, or the end, is here already: [`Self::next`] does not wait for the server then.
    pub fn is_ready(&mut self) -> bool {
        if self.came.is_none()
            && let Some(came) = self.stream.message().now_or_never()
        {
            (self.came, self.last_message_at) = (Some(came), Instant::now());
        }
        self.came.is_some()
    }

    /// Asks for the keys, once; without an answer those known stand. One message asks once at most, and is refused when its
    /// key is still unknown: a server can't make a watch ask for ever.
    async fn learn_keys(&mut self, set: &mut ActiveSet) {
        if self.keys_asked.is_none() {
            return;
        }
        let answer = list_keys(&self.client).await;
        // Set it only after the answer, so that a cancelled call is made again.
        self.keys_asked = Some(Instant::now());
        if let Some(keys) = answer.and_then(|answer| trusted_keys(&answer).ok()) {
            set.trust(keys);
        }
    }
}

/// Asks for the keys and the key statements, once; none: no answer came in time.
async fn list_keys(client: &RpcClient) -> Option<pb::ListSigningKeysResponse> {
    let asking = client.list_signing_keys(pb::ListSigningKeysRequest::default());
    tokio::time::timeout(KEYS_TIMEOUT, asking).await.ok()?.ok()
}

/// Connects and opens a stream: unless the connection is shared, the token is asked for and the name resolved again.
///
/// # Errors
/// Fails as the connection and the call do, and with DEADLINE_EXCEEDED.
pub(super) async fn open_stream(
    source: &StreamSource,
    request: pb::WatchActiveRequest,
    learn_keys: bool,
) -> Result<(RpcClient, StreamConnection), ClientError> {
    // It has bounds of its own, for each endpoint.
    let client = source.connect().await?;
    let late = || {
        let message = format!("the server did not answer for {} s", OPEN_TIMEOUT.as_secs());
        ClientError::local(Code::DeadlineExceeded, message)
    };
    let opening = tokio::time::timeout(OPEN_TIMEOUT, StreamConnection::open(&client, request, learn_keys)).await;
    match opening.unwrap_or_else(|_| Err(late())) {
        Ok(connection) => Ok((client, connection)),
        Err(error) => {
            source.drop_connection(&client, &error);
            Err(error)
        }
    }
}

/// Takes over what a file of keys says by now. `at_once`: something needs a key that is not trusted, or a stream begins.
/// True: the keys are others now.
pub(super) async fn look_at_pins(pinned: &mut Option<PinnedFile>, set: &mut ActiveSet, at_once: bool) -> bool {
    let Some(file) = pinned else { return false };
    let Some(keys) = file.look(at_once).await else { return false };
    set.replace_pins(keys);
    true
}

/// Returns the cursor that a message says it is of: nothing that is proven.
fn cursor_named(message: &pb::WatchActiveResponse) -> Option<Cursor> {
    let cursor = match message.message.as_ref()? {
        Message::Snapshot(part) => part.cursor,
        Message::Activation(activation) => activation.cursor,
        Message::Heartbeat(_)
        | Message::Reconnect(_)
        | Message::Opened(_)
        | Message::KeyStatement(_)
        | Message::Ended(_) => None,
    };
    cursor.map(|named| Cursor { epoch: named.epoch, revision: named.revision })
}

fn silence(longest: Duration) -> ClientError {
    let message = format!("stream is dead: nothing came for {} s", longest.as_secs());
    ClientError::local(Code::DeadlineExceeded, message)
}
