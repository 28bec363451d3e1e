//! The budget of memory that the rings of all namespaces share, and which ring has to release frames when they exceed it.
//!
//! It counts what rings can release: everything but the newest frame of each. Invariant: a ring releases a frame only while no other ring
//! could release more. So none of n rings that holds less than an n-th of the budget loses a frame, whatever the others hold.

use std::collections::{BTreeSet, HashMap};

use crate::domain::name::NamespaceId;

/// What the rings of a replica may hold.
#[derive(Debug, Clone, Copy)]
pub struct RingLimits {
    /// Activations of one namespace.
    pub events: usize,
    /// Bytes of all rings together, besides the newest activation of each.
    pub max_bytes: usize,
}

/// The releasable bytes of each ring, and of all.
#[derive(Debug)]
pub(super) struct RingBudget {
    max_bytes: usize,
    total_bytes: usize,
    by_namespace: HashMap<NamespaceId, usize>,
    /// The same, in the order of sizes: finding the largest ring costs the same for any number of them.
    by_size: BTreeSet<(usize, NamespaceId)>,
}

impl RingBudget {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, total_bytes: 0, by_namespace: HashMap::new(), by_size: BTreeSet::new() }
    }

    /// Records how many bytes the ring of a namespace can release; 0 for a ring that is gone.
    pub(super) fn set(&mut self, namespace: &NamespaceId, bytes: usize) {
        if let Some(before) = self.by_namespace.remove(namespace) {
            self.total_bytes -= before;
            self.by_size.remove(&(before, namespace.clone()));
        }
        if bytes > 0 {
            self.total_bytes += bytes;
            self.by_namespace.insert(namespace.clone(), bytes);
            self.by_size.insert((bytes, namespace.clone()));
        }
    }

    /// Returns the namespace whose ring has to release its oldest frame; none while all rings together fit.
    pub(super) fn must_release(&self) -> Option<NamespaceId> {
        let (_, largest) = self.by_size.last().filter(|_| self.total_bytes > self.max_bytes)?;
        Some(largest.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(id: &str) -> NamespaceId {
        NamespaceId::parse("namespace", id).expect("an id")
    }

    fn must_release(budget: &RingBudget) -> Option<String> {
        budget.must_release().map(|namespace| namespace.to_string())
    }

    #[test]
    fn the_largest_ring_releases_until_all_fit() {
        let mut budget = RingBudget::new(100);
        budget.set(&named("quiet"), 40);
        budget.set(&named("noisy"), 60);
        assert_eq!(must_release(&budget), None, "just full");
        budget.set(&named("quiet"), 41);
        assert_eq!(must_release(&budget).as_deref(), Some("noisy"), "the largest, not the one that grew");
        budget.set(&named("noisy"), 30);
        assert_eq!(must_release(&budget), None);
        budget.set(&named("third"), 30);
        assert_eq!(must_release(&budget).as_deref(), Some("quiet"), "now it is the largest");
    }

    #[test]
    fn a_ring_that_is_gone_counts_no_more() {
        let mut budget = RingBudget::new(100);
        budget.set(&named("a"), 90);
        budget.set(&named("b"), 20);
        assert_eq!(must_release(&budget).as_deref(), Some("a"));
        budget.set(&named("a"), 0);
        assert_eq!((must_release(&budget), budget.total_bytes), (None, 20));
        budget.set(&named("b"), 0);
        budget.set(&named("b"), 0);
        assert_eq!((budget.total_bytes, budget.by_namespace.len(), budget.by_size.len()), (0, 0, 0));
    }

    /// Given any growth of any ring, the rings fit afterwards, and one that never held its share of the budget lost nothing.
    #[test]
    fn nobody_below_its_share_loses_a_frame() {
        const RINGS: usize = 10;
        const FRAME_BYTES: usize = 7;
        let share = 1_000 / RINGS;
        let names: Vec<NamespaceId> = (0..RINGS).map(|number| named(&format!("n{number}"))).collect();
        let mut budget = RingBudget::new(1_000);
        let mut held = vec![0; RINGS];
        for round in 0..10_000 {
            // Ring 0 grows with every second frame, the others in turn, and the last one stays below its share.
            let grown = if round % 2 == 0 { 0 } else { round / 2 % RINGS };
            if grown == RINGS - 1 && held[grown] + FRAME_BYTES >= share {
                continue;
            }
            held[grown] += FRAME_BYTES;
            budget.set(&names[grown], held[grown]);
            while let Some(largest) = budget.must_release() {
                let largest = names.iter().position(|name| *name == largest).expect("a ring");
                assert!(held[largest] > share && held.iter().all(|other| *other <= held[largest]), "{held:?}");
                held[largest] -= FRAME_BYTES;
                budget.set(&names[largest], held[largest]);
            }
            assert!(held.iter().sum::<usize>() <= 1_000);
        }
        assert!(held.iter().sum::<usize>() > 1_000 - FRAME_BYTES, "no more is released than has to be: {held:?}");
    }
}
