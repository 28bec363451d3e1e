//! Denials: callers who were refused for who they are, and what they asked for.
//!
//! Equal ones are one: a flood of refusals is a number that gets higher.

use super::digest::short_hash;
use super::name::NamespaceId;
use super::time::Micros;

/// Says who was refused what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DenialKey {
    /// Says where it is recorded: the namespace that the call was about, or `system` when that is not known.
    pub namespace: NamespaceId,
    /// Says who asked, as events name them.
    pub principal: String,
    /// Path of the RPC: `/policyhub.v1.PolicyService/Activate`.
    pub method: String,
    /// Reason code of the refusal.
    pub reason: String,
    /// Holds what the caller lacked; empty for a caller without any role where the call was about.
    pub permission: String,
}

/// Says how often, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DenialCount {
    /// Says how often, from 1.
    pub count: i64,
    /// The first time.
    pub first: Micros,
    /// The last time.
    pub last: Micros,
}

/// Equal refusals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// Says who was refused what.
    pub key: DenialKey,
    /// Says how often, and when.
    pub count: DenialCount,
}

impl DenialKey {
    /// Returns a short text that is the same for equal keys of one namespace alone: 32 hex digits.
    #[must_use]
    pub fn id(&self) -> String {
        let parts = [&self.principal, &self.method, &self.reason, &self.permission];
        short_hash(parts.into_iter().map(|part| part.as_bytes()))
    }
}

impl DenialCount {
    /// Returns one refusal.
    #[must_use]
    pub fn once(now: Micros) -> Self {
        Self { count: 1, first: now, last: now }
    }

    /// Adds others of the same key.
    pub fn add(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }
}
