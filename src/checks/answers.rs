//! Answers the tasks of an evaluation, without any bound on time and memory: it runs in a worker process.

use super::evaluation::{EvaluatedContent, Evaluation, Facts, Task, TaskAnswer};
use super::guardrails;
use super::schema::compile_schema;
use crate::domain::report::{CheckFinding, Severity};

impl Evaluation {
    /// Runs the tasks one after the other, without any bound on time and memory.
    pub fn answers(&self) -> impl Iterator<Item = TaskAnswer> + '_ {
        self.tasks.iter().map(|task| task.answer(&self.content, &self.facts))
    }
}

impl Task {
    fn answer(&self, content: &EvaluatedContent, facts: &Facts) -> TaskAnswer {
        match self {
            Self::JsonSchema { schema } => validate(schema, content),
            Self::Guardrail(guardrail) => guardrails::evaluate(guardrail, content, facts),
        }
    }
}

fn validate(schema: &str, content: &EvaluatedContent) -> TaskAnswer {
    let schema = match compile_schema(schema) {
        Ok(schema) => schema,
        Err(why) => return TaskAnswer::Unusable(why),
    };
    let errors = match content {
        EvaluatedContent::None => Vec::new(),
        EvaluatedContent::Document(document) => schema.errors(document),
        EvaluatedContent::Documents(documents) => schema.errors_of_each(documents),
    };
    let finding = |(pointer, message): (String, String)| {
        CheckFinding::new(Severity::Error, message)
            .at_pointer(pointer)
            .with_hint("correct it and draft it again, or change the policy's JSON Schema")
    };
    TaskAnswer::Findings(errors.into_iter().map(finding).collect())
}
