//! Alarms about approvals: publications without the required ones, and requirements that were lowered.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::policy::Policy;
use crate::domain::version::Version;
use crate::service::context::Context;

/// Counts publications without the approvals that they need.
#[derive(Debug, Default)]
pub(super) struct BreakGlassAlarm(AtomicU64);

impl BreakGlassAlarm {
    /// Logs a warning. Call it before the commit, so that a change whose outcome is unknown is logged too.
    pub(super) fn alarm(&self, context: &Context, version: &Version) {
        self.0.fetch_add(1, Ordering::Relaxed);
        let (version, actor) = (version.name(), context.actor());
        tracing::warn!(version, actor, "break-glass: a version is published without the approvals it needs");
    }

    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts requirements of approvals that were lowered.
#[derive(Debug, Default)]
pub(super) struct LoweredApprovalsAlarm(AtomicU64);

impl LoweredApprovalsAlarm {
    /// Logs a warning. Call it before the commit, so that a change whose outcome is unknown is logged too.
    pub(super) fn alarm(&self, context: &Context, policy: &Policy, from: u32) {
        self.0.fetch_add(1, Ordering::Relaxed);
        let (name, to, actor) = (&policy.name, policy.settings.required_approvals, context.actor());
        let (namespace, policy) = (&name.namespace, &name.policy);
        tracing::warn!(%namespace, %policy, from, to, actor, "fewer approvals are required from now on");
    }

    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
