//! Answers the tasks of an evaluation, without any bound on time and memory: it runs in a worker process.

use serde_json::Value;

use super::check_limit::ANSWER_FINDINGS_MAX;
use super::engine::TextFile;
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
            Self::CompileJsonSchema { schema } => validate(schema, &EvaluatedContent::None),
            Self::ParsePolicies(engine) => TaskAnswer::Findings(engine.parse(texts_of(content))),
            Self::CheckPolicies(engine) => match engine.check(texts_of(content)) {
                Ok(findings) => TaskAnswer::Findings(findings),
                Err(why) => TaskAnswer::Unusable(why.to_owned()),
            },
            Self::Guardrail(guardrail) => guardrails::evaluate(guardrail, content, facts),
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
        EvaluatedContent::DocumentFiles(files) => files.iter().flat_map(in_file).take(ANSWER_FINDINGS_MAX).collect(),
    })
}

fn texts_of(content: &EvaluatedContent) -> &[TextFile] {
    match content {
        EvaluatedContent::Texts(files) => files,
        _ => &[],
    }
}
