//! Shows the progress of work that a user waits for: a bar on stderr when it is a terminal, else nothing.
//!
//! Boundary: data and results are printed by the commands, never here.

use std::borrow::Cow;
use std::time::Duration;

use crate::cli::output::document::say;
use indicatif::{ProgressBar, ProgressStyle};

/// Interval between two frames of a spinner.
const TICK: Duration = Duration::from_millis(100);

/// A progress bar, removed on drop.
#[derive(Debug)]
pub struct ProgressDisplay(ProgressBar);

impl ProgressDisplay {
    /// Returns a bar for work whose amount is known.
    pub fn of(total: u64, what: impl Into<Cow<'static, str>>) -> Self {
        Self::with(ProgressBar::new(total), "{msg} [{bar:30}] {pos}/{len} {eta}", what)
    }

    /// Returns a spinner for work that is only counted.
    pub fn counting(what: impl Into<Cow<'static, str>>) -> Self {
        Self::with(ProgressBar::new_spinner(), "{spinner} {pos} {msg} {elapsed}", what)
    }

    fn with(bar: ProgressBar, template: &str, what: impl Into<Cow<'static, str>>) -> Self {
        // When the template is invalid, the bar keeps its default style.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what);
        bar.enable_steady_tick(TICK);
        Self(bar)
    }

    /// Sets how much is done.
    pub fn set(&self, done: u64) {
        self.0.set_position(done);
    }

    /// Sets how much is done and the total.
    pub fn set_of(&self, done: u64, total: u64) {
        self.0.set_length(total);
        self.0.set_position(done);
    }

    /// Sets the name of the current step.
    pub fn name(&self, what: impl Into<Cow<'static, str>>) {
        self.0.set_message(what);
    }

    /// Adds to how much is done.
    pub fn advance(&self, by: u64) {
        self.0.inc(by);
    }

    /// Prints a line above the bar.
    pub fn say(&self, line: &str) {
        self.0.suspend(|| say(line));
    }
}

impl Drop for ProgressDisplay {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
