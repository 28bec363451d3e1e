//! What one check gets, and what it gives: the input with its document, and a step of the report.

use super::other_policies::OtherPolicies;
use crate::checks::document::Document;
use crate::checks::engine::TextFile;
use crate::checks::evaluation::{Facts, Task, TaskOutcome};
use crate::checks::references::References;
use crate::domain::digest::Digest;
use crate::domain::guardrail::Guardrail;
use crate::domain::label::Label;
use crate::domain::policy::{PolicyKind, PolicySettings};
use crate::domain::report::Check;

/// The input of a report.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The policy's language.
    pub kind: PolicyKind,
    /// The version's exact bytes.
    pub content: &'a [u8],
    /// The media type, when it must be one of the kind: the kind may have changed since the draft.
    pub content_type: Option<&'a str>,
    /// Whether the media type is that of a content of several files.
    pub has_several_files: bool,
    /// The digest, copied into the report.
    pub digest: &'a Digest,
    /// The version's label, if any.
    pub label: Option<&'a Label>,
    /// The policy's current settings.
    pub settings: &'a PolicySettings,
    /// Labels of the policy's other published versions, in any order.
    pub published_labels: &'a [Label],
    /// The guardrails that hold for the version, in order.
    pub guardrails: &'a [Guardrail],
    /// What guardrails know besides the content.
    pub facts: &'a Facts,
    /// The number of the version that is active now; 0: none.
    pub active_version: i64,
}

/// What a check looks at: the input, its content as a document if it is one, or as texts for an engine, and what it
/// names of other policies.
#[derive(Debug)]
pub(super) struct CheckSubject<'a> {
    pub input: &'a Input<'a>,
    pub document: Option<Document>,
    pub texts: Vec<TextFile>,
    pub references: References,
    pub others: &'a OtherPolicies,
}

/// The result of one check so far.
pub(super) enum Step {
    /// It has ended.
    Done(Check),
    /// It has tasks for a worker. `conclude` makes the check of their outcomes.
    Evaluate {
        tasks: Vec<Task>,
        /// Whether they run after the tasks of all other checks, so that a limit that ends one of them ends no other check.
        run_last: bool,
        conclude: Box<dyn FnOnce(Vec<TaskOutcome>) -> Check + Send + Sync>,
    },
}

impl Step {
    pub fn evaluate(
        tasks: Vec<Task>,
        conclude: impl FnOnce(Vec<TaskOutcome>) -> Check + Send + Sync + 'static,
    ) -> Self {
        Self::Evaluate { tasks, run_last: false, conclude: Box::new(conclude) }
    }

    pub fn evaluate_last(
        tasks: Vec<Task>,
        conclude: impl FnOnce(Vec<TaskOutcome>) -> Check + Send + Sync + 'static,
    ) -> Self {
        Self::Evaluate { tasks, run_last: true, conclude: Box::new(conclude) }
    }
}
