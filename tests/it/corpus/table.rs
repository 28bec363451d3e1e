//! Counts and rates, printed once as one table per database.

use std::time::{Duration, Instant};

use crate::harness::Database;

/// The rows that were added so far.
#[derive(Debug)]
pub struct CorpusTable {
    title: String,
    rows: Vec<[String; 4]>,
}

impl CorpusTable {
    /// Returns an empty table.
    pub fn new(database: Database) -> Self {
        let build = if cfg!(debug_assertions) { "debug" } else { "release" };
        Self { title: format!("the corpus on {database:?} ({build} build)"), rows: Vec::new() }
    }

    /// Adds a count.
    pub fn count(&mut self, what: &str, count: usize) {
        self.rows.push([what.to_owned(), count.to_string(), String::new(), String::new()]);
    }

    /// Adds a count of what was done from `started` until now, with its rate.
    pub fn rate(&mut self, what: &str, count: usize, started: Instant) {
        let seconds = started.elapsed().as_secs_f64();
        let rate = format!("{:.0}/s", count as f64 / seconds.max(f64::EPSILON));
        self.rows.push([what.to_owned(), count.to_string(), format!("{seconds:.2} s"), rate]);
    }

    /// Adds the latencies of single calls.
    pub fn latency(&mut self, what: &str, mut calls: Vec<Duration>) {
        calls.sort_unstable();
        let at = |percent: usize| {
            let call = calls.get(calls.len() * percent / 100).or(calls.last()).copied().unwrap_or_default();
            call.as_secs_f64() * 1_000.0
        };
        let row = [what.to_owned(), calls.len().to_string(), format!("{:.1} ms", at(50)), format!("{:.1} ms", at(99))];
        self.rows.push(row);
    }

    /// Prints the table.
    pub fn print(&self) {
        println!("\n{}", self.title);
        println!("{:<36} {:>9} {:>11} {:>11}", "", "count", "time | p50", "rate | p99");
        for [what, count, time, rate] in &self.rows {
            println!("{what:<36} {count:>9} {time:>11} {rate:>11}");
        }
    }
}
