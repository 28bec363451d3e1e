//! The default quotas of namespaces and principals. 0 is no limit.
//!
//! The built-in values are no limits, except for the subscriber ids of a principal: a single team needs none. An operator with
//! several tenants sets them, or gives each namespace its own (`docs/operations/limits.md`).

use super::error::ConfigError;
use super::range::in_range;
use super::settings::Settings;
use crate::domain::limits::{POLICIES_PER_NAMESPACE_MAX, SUBSCRIBERS_PER_PRINCIPAL_DEFAULT};
use crate::domain::quota::{PrincipalQuotas, Quotas, ServerQuotas};

/// Most policies: as many as a namespace can have at all.
const MAX_POLICIES: i64 = POLICIES_PER_NAMESPACE_MAX as i64;
/// Most versions and bytes: more than any store reaches.
const MAX_STORED: i64 = 1 << 50;
/// Most watches, as `max_watch_streams`.
const MAX_STREAMS: u32 = 1_000_000;
/// Most calls per second: more than one replica can serve.
const MAX_PER_SECOND: u32 = 1_000_000;

impl Settings {
    pub(super) fn quotas(&self) -> Result<ServerQuotas, ConfigError> {
        let stored = |key, given: Option<i64>, most| in_range(key, given.unwrap_or(0), 0..=most);
        let streams = |key, given: Option<u32>| in_range(key, given.unwrap_or(0), 0..=MAX_STREAMS);
        let rate = |key, given: Option<u32>| in_range(key, given.unwrap_or(0), 0..=MAX_PER_SECOND);
        Ok(ServerQuotas {
            namespace: Quotas {
                max_policies: stored("namespace_max_policies", self.namespace_max_policies, MAX_POLICIES)?,
                max_versions: stored("namespace_max_versions", self.namespace_max_versions, MAX_STORED)?,
                max_content_bytes: stored("namespace_max_content_bytes", self.namespace_max_content_bytes, MAX_STORED)?,
                max_streams: streams("namespace_max_streams", self.namespace_max_streams)?,
                writes_per_second: rate("namespace_writes_per_second", self.namespace_writes_per_second)?,
                reads_per_second: rate("namespace_reads_per_second", self.namespace_reads_per_second)?,
            },
            principal: PrincipalQuotas {
                max_streams: streams("principal_max_streams", self.principal_max_streams)?,
                max_subscribers: in_range(
                    "principal_max_subscribers",
                    self.principal_max_subscribers.unwrap_or(SUBSCRIBERS_PER_PRINCIPAL_DEFAULT),
                    0..=MAX_STREAMS,
                )?,
                writes_per_second: rate("principal_writes_per_second", self.principal_writes_per_second)?,
                reads_per_second: rate("principal_reads_per_second", self.principal_reads_per_second)?,
            },
        })
    }
}
