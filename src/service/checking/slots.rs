//! The slots in which checks and comparisons run, shared fairly between namespaces: one has at most half of them.
//!
//! Activations and rollbacks have slots of their own: in an emergency, an operator must not wait for authors or readers. Comparisons have
//! theirs too. A slot is held until its check has ended. Checks whose cost their code bounds run on a thread, even when their caller is gone; the
//! others run in a worker, which ends with its caller (`workers.rs`).

use std::time::Duration;

use crate::domain::name::NamespaceId;
use crate::domain::{Error, Reason, Result};
use crate::service::fair_slots::{FairSlot, FairSlots};

/// Number of versions checked at once. More: hostile schemas, guardrails and contents use more cores. Fewer: releases wait
/// for each other.
pub const CHECKS_AT_ONCE_MAX: usize = 4;
/// Number of checks of one namespace that run at once.
pub const NAMESPACE_CHECKS_MAX: usize = CHECKS_AT_ONCE_MAX / 2;
/// Number of checks of activations and rollbacks at once, besides those. More: an operator with hostile versions can use more cores.
const MOVE_CHECKS_AT_ONCE_MAX: usize = 2;
/// Number of comparisons at once. More: they use more memory, some 300 MiB for two contents of the largest size.
const COMPARISONS_AT_ONCE_MAX: usize = 2;
/// How long a check waits for its slot. Longer: with the check itself, callers time out before they get a reason.
pub(super) const SLOT_WAIT_MAX: Duration = Duration::from_secs(10);

/// What a slot is for. None of them waits for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotUse {
    /// A check of what somebody writes, or of rules.
    Check,
    /// A check before an activation or a rollback.
    Move,
    /// A comparison of two versions.
    Comparison,
}

/// The slots, fair between namespaces.
#[derive(Debug)]
pub struct CheckSlots {
    checks: FairSlots<NamespaceId>,
    moves: FairSlots<NamespaceId>,
    comparisons: FairSlots<NamespaceId>,
}

impl Default for CheckSlots {
    fn default() -> Self {
        let half = |all_max: usize| FairSlots::new(all_max, all_max / 2);
        Self {
            checks: FairSlots::new(CHECKS_AT_ONCE_MAX, NAMESPACE_CHECKS_MAX),
            moves: half(MOVE_CHECKS_AT_ONCE_MAX),
            comparisons: half(COMPARISONS_AT_ONCE_MAX),
        }
    }
}

/// The right to run one check.
#[derive(Debug)]
pub struct CheckSlot(#[expect(dead_code, reason = "it is held")] FairSlot);

impl CheckSlots {
    /// Waits for a slot of a namespace, in the order of the calls.
    ///
    /// # Errors
    /// `LIMIT_EXCEEDED` when none gets free in time.
    pub async fn take(&self, slot_use: SlotUse, namespace: &NamespaceId) -> Result<CheckSlot> {
        let (slots, what) = match slot_use {
            SlotUse::Check => (&self.checks, "checks run"),
            SlotUse::Move => (&self.moves, "checks of activations and rollbacks run"),
            SlotUse::Comparison => (&self.comparisons, "comparisons run"),
        };
        match tokio::time::timeout(SLOT_WAIT_MAX, slots.take(namespace)).await {
            Ok(taken) => taken.map(CheckSlot),
            Err(_) => {
                let seconds = SLOT_WAIT_MAX.as_secs();
                let message = format!(
                    "too many {what} in {} or on this server: none ended within {seconds} s; try again later",
                    namespace.name()
                );
                Err(Error::new(Reason::LimitExceeded, message).with("limit_seconds", seconds))
            }
        }
    }
}

/// Runs work that ends by itself on a blocking thread, and returns the slot with the result. When the caller is gone, the slot is free
/// once the work has ended.
///
/// # Errors
/// `INTERNAL` when it panics.
pub async fn run_blocking<T: Send + 'static>(
    slot: CheckSlot,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<(CheckSlot, T)> {
    let run = tokio::task::spawn_blocking(move || {
        let found = work();
        (slot, found)
    });
    run.await.map_err(|error| Error::internal(format!("a check ended early: {error}")))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn namespace(id: &str) -> NamespaceId {
        NamespaceId::parse("namespace", id).expect("an id")
    }

    /// Given a namespace that asks for all slots, it gets half of them, and gets new ones when its checks end.
    #[tokio::test(start_paused = true)]
    async fn one_namespace_has_half_of_the_slots() {
        let slots = CheckSlots::default();
        let mut held = Vec::new();
        for _ in 0..NAMESPACE_CHECKS_MAX {
            held.push(slots.take(SlotUse::Check, &namespace("hostile")).await.expect("a slot"));
        }
        let refused = slots.take(SlotUse::Check, &namespace("hostile")).await.expect_err("no third slot");
        assert_eq!((refused.reason, refused.metadata["limit_seconds"].as_str()), (Reason::LimitExceeded, "10"));
        let mut others = Vec::new();
        for other in ["a", "b"] {
            others.push(slots.take(SlotUse::Check, &namespace(other)).await.expect("a slot"));
        }
        let refused = slots.take(SlotUse::Check, &namespace("c")).await.expect_err("all are taken");
        assert_eq!(refused.reason, Reason::LimitExceeded);
        for other in [SlotUse::Move, SlotUse::Comparison] {
            slots.take(other, &namespace("c")).await.expect("a slot of its own");
        }
        held.pop();
        slots.take(SlotUse::Check, &namespace("hostile")).await.expect("its own again");
    }

    /// Given a caller that is gone, work on a thread keeps its slot until it has ended.
    #[tokio::test(flavor = "multi_thread")]
    async fn work_that_is_left_keeps_its_slot_until_its_end() {
        let slots = CheckSlots::default();
        let slot = slots.take(SlotUse::Check, &namespace("n")).await.expect("a slot");
        let (end, ends) = mpsc::channel::<()>();
        let (started, starts) = mpsc::channel();
        let work = move || {
            started.send(()).expect("somebody waits");
            let _ = ends.recv();
        };
        let mut calls = tokio::task::JoinSet::new();
        calls.spawn(run_blocking(slot, work));
        starts.recv().expect("it runs");
        calls.shutdown().await;
        assert_eq!(slots.checks.free(), CHECKS_AT_ONCE_MAX - 1);
        drop(end);
        while slots.checks.free() < CHECKS_AT_ONCE_MAX {
            tokio::task::yield_now().await;
        }
    }
}
