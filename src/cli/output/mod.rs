//! Formats responses: as text for people, as JSON or YAML for programs.
//!
//! Boundary: makes no calls. Data goes to stdout, everything else to stderr.

pub(super) mod activation;
pub(super) mod document;
pub(super) mod excerpt;
pub(super) mod json;
pub(super) mod next_step;
pub(super) mod progress;
pub(super) mod report;
pub(super) mod rule_trial;
pub(super) mod sarif;
pub(super) mod terminal_style;
pub(super) mod text;
pub(super) mod watch;
pub(super) mod yaml;
