//! The tasks that evaluate untrusted text, as a request and its answers: they are sent to and from a worker process.
//!
//! Nothing bounds the time and memory of such a text, so `answer` must run under a limit of the system.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::check_limit::CheckLimit;
use super::engine::{Engine, TextFile};
use super::schema::{SCHEMA_ERRORS_MAX, compile_schema};
use crate::domain::report::{CheckFinding, Severity};

/// A content, and the tasks for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// What the tasks evaluate.
    pub content: EvaluatedContent,
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

/// One evaluation of untrusted text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Task {
    /// Validates the content against a JSON Schema of at most `SCHEMA_MAX_BYTES`. Without a content: compiles it.
    JsonSchema {
        /// The schema as JSON text.
        schema: String,
    },
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

impl Evaluation {
    /// Runs the tasks one after the other, without any bound on time and memory.
    pub fn answers(&self) -> impl Iterator<Item = TaskAnswer> + '_ {
        self.tasks.iter().map(|task| task.answer(&self.content))
    }
}

impl Task {
    fn answer(&self, content: &EvaluatedContent) -> TaskAnswer {
        match self {
            Self::JsonSchema { schema } => validate(schema, content),
            Self::ParsePolicies(engine) => TaskAnswer::Findings(engine.parse(texts_of(content))),
            Self::CheckPolicies(engine) => match engine.check(texts_of(content)) {
                Ok(findings) => TaskAnswer::Findings(findings),
                Err(why) => TaskAnswer::Unusable(why.to_owned()),
            },
        }
    }
}

fn validate(schema: &str, content: &EvaluatedContent) -> TaskAnswer {
    let schema = match compile_schema(schema) {
        Ok(schema) => schema,
        Err(why) => return TaskAnswer::Unusable(why),
    };
    let finding = |(pointer, message): (String, String)| {
        CheckFinding::new(Severity::Error, message)
            .at_pointer(pointer)
            .with_hint("correct it and draft it again, or change the policy's JSON Schema")
    };
    let found = |errors: Vec<(String, String)>| errors.into_iter().map(finding).collect::<Vec<_>>();
    let in_file = |(path, document): (&String, &Value)| {
        let path = path.clone();
        found(schema.errors(document)).into_iter().map(move |finding| finding.in_file(path.clone()))
    };
    TaskAnswer::Findings(match content {
        EvaluatedContent::None | EvaluatedContent::Texts(_) => Vec::new(),
        EvaluatedContent::Document(document) => found(schema.errors(document)),
        EvaluatedContent::Documents(documents) => found(schema.errors_of_each(documents)),
        EvaluatedContent::DocumentFiles(files) => files.iter().flat_map(in_file).take(SCHEMA_ERRORS_MAX).collect(),
    })
}

fn texts_of(content: &EvaluatedContent) -> &[TextFile] {
    match content {
        EvaluatedContent::Texts(files) => files,
        _ => &[],
    }
}
