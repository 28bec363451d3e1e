//! The one check that evaluates untrusted input, as a request and its answer: both are sent to or from a worker process.
//!
//! Nothing bounds the time and memory of a schema, so `answer` must run under a limit of the system.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::check_limit::CheckLimit;
use super::schema::compile_schema;

/// A JSON Schema, and the task for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SchemaCheck {
    /// The schema as JSON text, at most `SCHEMA_MAX_BYTES`.
    pub schema: String,
    /// The task.
    pub task: SchemaTask,
}

/// What to check with a schema.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum SchemaTask {
    /// Checks only that it is a valid schema.
    Compile,
    /// Validates this document.
    Validate(Value),
    /// Validates each of these documents. A pointer begins with the index of the document, from 0.
    ValidateEach(Vec<Value>),
}

/// The answer of a check against a schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SchemaAnswer {
    /// The schema is not usable, for this reason.
    Unusable(String),
    /// JSON Pointers and messages of the violations, bounded in number and size; empty: the schema and the documents are valid.
    Errors(Vec<(String, String)>),
}

/// How a check ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemaOutcome {
    /// It has an answer.
    Answered(SchemaAnswer),
    /// It was ended by a limit.
    OverLimit(CheckLimit),
}

impl SchemaCheck {
    /// Compiles the schema and runs it, without any bound on time and memory.
    #[must_use]
    pub fn answer(&self) -> SchemaAnswer {
        match (compile_schema(&self.schema), &self.task) {
            (Err(why), _) => SchemaAnswer::Unusable(why),
            (Ok(_), SchemaTask::Compile) => SchemaAnswer::Errors(Vec::new()),
            (Ok(schema), SchemaTask::Validate(document)) => SchemaAnswer::Errors(schema.errors(document)),
            (Ok(schema), SchemaTask::ValidateEach(documents)) => SchemaAnswer::Errors(schema.errors_of_each(documents)),
        }
    }
}
