//! Reads a file of rules: YAML or JSON with `guardrails`, the settings of `policies`, and `tests` of the guardrails.
//!
//! `policyhub guardrail apply` and `test` and `policyhub check` take the same file, so that what was tested is what is set.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::checks::{self, ParseFailure};
use crate::cli::content;
use crate::cli::output::text;
use crate::client::name::PolicyId;
use crate::domain::guardrail::{Guardrail, check_guardrails};
use crate::domain::limits::SCHEMA_MAX_BYTES;
use crate::domain::policy::{Policy, PolicyKind};

/// Largest file: a set of guardrails of the largest size, each character escaped, and as much again for the rest.
const FILE_MAX_BYTES: usize = 2 * 1024 * 1024;

/// A file of rules.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RulesFile {
    /// The guardrails, in order.
    #[serde(default)]
    pub guardrails: Vec<Guardrail>,
    /// The settings of policies, by their ids.
    #[serde(default)]
    policies: BTreeMap<String, PolicyRules>,
    /// What the guardrails are expected to find.
    #[serde(default)]
    pub tests: Vec<GuardrailTest>,
    /// The directory of the file: paths in it are relative to it.
    #[serde(skip)]
    directory: PathBuf,
    /// The text of the file, which has the places.
    #[serde(skip)]
    text: String,
}

/// The settings of a policy, as far as checks look at them.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyRules {
    /// The language; none: the name of a content says it.
    #[serde(default, deserialize_with = "kind_by_name")]
    kind: Option<PolicyKind>,
    /// File with a JSON Schema.
    #[serde(default)]
    json_schema: Option<PathBuf>,
    /// Names of the members that hold references.
    #[serde(default)]
    reference_keys: Vec<String>,
    /// Approvals that publishing needs.
    #[serde(default)]
    required_approvals: u32,
    /// Text for people.
    #[serde(default)]
    description: String,
    /// The JSON Schema, once it is read.
    #[serde(skip)]
    schema: String,
}

/// A content, and the guardrails that it breaks.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuardrailTest {
    /// File with the content.
    pub content: PathBuf,
    /// Ids of the guardrails that do not hold for it; empty: all hold.
    #[serde(default)]
    pub breaks: Vec<String>,
    /// File with the content of the active version; none: none is active.
    #[serde(default)]
    pub active: Option<PathBuf>,
    /// The policy, with the settings that the file has of it.
    #[serde(default)]
    pub policy: Option<String>,
}

impl RulesFile {
    /// Whether the file has settings of policies.
    pub fn has_policies(&self) -> bool {
        !self.policies.is_empty()
    }

    /// Returns a path that stands in the file.
    pub fn path(&self, path: &Path) -> PathBuf {
        self.directory.join(path)
    }

    /// Returns the kind of a policy, if the file says it.
    pub fn kind(&self, policy: &PolicyId) -> Option<PolicyKind> {
        self.policies.get(policy.as_str())?.kind
    }

    /// Returns the schemas of policies, each with its file.
    pub fn schemas(&self) -> impl Iterator<Item = (PathBuf, &str)> {
        let policies = self.policies.values();
        policies.filter_map(|rules| Some((self.path(rules.json_schema.as_ref()?), rules.schema.as_str())))
    }

    /// Returns the error of a guardrail that can't be used. `path` is that of this file.
    pub fn guardrail_error(&self, path: &Path, index: usize, why: &str) -> RulesFileError {
        let id = self.guardrails.get(index).map_or("", |guardrail| guardrail.id.as_str());
        let message = format!("the guardrail {id} does not compile: {why}");
        let (line, column) = checks::place_of(&self.text, &format!("/guardrails/{index}")).unwrap_or_default();
        RulesFileError { line, column, ..RulesFileError::new(path, message) }
    }

    /// Adds to a policy what the file says of it.
    pub fn apply(&self, policy: &mut Policy) {
        let Some(rules) = self.policies.get(policy.name.policy.as_str()) else { return };
        policy.settings.json_schema.clone_from(&rules.schema);
        policy.settings.reference_keys.clone_from(&rules.reference_keys);
        policy.settings.required_approvals = rules.required_approvals;
        policy.description.clone_from(&rules.description);
    }
}

/// Why a file of rules can't be used, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct RulesFileError {
    /// The file that is wrong: that of the rules, or one that it names.
    pub file: PathBuf,
    /// Line, from 1; 0 when unknown.
    pub line: u32,
    /// Column in characters, from 1; 0 when unknown.
    pub column: u32,
    /// What is wrong, as a lower-case fragment.
    pub message: String,
}

impl RulesFileError {
    /// Returns an error of a file as a whole.
    pub fn new(file: &Path, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: 0, column: 0, message: message.into() }
    }

    /// Returns an error of a field, which is written as in `guardrails[0].id`: at its place, or at that of the deepest one around it.
    fn at_field(file: &Path, text: &str, field: &str, message: String) -> Self {
        let names = field.split(['.', '[']).map(|name| name.trim_end_matches(']'));
        let pointer: String = names.filter(|name| !name.is_empty()).map(|name| format!("/{name}")).collect();
        let (line, column) = checks::place_of(text, &pointer).unwrap_or_default();
        Self { line, column, ..Self::new(file, message) }
    }

    fn unparsed(file: &Path, failure: ParseFailure) -> Self {
        let ParseFailure { message, line, column, .. } = failure;
        Self { line, column, ..Self::new(file, message) }
    }
}

impl fmt::Display for RulesFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = content::shown(&self.file);
        match self.line {
            0 => write!(f, "{shown}: {}", self.message),
            line => write!(f, "{shown}:{line}:{}: {}", self.column, self.message),
        }
    }
}

impl std::error::Error for RulesFileError {}

/// Reads a kind by its name, in upper or lower case.
fn kind_by_name<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PolicyKind>, D::Error> {
    let name = String::deserialize(from)?;
    let found = PolicyKind::ALL.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(&name));
    let known = || PolicyKind::ALL.map(PolicyKind::as_str).join(", ");
    found.map(Some).ok_or_else(|| D::Error::custom(format!("kind {name:?} is none of {}", known())))
}

/// Reads a file of rules, and the schemas that it names.
///
/// # Errors
/// A file can't be read, is not of this form, or has a guardrail that no set may have; or a schema is no JSON.
pub fn read(path: &Path) -> Result<RulesFile, RulesFileError> {
    let bytes = bytes(path, FILE_MAX_BYTES, "the file of rules")?;
    let parsed = checks::parse(PolicyKind::Yaml, &bytes).map_err(|failure| RulesFileError::unparsed(path, failure))?;
    let document = parsed.map(|document| document.value).unwrap_or_default();
    let text = String::from_utf8(bytes).unwrap_or_default();
    let wrong = |field: &str, message: String| RulesFileError::at_field(path, &text, field, message);
    let mut file: RulesFile = serde_path_to_error::deserialize(document).map_err(|error| {
        let why = format!("it is no file of rules: {}", error.inner());
        wrong(&error.path().to_string(), why)
    })?;
    check_guardrails("guardrails", &file.guardrails).map_err(|error| {
        let field = error.violations.first().map_or("", |violation| violation.field.as_str());
        wrong(field, error.message.clone())
    })?;
    let of_tests = file.tests.iter().enumerate();
    let of_tests = of_tests.filter_map(|(index, test)| Some((format!("tests[{index}].policy"), test.policy.as_ref()?)));
    for (field, id) in file.policies.keys().map(|id| (format!("policies.{id}"), id)).chain(of_tests) {
        PolicyId::parse("policies", id)
            .map_err(|error| wrong(&field, format!("{}: {}", text::line(id), error.message)))?;
    }
    file.directory = path.parent().map(Path::to_owned).unwrap_or_default();
    file.text = text;
    let directory = &file.directory;
    for rules in file.policies.values_mut() {
        if let Some(path) = &rules.json_schema {
            rules.schema = schema(&directory.join(path))?;
        }
    }
    Ok(file)
}

/// Reads a JSON Schema. Whether it compiles, only a check says.
fn schema(path: &Path) -> Result<String, RulesFileError> {
    let bytes = bytes(path, SCHEMA_MAX_BYTES, "a JSON Schema")?;
    checks::parse(PolicyKind::Json, &bytes).map_err(|failure| RulesFileError::unparsed(path, failure))?;
    String::from_utf8(bytes).map_err(|_| RulesFileError::new(path, "not UTF-8"))
}

fn bytes(path: &Path, max: usize, what: &str) -> Result<Vec<u8>, RulesFileError> {
    let read = content::read_at_most(path, max, what);
    read.map_err(|error| RulesFileError::new(path, format!("failed to read it: {}", error.root_cause())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<RulesFile, RulesFileError> {
        let directory = tempfile::tempdir().expect("a directory");
        for (name, schema) in [("schema.json", "{}"), ("broken.json", "{\n  \"type\": }"), ("empty.json", "")] {
            std::fs::write(directory.path().join(name), schema).expect("written");
        }
        let path = directory.path().join("rules.yaml");
        std::fs::write(&path, text).expect("written");
        read(&path)
    }

    #[test]
    fn a_file_has_guardrails_settings_and_tests() {
        let text = "guardrails: [{id: a, expression: 'true', severity: DENY}]\n\
                    policies: {pricing: {json_schema: schema.json, required_approvals: 2}}\n\
                    tests: [{content: x.yaml, breaks: [a], policy: pricing}]\n";
        let file = read_text(text).expect("rules");
        let pricing = &file.policies["pricing"];
        assert_eq!((file.guardrails.len(), file.tests.len(), pricing.schema.as_str()), (1, 1, "{}"));
        assert!(read_text("{}").expect("no rules").guardrails.is_empty());
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for (text, why) in [
            ("tests: []\nguardrail: []", "rules.yaml:2:1: it is no file of rules: unknown field `guardrail`"),
            ("policies:\n  pricing: {schema: x}", "rules.yaml:2:21: it is no file of rules: unknown field `schema`"),
            ("guardrails:\n- id: a\n  severity: 1", "rules.yaml:3:13: it is no file of rules: "),
            ("policies: {pricing: {kind: xml}}", "kind \"xml\" is none of JSON, YAML, CEDAR"),
            ("policies: {Pricing: {}}", "rules.yaml:1:12: Pricing: "),
            ("tests: [{content: a, policy: B}]", "rules.yaml:1:30: B: "),
            ("policies: {pricing: {json_schema: absent.json}}", "failed to read"),
            ("guardrails: [{id: A, expression: x, severity: DENY}]", "rules.yaml:1:19: "),
            ("guardrails: [", "rules.yaml:1:"),
            ("policies: {pricing: {json_schema: broken.json}}", "broken.json:2:11: "),
            ("policies: {pricing: {json_schema: empty.json}}", "empty.json:1:1: empty document"),
        ] {
            let error = read_text(text).expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
