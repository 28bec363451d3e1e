//! How far work is that a person waits for: a bar on stderr when that is a terminal, nothing when it is not.
//!
//! Boundary: data and results are printed by the commands, never here.

use std::borrow::Cow;
use std::time::Duration;

use crate::cli::output::document::say;
use indicatif::{ProgressBar, ProgressStyle};

/// Between two looks of a spinner.
const TICK: Duration = Duration::from_millis(100);

/// A bar, gone when it is dropped.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// Of work whose amount is known.
    pub fn of(total: u64, what: impl Into<Cow<'static, str>>) -> Self {
        Self::with(ProgressBar::new(total), "{msg} [{bar:30}] {pos}/{len} {eta}", what)
    }

    /// Of work that is counted only.
    pub fn counting(what: impl Into<Cow<'static, str>>) -> Self {
        Self::with(ProgressBar::new_spinner(), "{spinner} {pos} {msg} {elapsed}", what)
    }

    fn with(bar: ProgressBar, template: &str, what: impl Into<Cow<'static, str>>) -> Self {
        // A template that can't be read leaves the bar as it is by default.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what);
        bar.enable_steady_tick(TICK);
        Self(bar)
    }

    /// So much is done in all.
    pub fn set(&self, done: u64) {
        self.0.set_position(done);
    }

    /// So much is done of so much.
    pub fn set_of(&self, done: u64, total: u64) {
        self.0.set_length(total);
        self.0.set_position(done);
    }

    /// What is done now.
    pub fn name(&self, what: impl Into<Cow<'static, str>>) {
        self.0.set_message(what);
    }

    /// So much more is done.
    pub fn advance(&self, by: u64) {
        self.0.inc(by);
    }

    /// A line for people, above the bar.
    pub fn say(&self, line: &str) {
        self.0.suspend(|| say(line));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
