//! Shows the progress of a release: a bar on a terminal, else lines, so that a CI job is never silent for long.

use crate::cli::output::progress::ProgressDisplay;
use crate::domain::counted_noun::counted_noun;
use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Most lines of one step of a release, besides the one that begins it.
const LINES_MAX: usize = 20;

/// One step of a release, over all of its versions.
pub struct Steps {
    bar: ProgressDisplay,
    total: usize,
    finished: AtomicUsize,
    done: &'static str,
    prints_lines: bool,
}

impl Steps {
    /// Begins a step: `doing` ("checking") and `done` ("checked") name it.
    pub fn of(total: usize, doing: &'static str, done: &'static str) -> Self {
        let prints_lines = total > 0 && !std::io::stderr().is_terminal();
        let steps = Self {
            bar: ProgressDisplay::of(total as u64, doing),
            total,
            finished: AtomicUsize::new(0),
            done,
            prints_lines,
        };
        if prints_lines {
            steps.bar.say(&format!("{doing} {}", counted_noun(total, "version", "versions")));
        }
        steps
    }

    /// Counts one more finished version.
    pub fn advance(&self) {
        self.bar.advance(1);
        let finished = self.finished.fetch_add(1, Ordering::Relaxed) + 1;
        if self.prints_lines && is_due(finished, self.total) {
            self.bar.say(&format!("{} {finished} of {}", self.done, self.total));
        }
    }
}

/// Returns whether a line is due: evenly spaced, and at the end.
fn is_due(finished: usize, total: usize) -> bool {
    finished == total || finished.is_multiple_of(total.div_ceil(LINES_MAX).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_few_and_the_last_one_is_said() {
        for total in [1, 2, 19, 20, 21, 39, 41, 1_469] {
            let due = (1..=total).filter(|finished| is_due(*finished, total)).count();
            assert!((1..=LINES_MAX + 1).contains(&due) && is_due(total, total), "{due} of {total}");
        }
        assert_eq!((1..=100).filter(|finished| is_due(*finished, 100)).collect::<Vec<_>>()[..2], [5, 10]);
    }
}
