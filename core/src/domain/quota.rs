//! What a namespace and a principal may use, what is used, and the buckets that meter rates.
//!
//! Pure: what is counted is given, and so is the time. A quota of 0 says nothing: then the server's own value counts, and
//! where that is 0 too there is no limit.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::{Error, Reason};
use super::time::Micros;

/// Every quota, by its name on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the field of NamespaceQuotas or the key of the config of the same name")]
pub enum Quota {
    MaxPolicies,
    MaxVersions,
    MaxContentBytes,
    MaxStreams,
    MaxSubscribers,
    WritesPerSecond,
    ReadsPerSecond,
}

/// Says what an RPC is metered as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    /// It changes a namespace.
    Write,
    /// It only reads. A watch counts when it opens.
    Read,
    /// It is a report of a subscriber: as many as reads, counted separately, so that a fleet that reports and those who read never
    /// use up each other's.
    Report,
    /// It discloses nothing of a tenant, or an operator needs it while a tenant is over its rate.
    Unmetered,
}

/// Holds what a namespace may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Quotas {
    /// Policies.
    pub max_policies: i64,
    /// Versions of all policies together, ended ones included: they are kept.
    pub max_versions: i64,
    /// Content of all versions together, each counted by itself.
    pub max_content_bytes: i64,
    /// Watches open at one replica.
    pub max_streams: u32,
    /// Applies to each replica by itself.
    pub writes_per_second: u32,
    /// Applies to each replica by itself.
    pub reads_per_second: u32,
}

/// Holds what one principal may use of a replica, in all namespaces together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PrincipalQuotas {
    /// Watches open.
    pub max_streams: u32,
    /// Subscriber ids in use, in each namespace by itself.
    pub max_subscribers: u32,
    /// Writes.
    pub writes_per_second: u32,
    /// Reads.
    pub reads_per_second: u32,
}

/// Holds what a server grants where nothing else is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerQuotas {
    /// Applies to each namespace without a value of its own.
    pub namespace: Quotas,
    /// Applies to each principal.
    pub principal: PrincipalQuotas,
}

/// Holds what a namespace uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Policies.
    pub policies: i64,
    /// Versions, ended ones included.
    pub versions: i64,
    /// Content of all versions.
    pub content_bytes: i64,
}

/// Something over its quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaRefusal {
    /// Says which.
    pub quota: Quota,
    /// Says how much there may be, or how many a second.
    pub limit: i64,
    /// Says how much there is; none for a rate.
    pub used: Option<i64>,
    /// Says when it is worth another try; none when waiting alone does not help.
    pub retry_after: Option<Duration>,
}

/// Sets when a watch or a report that was refused by its quota may be tried again.
const STREAM_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Bounds the burst after a pause: one second's worth.
const BURST_NANOS: i64 = 1_000_000_000;

impl Quota {
    /// Every quota.
    pub const ALL: &[Quota] = &[
        Quota::MaxPolicies,
        Quota::MaxVersions,
        Quota::MaxContentBytes,
        Quota::MaxStreams,
        Quota::MaxSubscribers,
        Quota::WritesPerSecond,
        Quota::ReadsPerSecond,
    ];

    /// Returns its name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MaxPolicies => "max_policies",
            Self::MaxVersions => "max_versions",
            Self::MaxContentBytes => "max_content_bytes",
            Self::MaxStreams => "max_streams",
            Self::MaxSubscribers => "max_subscribers",
            Self::WritesPerSecond => "writes_per_second",
            Self::ReadsPerSecond => "reads_per_second",
        }
    }
}

impl Rate {
    /// Returns the quota it is held to; none when it is not metered.
    #[must_use]
    pub fn quota(self) -> Option<Quota> {
        match self {
            Self::Write => Some(Quota::WritesPerSecond),
            Self::Read | Self::Report => Some(Quota::ReadsPerSecond),
            Self::Unmetered => None,
        }
    }
}

impl Quotas {
    /// Returns these quotas, with the server's values where none are set.
    #[must_use]
    pub fn or(self, server: Self) -> Self {
        fn either<T: Default + PartialEq>(own: T, server: T) -> T {
            if own == T::default() { server } else { own }
        }
        Self {
            max_policies: either(self.max_policies, server.max_policies),
            max_versions: either(self.max_versions, server.max_versions),
            max_content_bytes: either(self.max_content_bytes, server.max_content_bytes),
            max_streams: either(self.max_streams, server.max_streams),
            writes_per_second: either(self.writes_per_second, server.writes_per_second),
            reads_per_second: either(self.reads_per_second, server.reads_per_second),
        }
    }

    /// Calls of a kind in a second; 0: no limit.
    #[must_use]
    pub fn per_second(&self, rate: Rate) -> u32 {
        per_second(rate, self.writes_per_second, self.reads_per_second)
    }

    /// Checks whether the quota allows one more policy.
    ///
    /// # Errors
    /// When the quota does not allow it.
    pub fn admit_policy(&self, usage: &Usage) -> Result<(), QuotaRefusal> {
        within(Quota::MaxPolicies, self.max_policies, usage.policies, 1)
    }

    /// Checks whether the quota allows one more version of so many bytes.
    ///
    /// # Errors
    /// When the quota does not allow it.
    pub fn admit_version(&self, usage: &Usage, size_bytes: i64) -> Result<(), QuotaRefusal> {
        within(Quota::MaxVersions, self.max_versions, usage.versions, 1)?;
        within(Quota::MaxContentBytes, self.max_content_bytes, usage.content_bytes, size_bytes)
    }
}

impl PrincipalQuotas {
    /// Calls of a kind in a second; 0: no limit.
    #[must_use]
    pub fn per_second(&self, rate: Rate) -> u32 {
        per_second(rate, self.writes_per_second, self.reads_per_second)
    }
}

fn per_second(rate: Rate, writes: u32, reads: u32) -> u32 {
    match rate.quota() {
        Some(Quota::WritesPerSecond) => writes,
        Some(_) => reads,
        None => 0,
    }
}

fn within(quota: Quota, limit: i64, used: i64, more: i64) -> Result<(), QuotaRefusal> {
    if limit <= 0 || used.saturating_add(more) <= limit {
        return Ok(());
    }
    Err(QuotaRefusal { quota, limit, used: Some(used), retry_after: None })
}

/// Checks whether the quota allows one more watch beside those that are open. A limit of 0 means no limit.
///
/// # Errors
/// When the quota does not allow it.
pub fn admit_stream(limit: u32, open: u32) -> Result<(), QuotaRefusal> {
    let refused = |refusal: QuotaRefusal| QuotaRefusal { retry_after: Some(STREAM_RETRY_AFTER), ..refusal };
    within(Quota::MaxStreams, i64::from(limit), i64::from(open), 1).map_err(refused)
}

/// Checks whether the quota allows one more subscriber id of a principal beside those it uses. A limit of 0 means no limit.
///
/// # Errors
/// When the quota does not allow it.
pub fn admit_subscriber(limit: u32, used: u32) -> Result<(), QuotaRefusal> {
    let refused = |refusal: QuotaRefusal| QuotaRefusal { retry_after: Some(STREAM_RETRY_AFTER), ..refusal };
    within(Quota::MaxSubscribers, i64::from(limit), i64::from(used), 1).map_err(refused)
}

impl QuotaRefusal {
    /// Returns the answer. `subject` is whose quota it is: a namespace's name, or a principal.
    #[must_use]
    pub fn of(self, subject: &str) -> Error {
        let Self { quota, limit, used, retry_after } = self;
        let name = quota.as_str();
        let error = match (quota, used) {
            (Quota::WritesPerSecond | Quota::ReadsPerSecond, _) => {
                let message = format!("{subject} is over its rate: {name} is {limit}");
                Error::new(Reason::RateLimited, message).with("limit_per_second", limit)
            }
            (_, used) => {
                let used = used.unwrap_or_default();
                let message = format!("{subject} is at its quota: {name} is {limit}, and {used} are used");
                Error::new(Reason::QuotaExceeded, message).with("limit", limit).with("used", used)
            }
        };
        Error { retry_after, ..error.with("quota", name).with("subject", subject) }
    }
}

/// Says how much of a rate is left, for one subject and one kind of call. A full one is the same as none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Says when it will be full, in nanoseconds since 1970. Never further away than a burst.
    full_at: i64,
}

impl Bucket {
    /// Takes one call out of it.
    ///
    /// # Errors
    /// Says how long until there is one, when there is none; at most a second.
    pub fn take(&mut self, per_second: u32, now: Micros) -> Result<(), Duration> {
        let now = nanos(now);
        let each = BURST_NANOS / i64::from(per_second.max(1));
        // A clock that was set back must not block callers for longer than a burst.
        let full_at = self.full_at.clamp(now, now.saturating_add(BURST_NANOS));
        let over = full_at.saturating_add(each).saturating_sub(now).saturating_sub(BURST_NANOS);
        if over > 0 {
            return Err(Duration::from_nanos(over.unsigned_abs()));
        }
        self.full_at = full_at.saturating_add(each);
        Ok(())
    }

    /// Returns whether nothing was taken out of it for so long that it may be forgotten.
    #[must_use]
    pub fn is_full(&self, now: Micros) -> bool {
        let now = nanos(now);
        self.full_at <= now || self.full_at > now.saturating_add(BURST_NANOS)
    }
}

fn nanos(time: Micros) -> i64 {
    time.0.saturating_mul(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_the_servers() {
        let server = Quotas { max_policies: 5, max_streams: 7, reads_per_second: 9, ..Quotas::default() };
        let own = Quotas { max_policies: 50, max_versions: 3, max_streams: 1, ..Quotas::default() };
        let effective = Quotas { max_policies: 50, max_versions: 3, max_streams: 1, reads_per_second: 9, ..own };
        assert_eq!(own.or(server), effective);
        assert_eq!(Quotas::default().or(server), server);
    }

    #[test]
    fn what_is_stored_ends_at_its_quota_and_not_before() {
        let quotas = Quotas { max_policies: 2, max_versions: 3, max_content_bytes: 100, ..Quotas::default() };
        let used = |policies, versions, content_bytes| Usage { policies, versions, content_bytes };
        assert_eq!(quotas.admit_policy(&used(1, 9, 900)), Ok(()));
        let refusal = quotas.admit_policy(&used(2, 0, 0)).expect_err("full");
        assert_eq!(
            (refusal.quota, refusal.limit, refusal.used, refusal.retry_after),
            (Quota::MaxPolicies, 2, Some(2), None)
        );
        assert_eq!(quotas.admit_version(&used(9, 2, 60), 40), Ok(()));
        assert_eq!(quotas.admit_version(&used(0, 3, 0), 1).expect_err("full").quota, Quota::MaxVersions);
        assert_eq!(quotas.admit_version(&used(0, 0, 60), 41).expect_err("full").quota, Quota::MaxContentBytes);
        let huge = used(i64::MAX, i64::MAX, i64::MAX);
        assert_eq!(Quotas::default().admit_version(&huge, i64::MAX), Ok(()), "0 is no limit");
    }

    #[test]
    fn streams_end_at_their_quota_and_may_come_again() {
        assert_eq!(admit_stream(0, u32::MAX), Ok(()));
        assert_eq!(admit_stream(2, 1), Ok(()));
        let refusal = admit_stream(2, 2).expect_err("full");
        assert_eq!((refusal.used, refusal.retry_after), (Some(2), Some(STREAM_RETRY_AFTER)));
        assert_eq!((admit_subscriber(0, u32::MAX), admit_subscriber(2, 1)), (Ok(()), Ok(())));
        let refusal = admit_subscriber(2, 2).expect_err("full");
        assert_eq!((refusal.quota, refusal.used), (Quota::MaxSubscribers, Some(2)));
    }

    #[test]
    fn a_bucket_gives_a_burst_and_then_its_rate() {
        let mut bucket = Bucket::default();
        let start = Micros(1_700_000_000_000_000);
        let at = |ms: i64| Micros(start.0 + ms * 1_000);
        let took = |bucket: &mut Bucket, now| (0..100).take_while(|_| bucket.take(10, now).is_ok()).count();
        assert_eq!(took(&mut bucket, start), 10);
        assert_eq!(bucket.take(10, start), Err(Duration::from_millis(100)), "the real wait");
        assert_eq!(bucket.take(10, at(99)), Err(Duration::from_millis(1)));
        assert_eq!(took(&mut bucket, at(100)), 1);
        assert_eq!(took(&mut bucket, at(600)), 5);
        assert!(!bucket.is_full(at(1_599)) && bucket.is_full(at(1_600)));
        assert_eq!(took(&mut bucket, at(9_999_999)), 10, "silence saves up one burst, not more");
    }

    #[test]
    fn a_clock_that_is_set_back_stops_nobody_for_longer_than_a_burst() {
        let (mut bucket, later) = (Bucket::default(), Micros(1_700_000_000_000_000));
        assert_eq!(bucket.take(1, later), Ok(()));
        let back = Micros(later.0 - 3_600_000_000);
        assert_eq!(bucket.take(1, back), Err(Duration::from_secs(1)));
        assert!(bucket.is_full(back), "and it may be forgotten");
    }

    #[test]
    fn every_rate_is_at_least_one_call_and_waits_a_second_at_most() {
        for per_second in [1, 3, 7, 1_000, u32::MAX] {
            let (mut bucket, now) = (Bucket::default(), Micros(1));
            let taken = (0..2_000).take_while(|_| bucket.take(per_second, now).is_ok()).count();
            assert!(taken >= 2_000.min(per_second as usize), "{per_second}");
            if let Err(wait) = bucket.take(per_second, now) {
                assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{per_second}: {wait:?}");
            }
        }
    }

    #[test]
    fn a_refusal_says_what_and_whose() {
        let rate = QuotaRefusal {
            quota: Quota::WritesPerSecond,
            limit: 5,
            used: None,
            retry_after: Some(Duration::from_millis(200)),
        };
        let error = rate.of("local:ci");
        assert_eq!((error.reason, error.retry_after), (Reason::RateLimited, rate.retry_after));
        let metadata: Vec<(&str, &str)> = error.metadata.iter().map(|(key, value)| (*key, value.as_str())).collect();
        assert_eq!(metadata, [("limit_per_second", "5"), ("quota", "writes_per_second"), ("subject", "local:ci")]);
        let count = QuotaRefusal { quota: Quota::MaxPolicies, limit: 2, used: Some(2), retry_after: None };
        let error = count.of("namespaces/a");
        assert_eq!((error.reason, error.retry_after), (Reason::QuotaExceeded, None));
        assert_eq!(error.metadata.keys().copied().collect::<Vec<_>>(), ["limit", "quota", "subject", "used"]);
    }
}
