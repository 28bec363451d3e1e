//! The one check that evaluates what a stranger wrote, as a question and its answer: both travel to a worker process.
//!
//! Nothing bounds how long a schema takes or how much it needs, so `answer` is called where a limit of the system does.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::check_limit::CheckLimit;
use super::schema::compile_schema;

/// A JSON Schema, and what is asked of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SchemaCheck {
    /// JSON text, at most `SCHEMA_MAX_BYTES`.
    pub schema: String,
    /// The task.
    pub task: SchemaTask,
}

/// What is asked of a schema.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum SchemaTask {
    /// Whether it is one.
    Compile,
    /// What in this document breaks it.
    Validate(Value),
    /// What in any of these documents breaks it. A pointer begins with the index of the document, from 0.
    ValidateEach(Vec<Value>),
}

/// The outcome of a check against a schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SchemaAnswer {
    /// It is no usable schema, and why.
    Unusable(String),
    /// JSON Pointers and messages of what breaks it, bounded in number and size; empty: it is a schema, and holds.
    Errors(Vec<(String, String)>),
}

/// How a check ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemaOutcome {
    /// With an answer.
    Answered(SchemaAnswer),
    /// Without one.
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
