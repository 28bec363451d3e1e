//! Makes contents from templates: parameters are validated in a worker process, like contents against the schema of their policy.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::content_checks::ContentChecks;
use super::slots::{SlotUse, run_blocking};
use super::workers::WorkerRequest;
use crate::checks::{EvaluatedContent, Evaluation, Facts, Task, TaskAnswer, TaskOutcome, Template, parse};
use crate::domain::error::FieldViolation;
use crate::domain::name::NamespaceId;
use crate::domain::policy::PolicyKind;
use crate::domain::report::CheckFinding;
use crate::domain::{Error, Reason, Result};

const PARAMETERS: &str = "from_template.parameters";

/// A content that was made from a template.
#[derive(Debug)]
pub struct TemplateResult {
    /// The content.
    pub content: Bytes,
    /// Its kind.
    pub kind: PolicyKind,
    /// The parameters as the text of a JSON object, its members in order.
    pub parameters: String,
}

/// A template with parameters that are to be validated.
struct Prepared {
    template: Template,
    parameters: Map<String, Value>,
    request: WorkerRequest,
}

impl ContentChecks {
    /// Makes a content from the content of a template and the text of its parameters.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for parameters that the template does not take, `VALIDATION_FAILED` for a content that is no template,
    /// `LIMIT_EXCEEDED` when too many checks run, `CHECKS_UNAVAILABLE`.
    pub async fn make_from_template(
        &self,
        namespace: &NamespaceId,
        template: Bytes,
        parameters: String,
    ) -> Result<TemplateResult> {
        let slot = self.slots.take(SlotUse::Check, namespace).await?;
        let (slot, prepared) = run_blocking(slot, move || prepare(&template, &parameters)).await?;
        let Prepared { template, parameters, request } = prepared?;
        let outcome = self.evaluate(&request, &namespace.name(), &slot).await?.pop();
        check_validated(outcome)?;
        let (_, made) = run_blocking(slot, move || make(&template, parameters)).await?;
        made
    }
}

fn prepare(template: &[u8], parameters: &str) -> Result<Prepared> {
    let template = Template::parse(template).map_err(|why| {
        Error::new(Reason::ValidationFailed, format!("the content is no template that can be used: {why}"))
    })?;
    let parameters = read_parameters(parameters)?;
    let unknown: Vec<FieldViolation> = template
        .unknown(&parameters)
        .map(|name| violation(format!("{name:?} is no parameter of the template")))
        .collect();
    if !unknown.is_empty() {
        return Err(Error::invalid_fields(unknown));
    }
    let request = WorkerRequest::new(&Evaluation {
        content: EvaluatedContent::Document(Value::Object(parameters.clone())),
        facts: Facts::default(),
        tasks: vec![Task::JsonSchema { schema: template.schema().to_owned() }],
    })?;
    Ok(Prepared { template, parameters, request })
}

/// Reads parameters by the rules of a content, so that each value has one meaning for every reader. `1e3`, `1000.0` and `1000` are one
/// value for JSON Schema, and many readers take an integer only without a point: each of them becomes `1000`.
fn read_parameters(text: &str) -> Result<Map<String, Value>> {
    if text.is_empty() {
        return Ok(Map::new());
    }
    match parse(PolicyKind::Json, text.as_bytes()) {
        Ok(Some(document)) => match document.value {
            Value::Object(mut members) => {
                members.values_mut().for_each(write_integers);
                Ok(members)
            }
            _ => Err(Error::invalid(PARAMETERS, "is no JSON object")),
        },
        Ok(None) => Err(Error::internal("JSON that is no document")),
        Err(failure) => {
            let place = format!("line {} column {}", failure.line, failure.column);
            Err(Error::invalid(PARAMETERS, format!("is no JSON: {} at {place}", failure.message)))
        }
    }
}

/// Makes an integer of each number without a fraction, as the canonical form of JSON does (RFC 8785 §3.2.2.3). Recursive: a document has
/// a bounded depth.
fn write_integers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            let float = number.as_f64().filter(|_| number.is_f64());
            let integer = float.and_then(|float| float.to_string().parse::<i64>().ok());
            if let Some(integer) = integer {
                *value = Value::from(integer);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(write_integers),
        Value::Object(members) => members.values_mut().for_each(write_integers),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

fn violation(description: String) -> FieldViolation {
    FieldViolation { field: PARAMETERS.to_owned(), description }
}

fn check_validated(outcome: Option<TaskOutcome>) -> Result<()> {
    let why = match outcome {
        Some(TaskOutcome::Answered(TaskAnswer::Findings(findings))) if findings.is_empty() => return Ok(()),
        Some(TaskOutcome::Answered(TaskAnswer::Findings(findings))) => {
            let describe = |finding: CheckFinding| {
                let place = if finding.pointer.is_empty() { String::new() } else { format!("{}: ", finding.pointer) };
                violation(format!("{place}{}", finding.message))
            };
            return Err(Error::invalid_fields(findings.into_iter().map(describe).collect()));
        }
        Some(TaskOutcome::Answered(TaskAnswer::Unusable(why))) => {
            format!("can't be validated, because the template's schema does not compile: {why}")
        }
        Some(TaskOutcome::OverLimit(limit)) => limit.message("the validation by the template's schema"),
        Some(TaskOutcome::NotRun) | None => return Err(Error::internal("parameters were not validated")),
    };
    Err(Error::invalid(PARAMETERS, why))
}

fn make(template: &Template, parameters: Map<String, Value>) -> Result<TemplateResult> {
    let made = template.make(&parameters);
    let content =
        made.map_err(|why| Error::invalid(PARAMETERS, format!("make a content that can't be read: {why}")))?;
    let mut parameters = Value::Object(parameters);
    // The text is signed, so it must not depend on the features of the JSON library.
    parameters.sort_all_objects();
    Ok(TemplateResult { content: content.into(), kind: template.kind(), parameters: parameters.to_string() })
}
