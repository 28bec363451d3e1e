//! Cedar: parses policies and schema, and validates the policies against the schema, each finding with its place.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{PolicyId, PolicySet, Schema, ValidationMode, Validator};
use miette::Diagnostic;

use super::texts::{TextFile, has_extension, is_cedar_schema};
use crate::checks::check_limit::ANSWER_FINDINGS_MAX;
use crate::checks::parse_failure::{DOES_NOT_PARSE, place, shortened};
use crate::domain::counted_noun::counted_noun;
use crate::domain::report::{CheckFinding, Severity};

/// The annotation that names a policy.
const ID: &str = "id";

/// What the texts of a content hold.
struct Parsed<'a> {
    policies: PolicySet,
    /// The text that each policy is from.
    origins: BTreeMap<PolicyId, &'a TextFile>,
    schema: Option<Schema>,
    warnings: Vec<CheckFinding>,
}

/// Parses every text, and names the policies.
pub(super) fn parse(files: &[TextFile]) -> Vec<CheckFinding> {
    match read(files) {
        Ok(parsed) => vec![CheckFinding::new(Severity::Info, described(&parsed))],
        Err(findings) => findings,
    }
}

fn described(parsed: &Parsed<'_>) -> String {
    let names: Vec<String> = parsed.origins.keys().map(ToString::to_string).collect();
    let schema = if parsed.schema.is_some() { ", and a schema" } else { "" };
    let policies = counted_noun(names.len(), "policy", "policies");
    shortened(&format!("Cedar: {policies}{schema}: {}", names.join(", ")))
}

/// Validates the policies in strict mode. Without a schema it finds nothing.
pub(super) fn validate(files: &[TextFile]) -> Result<Vec<CheckFinding>, &'static str> {
    let Ok(Parsed { policies, origins, schema, warnings }) = read(files) else {
        return Err(DOES_NOT_PARSE);
    };
    let Some(schema) = schema else { return Ok(Vec::new()) };
    let result = Validator::new(schema).validate(&policies, ValidationMode::Strict);
    let found = |severity, id: &PolicyId, diagnostic: &dyn Diagnostic| {
        let nowhere = TextFile { path: String::new(), text: String::new() };
        finding(severity, origins.get(id).copied().unwrap_or(&nowhere), diagnostic)
    };
    let errors = result.validation_errors().map(|error| found(Severity::Error, error.policy_id(), error));
    let mut findings: Vec<CheckFinding> = sorted(errors.collect());
    let own_warnings = result.validation_warnings().map(|each| found(Severity::Warning, each.policy_id(), each));
    findings.extend(sorted(own_warnings.collect()));
    findings.extend(warnings);
    findings.truncate(ANSWER_FINDINGS_MAX);
    Ok(findings)
}

/// Orders findings by their place: the order of the library is that of a hash table, and differs from run to run.
fn sorted(mut findings: Vec<CheckFinding>) -> Vec<CheckFinding> {
    findings.sort_by_cached_key(|each| (each.file.clone(), each.line, each.column, each.message.clone()));
    findings
}

/// Reads all texts, or returns what is wrong with them.
fn read(files: &[TextFile]) -> Result<Parsed<'_>, Vec<CheckFinding>> {
    let mut parsed =
        Parsed { policies: PolicySet::new(), origins: BTreeMap::new(), schema: None, warnings: Vec::new() };
    let mut errors = Vec::new();
    let mut names = BTreeSet::new();
    for file in files {
        let read = if is_cedar_schema(&file.path) {
            read_schema(file, &mut parsed)
        } else {
            read_policies(file, &mut parsed, &mut names)
        };
        errors.extend(read.err().unwrap_or_default());
    }
    if errors.is_empty() {
        return Ok(parsed);
    }
    errors.truncate(ANSWER_FINDINGS_MAX);
    Err(errors)
}

fn read_schema(file: &TextFile, parsed: &mut Parsed<'_>) -> Result<(), Vec<CheckFinding>> {
    let failed = |error: &dyn Diagnostic| vec![finding(Severity::Error, file, error)];
    if !has_extension(&file.path, "cedarschema") {
        parsed.schema = Some(Schema::from_json_str(&file.text).map_err(|error| failed(&error))?);
        return Ok(());
    }
    let (schema, warnings) = Schema::from_cedarschema_str(&file.text).map_err(|error| failed(&error))?;
    parsed.schema = Some(schema);
    parsed.warnings.extend(warnings.map(|warning| finding(Severity::Warning, file, &warning)));
    Ok(())
}

fn read_policies<'a>(
    file: &'a TextFile,
    parsed: &mut Parsed<'a>,
    names: &mut BTreeSet<String>,
) -> Result<(), Vec<CheckFinding>> {
    let own: PolicySet = file.text.parse().map_err(|errors: cedar_policy::ParseErrors| {
        errors.iter().take(ANSWER_FINDINGS_MAX).map(|error| finding(Severity::Error, file, error)).collect::<Vec<_>>()
    })?;
    let failed = |error: cedar_policy::PolicySetError| vec![finding(Severity::Error, file, &error)];
    // In the order of the text: the library gives policy10 before policy9.
    let mut policies: Vec<_> = own.policies().collect();
    policies.sort_by_key(|policy| number_of(policy.id()));
    for policy in policies {
        let id = name(names, policy.annotation(ID));
        parsed.policies.add(policy.new_id(id.clone())).map_err(failed)?;
        parsed.origins.insert(id, file);
    }
    let mut templates: Vec<_> = own.templates().collect();
    templates.sort_by_key(|template| number_of(template.id()));
    for template in templates {
        let id = name(names, template.annotation(ID));
        parsed.policies.add_template(template.new_id(id.clone())).map_err(failed)?;
        parsed.origins.insert(id, file);
    }
    Ok(())
}

/// Returns the number of a policy in its text: its id is `policy` and a number.
fn number_of(id: &PolicyId) -> usize {
    id.to_string().trim_start_matches("policy").parse().unwrap_or(usize::MAX)
}

/// Returns the name of a policy in findings: its annotation `@id` if no other policy has it, else a number in the content.
fn name(names: &mut BTreeSet<String>, annotation: Option<&str>) -> PolicyId {
    let own = annotation.filter(|own| !own.is_empty() && !names.contains(*own)).map(ToOwned::to_owned);
    let numbered = (names.len()..).map(|number| format!("policy{number}")).find(|each| !names.contains(each));
    let name = own.or(numbered).unwrap_or_default();
    names.insert(name.clone());
    PolicyId::new(name)
}

fn finding(severity: Severity, file: &TextFile, diagnostic: &dyn Diagnostic) -> CheckFinding {
    let mut labels = diagnostic.labels().into_iter().flatten();
    let (line, column) = match labels.next() {
        Some(label) => place(file.text.as_bytes(), label.offset()),
        None => (0, 0),
    };
    let hint = match (diagnostic.help(), severity) {
        (Some(help), _) => shortened(&help.to_string()),
        (None, Severity::Error) => "correct it there and draft it again".to_owned(),
        (None, _) => String::new(),
    };
    CheckFinding::new(severity, shortened(&diagnostic.to_string()))
        .in_file(file.path.clone())
        .at_place(line, column)
        .with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str =
        "entity User { age: Long }; entity Photo;\naction view appliesTo { principal: User, resource: Photo };";

    fn file(path: &str, text: &str) -> TextFile {
        TextFile { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn policies_are_named_by_their_annotation_or_number() {
        let text = "permit(principal, action, resource);\n@id(\"no\") forbid(principal, action, resource);\n\
                    @id(\"no\") permit(principal == ?principal, action, resource);";
        let found = parse(&[file("a.cedar", text), file("b.cedar", "permit(principal, action, resource);")]);
        assert_eq!(found[0].message, "Cedar: 4 policies: no, policy0, policy2, policy3");
        assert_eq!(found[0].severity, Severity::Info);
    }

    #[test]
    fn parse_errors_have_their_file_and_place() {
        let bad = "permit(principal, action, resource)\nwhen { \"é\" == };";
        let found = parse(&[file("good.cedar", ""), file("bad.cedar", bad)]);
        assert_eq!((found[0].file.as_str(), found[0].line, found[0].column), ("bad.cedar", 2, 15), "{found:?}");
        assert_eq!(found[0].severity, Severity::Error);
        assert_eq!(validate(&[file("bad.cedar", bad)]), Err(DOES_NOT_PARSE));
        let found = parse(&[file("x.cedarschema", "entity User = ;")]);
        assert_eq!((found[0].file.as_str(), found[0].line, found[0].severity), ("x.cedarschema", 1, Severity::Error));
        let found = parse(&[file("schema.json", "{\"\": 1}")]);
        assert_eq!((found[0].file.as_str(), found[0].severity), ("schema.json", Severity::Error));
    }

    #[test]
    fn a_schema_finds_what_can_never_hold() {
        let policy = "permit(principal, action == Action::\"view\", resource)\n  when { principal.agee > 1 };\n\
                      permit(principal, action == Action::\"edit\", resource);";
        let found = validate(&[file("p.cedar", policy), file("p.cedarschema", SCHEMA)]).expect("it parses");
        let errors: Vec<_> = found.iter().filter(|each| each.severity == Severity::Error).collect();
        assert_eq!(errors.len(), 2, "{found:?}");
        assert_eq!((errors[0].file.as_str(), errors[0].line, errors[0].column), ("p.cedar", 2, 10), "{found:?}");
        assert_eq!(errors[1].line, 3);
        let good = "permit(principal, action == Action::\"view\", resource) when { principal.age > 17 };";
        assert_eq!(validate(&[file("p.cedar", good), file("p.cedarschema", SCHEMA)]), Ok(Vec::new()));
        let never = "permit(principal, action == Action::\"view\", resource) when { false };";
        let found = validate(&[file("p.cedar", never), file("p.cedarschema", SCHEMA)]).expect("it parses");
        assert_eq!((found.len(), found[0].severity, found[0].line), (1, Severity::Warning, 1), "{found:?}");
        assert_eq!(validate(&[file("", policy)]), Ok(Vec::new()), "nothing is validated without a schema");
    }

    #[test]
    fn findings_are_bounded() {
        let text = "permit(principal, action == Action::\"none\", resource);\n".repeat(100);
        assert_eq!(
            validate(&[file("p.cedar", &text), file("s.cedarschema", SCHEMA)]).expect("it parses").len(),
            ANSWER_FINDINGS_MAX
        );
        let name = "n".repeat(10_000);
        let found = parse(&[file("p.cedar", &format!("permit({name});"))]);
        assert!(found[0].message.chars().count() < 500, "{found:?}");
    }
}
