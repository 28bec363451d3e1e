//! Checks contents: parsers, JSON Schema, references, requirements, guardrails, Cedar, Rego, the label rule, and the
//! report of them; also computes differences of contents.
//!
//! Pure and bounded: the content is hostile until it has passed, so every traversal has a limit on depth, work and
//! memory. The evaluation of a schema, a guardrail, Cedar and Rego has no such limit: `Evaluation` is a request to a
//! process with limits of the system. Uses neither network nor database nor clock. What this module accepts has the
//! same meaning for every reader.

mod answers;
mod cel;
mod cel_order;
mod cel_paths;
mod check_limit;
pub mod content_tar;
mod content_text;
pub mod diff;
mod document;
mod engine;
mod evaluation;
mod field_differences;
mod guardrails;
mod json;
mod parse_failure;
mod pipeline;
mod places;
mod references;
mod schema;
mod side_by_side;
mod strict;
mod template;
pub mod worker_messages;
mod yaml;
mod yaml_anchors;
mod yaml_scalar;
mod yaml_stream;

pub use check_limit::{
    CHECK_ADDRESS_SPACE_MAX_BYTES, CHECK_CPU_MAX_SECONDS, CHECK_MEMORY_MAX_BYTES, CHECK_SHORT_MAX,
    CHECK_STACK_MAX_BYTES, CHECK_WALL_MAX_SECONDS, CheckLimit,
};
pub use document::{Document, parse, without_bom};
pub use engine::{Engine, TextFile, check_has_parser};
pub use evaluation::{EvaluatedContent, Evaluation, Facts, Task, TaskAnswer, TaskOutcome};
pub use field_differences::field_differences;
pub use parse_failure::ParseFailure;
pub use pipeline::{
    CheckRules, Input, OtherPolicies, OtherPolicy, ParsedInput, Started, check_label, content_value, document_of,
    evaluate_guardrails, guardrail_findings, needs_active, parse_input, start,
};
pub use places::{add_places, place_of};
pub use template::Template;
