//! The tasks that evaluate untrusted text, as a request and its answers: they are sent to and from a worker process.
//!
//! Nothing bounds the time and memory of such a text, so `answers` must run under a limit of the system.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::check_limit::CheckLimit;
use super::engine::{Engine, TextFile};
use crate::domain::guardrail::Guardrail;
use crate::domain::report::CheckFinding;

/// A content, and the tasks for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// What the tasks evaluate.
    pub content: EvaluatedContent,
    /// What guardrails know besides the content.
    pub facts: Facts,
    /// The tasks, at least one. Each has one answer, in this order.
    pub tasks: Vec<Task>,
}

/// The content that tasks evaluate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum EvaluatedContent {
    /// There is none: a task looks only at its own text.
    None,
    /// One document.
    Document(Value),
    /// The documents of a stream. A pointer begins with the index of the document, from 0.
    Documents(Vec<Value>),
    /// The documents of several files, by path. A finding names the file.
    DocumentFiles(Map<String, Value>),
    /// Texts that an engine parses.
    Texts(Vec<TextFile>),
}

/// What guardrails know besides the content: variables by name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// The policy and the version, as objects.
    pub known: Map<String, Value>,
    /// The exact text of the content, if a guardrail uses it.
    pub text: Option<String>,
    /// The active version of the policy, if a guardrail uses it and there is one.
    pub active: Option<Value>,
}

/// One evaluation of untrusted text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Task {
    /// Validates the content against a JSON Schema of at most `SCHEMA_MAX_BYTES`.
    JsonSchema {
        /// The schema as JSON text.
        schema: String,
    },
    /// Compiles a JSON Schema of at most `SCHEMA_MAX_BYTES`, whatever the content is.
    CompileJsonSchema {
        /// The schema as JSON text.
        schema: String,
    },
    /// Evaluates a guardrail on the content. Without a content: compiles it.
    Guardrail(Guardrail),
    /// Parses the texts of the content.
    ParsePolicies(Engine),
    /// Checks what the texts of the content mean: validates them, or compiles and tests them.
    CheckPolicies(Engine),
}

/// The answer to a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskAnswer {
    /// The text of the task is not usable, for this reason.
    Unusable(String),
    /// What was found, bounded in number and size; empty: the content is valid.
    Findings(Vec<CheckFinding>),
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskOutcome {
    /// It has an answer.
    Answered(TaskAnswer),
    /// It was ended by a limit.
    OverLimit(CheckLimit),
    /// It did not start: a task before it was ended by a limit.
    NotRun,
}

impl EvaluatedContent {
    /// Returns the content as one value: for a stream the list of its documents.
    pub(super) fn to_value(&self) -> Value {
        match self {
            Self::None => Value::Null,
            Self::Document(document) => document.clone(),
            Self::Documents(documents) => Value::Array(documents.clone()),
            Self::DocumentFiles(files) => Value::Object(files.clone()),
            Self::Texts(files) => {
                if let [TextFile { path, text }] = files.as_slice()
                    && path.is_empty()
                {
                    return Value::String(text.clone());
                }
                let files = files.iter().map(|file| (file.path.clone(), Value::String(file.text.clone())));
                Value::Object(files.collect())
            }
        }
    }
}
