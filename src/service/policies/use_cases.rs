//! The state that the use cases of policies share.

use std::sync::Arc;

use super::alarms::{BreakGlassAlarm, LoweredApprovalsAlarm};
use super::schedules::{ScheduleCounts, ScheduleRetries};
use crate::checks::CheckLimit;
use crate::service::access::DenialRecorder;
use crate::service::checking::CheckRunner;
use crate::service::log::{LogReader, LogWriter};
use crate::service::meters::QuotaMeters;

/// Policies and their versions: created, checked, published, activated.
#[derive(Debug)]
pub struct Policies {
    pub(super) log: Arc<LogReader>,
    pub(super) writer: Arc<LogWriter>,
    pub(super) denials: Arc<DenialRecorder>,
    pub(super) meters: Arc<QuotaMeters>,
    pub(super) checks: Arc<CheckRunner>,
    pub(super) break_glass: BreakGlassAlarm,
    pub(super) lowered_approvals: LoweredApprovalsAlarm,
    pub(super) schedule_counts: ScheduleCounts,
    pub(super) schedule_retries: ScheduleRetries,
    pub(super) content_max_bytes: usize,
}

impl Policies {
    pub(in crate::service) fn new(
        log: &Arc<LogReader>,
        writer: &Arc<LogWriter>,
        denials: &Arc<DenialRecorder>,
        meters: &Arc<QuotaMeters>,
        checks: &Arc<CheckRunner>,
        content_max_bytes: usize,
    ) -> Self {
        Self {
            log: Arc::clone(log),
            writer: Arc::clone(writer),
            denials: Arc::clone(denials),
            meters: Arc::clone(meters),
            checks: Arc::clone(checks),
            break_glass: BreakGlassAlarm::default(),
            lowered_approvals: LoweredApprovalsAlarm::default(),
            schedule_counts: ScheduleCounts::default(),
            schedule_retries: ScheduleRetries::default(),
            content_max_bytes,
        }
    }

    /// Starts a process for checks, so that the first one finds it ready.
    pub async fn warm_check_workers(&self) {
        self.checks.contents.workers.warm().await;
    }

    /// Keeps processes for checks ready, until it is dropped.
    pub async fn keep_check_workers_ready(&self) {
        self.checks.contents.workers.keep_ready().await;
    }

    /// Returns the checks since the start that ended without an answer: by each limit, and because their callers left.
    #[must_use]
    pub fn ended_checks(&self) -> (Vec<(CheckLimit, u64)>, u64) {
        self.checks.contents.workers.ended()
    }

    /// Returns how many break-glass publications there were since the start.
    #[must_use]
    pub fn broken_glass(&self) -> u64 {
        self.break_glass.count()
    }

    /// Returns what became of the schedules that were due since the start, as far as this replica carried them out.
    #[must_use]
    pub fn ended_schedule_runs(&self) -> [(&'static str, u64); 3] {
        self.schedule_counts.by_result()
    }

    /// Returns how often fewer approvals were required than before, since the start.
    #[must_use]
    pub fn lowered_approvals(&self) -> u64 {
        self.lowered_approvals.count()
    }
}
