//! Tests of the check of a log, and the logs made up for them, which the feature `samples` gives to the tests of other packages.

#[cfg(test)]
mod edits;
mod sample;

pub use sample::SampleLog;
