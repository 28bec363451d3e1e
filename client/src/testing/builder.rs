//! How a testing hub is started when the defaults are not what a test needs.

use std::time::Duration;

use policyhub_core::domain::limits::{CHECKPOINT_TTL_SECONDS, CONTENT_TYPE_MAX_CHARS};
use policyhub_core::domain::name::NamespaceId;
use policyhub_core::domain::{Error, Result};

/// Sets how often a stream shows that it lives, unless a test says something else or its checkpoints end sooner.
pub const HEARTBEAT_INTERVAL_DEFAULT: Duration = Duration::from_secs(1);
/// The shortest lifetime of a checkpoint. Its times are whole seconds: one of a single second may end as soon as it is made.
pub const TEST_CHECKPOINT_LIFETIME_MIN: Duration = Duration::from_secs(2);
/// The longest lifetime of a checkpoint that subscribers accept. It is the default, as of the real server.
pub const TEST_CHECKPOINT_LIFETIME_MAX: Duration = Duration::from_secs(CHECKPOINT_TTL_SECONDS.unsigned_abs());

/// Heartbeats within the lifetime of a checkpoint: one may be late, and what is held stays fresh.
const HEARTBEATS_PER_LIFETIME: u32 = 4;
/// The namespace of a hub that was not given one.
const NAMESPACE_DEFAULT: &str = "default";
/// The media type of contents that were not given one.
const CONTENT_TYPE_DEFAULT: &str = "application/octet-stream";

/// Settings of a [`TestHub`](super::TestHub). [`Self::start`] checks them.
#[derive(Debug, Clone)]
pub struct TestHubBuilder {
    pub(super) namespace: String,
    pub(super) content_type: String,
    checkpoint_lifetime: Duration,
    heartbeat_interval: Duration,
}

/// Settings that were checked.
#[derive(Debug)]
pub(super) struct TestHubSettings {
    pub(super) namespace: NamespaceId,
    pub(super) content_type: String,
    pub(super) checkpoint_lifetime_seconds: i64,
    pub(super) heartbeat_interval: Duration,
}

impl TestHubBuilder {
    pub(super) fn new() -> Self {
        Self {
            namespace: NAMESPACE_DEFAULT.to_owned(),
            content_type: CONTENT_TYPE_DEFAULT.to_owned(),
            checkpoint_lifetime: TEST_CHECKPOINT_LIFETIME_MAX,
            heartbeat_interval: HEARTBEAT_INTERVAL_DEFAULT,
        }
    }

    /// Names the namespace of the handle that [`Self::start`] returns; `default` otherwise.
    #[must_use]
    pub fn namespace(self, id: impl Into<String>) -> Self {
        Self { namespace: id.into(), ..self }
    }

    /// Sets the media type that every content is published with; `application/octet-stream` otherwise.
    #[must_use]
    pub fn content_type(self, content_type: impl Into<String>) -> Self {
        Self { content_type: content_type.into(), ..self }
    }

    /// Sets for how long a checkpoint proves that what is held is the newest: whole seconds, rounded up, from
    /// [`TEST_CHECKPOINT_LIFETIME_MIN`] to [`TEST_CHECKPOINT_LIFETIME_MAX`]. A watcher of a paused hub is stale after that.
    #[must_use]
    pub fn checkpoint_lifetime(self, lifetime: Duration) -> Self {
        Self { checkpoint_lifetime: lifetime, ..self }
    }

    /// Sets how often a stream shows that it lives; [`HEARTBEAT_INTERVAL_DEFAULT`] otherwise. It is a fourth of the lifetime of a
    /// checkpoint at most, whatever is set.
    #[must_use]
    pub fn heartbeat_interval(self, interval: Duration) -> Self {
        Self { heartbeat_interval: interval, ..self }
    }

    pub(super) fn check(self) -> Result<TestHubSettings> {
        let Self { namespace, content_type, checkpoint_lifetime, heartbeat_interval } = self;
        let namespace = NamespaceId::parse("namespace", &namespace)?;
        if content_type.is_empty() || content_type.chars().count() > CONTENT_TYPE_MAX_CHARS {
            return Err(Error::invalid("content_type", format!("must be 1 to {CONTENT_TYPE_MAX_CHARS} characters")));
        }
        let lifetimes = TEST_CHECKPOINT_LIFETIME_MIN..=TEST_CHECKPOINT_LIFETIME_MAX;
        if !lifetimes.contains(&checkpoint_lifetime) {
            return Err(Error::invalid("checkpoint_lifetime", format!("must be within {lifetimes:?}")));
        }
        if heartbeat_interval.is_zero() {
            return Err(Error::invalid("heartbeat_interval", "must not be zero"));
        }
        let begun_second = i64::from(checkpoint_lifetime.subsec_nanos() > 0);
        let whole_seconds = i64::try_from(checkpoint_lifetime.as_secs()).unwrap_or(CHECKPOINT_TTL_SECONDS);
        let heartbeat_interval = heartbeat_interval.min(checkpoint_lifetime / HEARTBEATS_PER_LIFETIME);
        let checkpoint_lifetime_seconds = whole_seconds + begun_second;
        Ok(TestHubSettings { namespace, content_type, checkpoint_lifetime_seconds, heartbeat_interval })
    }
}
