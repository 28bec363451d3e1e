//! Counts what was really run: a count of zero where something was planned is a failure of the harness.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

type FaultCounts = BTreeMap<(&'static str, String), (u64, bool)>;

/// Counts, by group and name; each with whether it was planned.
#[derive(Debug, Default)]
pub struct Summary(Mutex<FaultCounts>);

impl Summary {
    fn change(&self, group: &'static str, name: &str, change: impl FnOnce(&mut (u64, bool))) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(counts.entry((group, name.to_owned())).or_default());
    }

    /// Adds to a count.
    pub fn add(&self, group: &'static str, name: &str, count: u64) {
        self.change(group, name, |entry| entry.0 += count);
    }

    /// Marks a count that must not be zero at the end.
    pub fn plan(&self, group: &'static str, name: &str) {
        self.change(group, name, |entry| entry.1 = true);
    }

    /// Prints the counts and returns what was planned and never happened.
    pub fn print(&self) -> Vec<String> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut group_before = "";
        for ((group, name), (count, _)) in &*counts {
            if *group != group_before {
                println!("{group}");
                group_before = group;
            }
            println!("  {name:<48} {count:>9}");
        }
        let missing = counts.iter().filter(|(_, (count, planned))| *planned && *count == 0);
        missing.map(|((group, name), _)| format!("{group}: {name}")).collect()
    }
}
