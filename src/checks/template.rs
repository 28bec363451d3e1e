//! Templates: contents with places in which parameters are put.
//!
//! Pure. Values are put at JSON Pointers, never into text, so that no parameter can mean anything but a value. Invariant: what is made
//! of a template and its parameters is decided by these alone, in whatever order they are written.

use std::fmt;

use serde_json::{Map, Value};

use super::check_limit::ANSWER_FINDINGS_MAX;
use super::content_text;
use super::document;
use super::parse_failure::{push_token, shortened};
use crate::domain::limits::TEMPLATE_SUBSTITUTIONS_MAX;
use crate::domain::policy::PolicyKind;

/// The members of a template: each is required, and there is no other one.
const MEMBERS: [&str; 4] = ["content", "kind", "parameters", "substitute"];

/// A template that can be used.
#[derive(Clone, PartialEq)]
pub struct Template {
    /// The kind of what it makes: JSON or YAML.
    kind: PolicyKind,
    /// The JSON Schema of the parameters, as text.
    schema: String,
    /// The names of the parameters, in order.
    declared: Vec<String>,
    /// Pointers into the content, none of which leads into another one, with the names of parameters.
    substitutions: Vec<(String, String)>,
    content: Value,
}

/// Why a document is no template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateProblem {
    /// JSON Pointer into the document.
    pub pointer: String,
    /// What is wrong, as a lower-case fragment for the author.
    pub message: String,
}

impl TemplateProblem {
    fn new(tokens: &[&str], message: impl AsRef<str>) -> Self {
        let mut pointer = String::new();
        for token in tokens {
            if !push_token(&mut pointer, token) {
                break;
            }
        }
        Self { pointer, message: shortened(message.as_ref()) }
    }
}

impl Template {
    /// Reads a template from a content.
    ///
    /// # Errors
    /// The content is no document, or no template; the first problem, as a lower-case fragment.
    pub fn parse(content: &[u8]) -> Result<Self, String> {
        let parsed = document::parse(PolicyKind::Template, content).map_err(|failure| failure.message)?;
        let value = parsed.map_or(Value::Null, |parsed| parsed.value);
        Self::read(&value).map_err(|problems| {
            let Some(TemplateProblem { pointer, message }) = problems.into_iter().next() else { return String::new() };
            if pointer.is_empty() { message } else { format!("{pointer}: {message}") }
        })
    }

    /// Reads a template from a document.
    ///
    /// # Errors
    /// The first `ANSWER_FINDINGS_MAX` problems.
    pub fn read(document: &Value) -> Result<Self, Vec<TemplateProblem>> {
        let Value::Object(members) = document else {
            return Err(vec![TemplateProblem::new(&[], "a template is one document, which is an object")]);
        };
        let unknown = members.keys().filter(|name| !MEMBERS.contains(&name.as_str()));
        let mut problems: Vec<_> =
            unknown.map(|name| TemplateProblem::new(&[name], "is no member of a template")).collect();
        let missing = MEMBERS.iter().filter(|name| !members.contains_key(**name));
        problems.extend(missing.map(|name| TemplateProblem::new(&[], format!("has no {name}"))));
        let kind = members.get("kind").map(read_kind);
        let declared = members.get("parameters").map(read_declared);
        let content = members.get("content");
        let substitutions = members.get("substitute").map(read_substitutions);
        let (mut kind_read, mut declared_read, mut substitutions_read) = (None, None, None);
        take(kind, &mut kind_read, &mut problems);
        take(declared, &mut declared_read, &mut problems);
        take(substitutions, &mut substitutions_read, &mut problems);
        if let (Some(content), Some(substitutions), Some(declared)) = (content, &substitutions_read, &declared_read) {
            check_substitutions(content, substitutions, declared, &mut problems);
        }
        problems.truncate(ANSWER_FINDINGS_MAX);
        match (kind_read, declared_read, substitutions_read, content, members.get("parameters")) {
            (Some(kind), Some(declared), Some(substitutions), Some(content), Some(schema)) if problems.is_empty() => {
                let (schema, content) = (schema.to_string(), content.clone());
                Ok(Self { kind, schema, declared, substitutions, content })
            }
            _ => Err(problems),
        }
    }

    /// Returns the kind of what it makes.
    #[must_use]
    pub fn kind(&self) -> PolicyKind {
        self.kind
    }

    /// Returns the JSON Schema of the parameters, as JSON text.
    #[must_use]
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// Returns the parameters that it declares and puts nowhere.
    pub fn unused(&self) -> impl Iterator<Item = &str> {
        let is_used = |name: &String| self.substitutions.iter().any(|(_, used)| used == name);
        self.declared.iter().filter(move |name| !is_used(name)).map(String::as_str)
    }

    /// Returns the names that are no parameters of it.
    pub fn unknown<'a>(&'a self, parameters: &'a Map<String, Value>) -> impl Iterator<Item = &'a str> {
        parameters.keys().filter(|name| !self.declared.contains(name)).map(String::as_str)
    }

    /// Puts parameters into the content. A place whose parameter is not given keeps what it has in the template.
    #[must_use]
    pub fn substitute(&self, parameters: &Map<String, Value>) -> Value {
        let mut content = self.content.clone();
        for (pointer, name) in &self.substitutions {
            if let (Some(value), Some(place)) = (parameters.get(name), content.pointer_mut(pointer)) {
                *place = value.clone();
            }
        }
        content
    }

    /// Makes a content: the same bytes whenever the same values are put in.
    ///
    /// # Errors
    /// What is made can't be read as a content, because it is nested too deeply, say; the reason is a lower-case fragment.
    pub fn make(&self, parameters: &Map<String, Value>) -> Result<Vec<u8>, String> {
        let mut value = self.substitute(parameters);
        value.sort_all_objects();
        let text = content_text::write(self.kind, &value);
        let read = document::parse(self.kind, text.as_bytes()).map_err(|failure| failure.message)?;
        match read {
            Some(read) if read.value == value => Ok(text.into_bytes()),
            _ => Err(format!("a value can't be written as {}", self.kind.as_str())),
        }
    }
}

/// Moves what was read into its place, or its problems to the others.
fn take<T>(read: Option<Result<T, Vec<TemplateProblem>>>, place: &mut Option<T>, problems: &mut Vec<TemplateProblem>) {
    match read {
        Some(Ok(read)) => *place = Some(read),
        Some(Err(found)) => problems.extend(found),
        None => {}
    }
}

fn read_kind(kind: &Value) -> Result<PolicyKind, Vec<TemplateProblem>> {
    match kind.as_str() {
        Some("JSON") => Ok(PolicyKind::Json),
        Some("YAML") => Ok(PolicyKind::Yaml),
        _ => {
            Err(vec![TemplateProblem::new(&["kind"], "is neither JSON nor YAML: the kind of what the template makes")])
        }
    }
}

/// Returns the names of the parameters, from the schema of the object that has them.
fn read_declared(schema: &Value) -> Result<Vec<String>, Vec<TemplateProblem>> {
    match schema.get("properties").and_then(Value::as_object) {
        Some(properties) => Ok(properties.keys().cloned().collect()),
        None => {
            let rule = "is no JSON Schema of an object: its `properties` are the parameters";
            Err(vec![TemplateProblem::new(&["parameters"], rule)])
        }
    }
}

fn read_substitutions(substitute: &Value) -> Result<Vec<(String, String)>, Vec<TemplateProblem>> {
    let whole = |message: &str| Err(vec![TemplateProblem::new(&["substitute"], message)]);
    let Some(members) = substitute.as_object() else {
        return whole("is no object from JSON Pointers to names of parameters");
    };
    if members.len() > TEMPLATE_SUBSTITUTIONS_MAX {
        return whole(&format!("has over {TEMPLATE_SUBSTITUTIONS_MAX} members"));
    }
    let (mut read, mut problems) = (Vec::with_capacity(members.len()), Vec::new());
    for (pointer, name) in members {
        match name.as_str() {
            Some(name) => read.push((pointer.clone(), name.to_owned())),
            None => problems.push(TemplateProblem::new(&["substitute", pointer], "is not the name of a parameter")),
        }
    }
    if problems.is_empty() { Ok(read) } else { Err(problems) }
}

fn check_substitutions(
    content: &Value,
    substitutions: &[(String, String)],
    declared: &[String],
    problems: &mut Vec<TemplateProblem>,
) {
    let mut problem =
        |pointer: &str, message: String| problems.push(TemplateProblem::new(&["substitute", pointer], message));
    for (pointer, name) in substitutions {
        // RFC 6901 §3.
        let is_escaped = pointer.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
        if !is_escaped || content.pointer(pointer).is_none() {
            problem(pointer, "leads to nothing in the content".to_owned());
        }
        if !declared.contains(name) {
            problem(pointer, format!("names {name:?}, which `parameters` does not declare in its `properties`"));
        }
    }
    let mut pointers: Vec<&str> = substitutions.iter().map(|(pointer, _)| pointer.as_str()).collect();
    // In this order those that lead into a value stand right after the pointer of the value.
    pointers.sort_unstable_by_key(|pointer| pointer.split('/').collect::<Vec<_>>());
    for (outer, inner) in pointers.iter().zip(pointers.iter().skip(1)) {
        if inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/')) {
            problem(inner, format!("leads into {outer:?}, which is replaced as a whole"));
        }
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template").field("kind", &self.kind).field("declared", &self.declared).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
