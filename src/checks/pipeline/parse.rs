//! The check `parse`: a content is a document of its policy's kind, or files of it.

use serde_json::Map;

use super::step::{Input, Step};
use crate::checks::content_tar::{self, ContentFile, ContentTarFailure};
use crate::checks::document::{self, Document, parse};
use crate::checks::engine::{Engine, TextFile, file_name, has_extension, is_cedar_schema};
use crate::checks::evaluation::{Task, TaskAnswer, TaskOutcome};
use crate::checks::parse_failure::ParseFailure;
use crate::domain::counted_noun::counted_noun;
use crate::domain::digest::Digest;
use crate::domain::limits::CHECK_FINDINGS_MAX;
use crate::domain::policy::PolicyKind;
use crate::domain::report::{Check, CheckFinding, CheckResult, PARSE_CHECK, Severity};

const CORRECT_IT: &str = "correct it there and draft it again";

/// How the check goes on, and what later checks look at.
pub(super) struct Parsed {
    pub(super) step: Step,
    pub(super) document: Option<Document>,
    pub(super) texts: Vec<TextFile>,
}

impl Parsed {
    fn done(check: Check, document: Option<Document>) -> Self {
        Self { step: Step::Done(check), document, texts: Vec::new() }
    }

    fn failed(finding: CheckFinding) -> Self {
        Self::done(Check::of(PARSE_CHECK, CheckResult::Failed, vec![finding]), None)
    }

    /// Returns a content that is not parsed.
    pub(super) fn skipped(why: &str) -> Self {
        Self::done(Check::new(PARSE_CHECK, CheckResult::Skipped, why), None)
    }
}

/// Parses a content whose size is within the limits.
pub(super) fn check(input: &Input<'_>) -> Parsed {
    if let Err(error) = input.kind.check_content_type(input.content_type.unwrap_or_default()) {
        let check = Check::new(PARSE_CHECK, CheckResult::Failed, error.message);
        return Parsed::done(check.with_hint("draft it again with a media type of the policy's kind"), None);
    }
    parse_content(input.kind, input.has_several_files, input.content)
}

/// Parses a content of a kind, whatever its media type.
pub(super) fn parse_content(kind: PolicyKind, has_several_files: bool, content: &[u8]) -> Parsed {
    if has_several_files && kind.may_have_several_files() {
        return match content_tar::read(content).and_then(|files| check_names(kind, &files).map(|()| files)) {
            Ok(files) if kind == PolicyKind::Json => parse_documents(&files),
            Ok(files) => parse_texts(kind, &files),
            Err(ContentTarFailure { file, message }) => {
                let hint = "`policyhub draft DIR` makes a content of the files of a directory";
                Parsed::failed(CheckFinding::new(Severity::Error, message).in_file(file).with_hint(hint))
            }
        };
    }
    if matches!(kind, PolicyKind::Cedar | PolicyKind::Rego) {
        return parse_texts(kind, &[ContentFile { path: String::new(), bytes: content }]);
    }
    match parse(kind, content) {
        Ok(None) => Parsed::skipped("OPAQUE content is not parsed"),
        Ok(document) => {
            let several = document.as_ref().and_then(|document| document.stream);
            let found =
                several.map_or("one well-formed document".to_owned(), |count| format!("{count} well-formed documents"));
            Parsed::done(Check::new(PARSE_CHECK, CheckResult::Passed, found), document)
        }
        Err(failure) => Parsed::failed(finding(failure)),
    }
}

fn finding(failure: ParseFailure) -> CheckFinding {
    let ParseFailure { message, line, column, pointer } = failure;
    CheckFinding::new(Severity::Error, message).at_pointer(pointer).at_place(line, column).with_hint(CORRECT_IT)
}

/// Checks that every file is one that the kind has a meaning for: otherwise a file with a typing error in its name would be no
/// policy, and nobody would be told.
fn check_names(kind: PolicyKind, files: &[ContentFile<'_>]) -> Result<(), ContentTarFailure> {
    let is_known = |path: &str| match kind {
        PolicyKind::Cedar => has_extension(path, "cedar") || is_cedar_schema(path),
        PolicyKind::Rego => has_extension(path, "rego") || file_name(path) == "data.json",
        _ => has_extension(path, "json"),
    };
    let known = match kind {
        PolicyKind::Cedar => "*.cedar, and one *.cedarschema or schema.json",
        PolicyKind::Rego => "*.rego and data.json",
        _ => "*.json",
    };
    if let Some(odd) = files.iter().find(|file| !is_known(&file.path)) {
        let message = format!("the files of a {} policy are {known}", kind.as_str());
        return Err(ContentTarFailure { file: odd.path.clone(), message });
    }
    let mut schemas = files.iter().filter(|file| kind == PolicyKind::Cedar && is_cedar_schema(&file.path));
    match (schemas.next(), schemas.next()) {
        (Some(first), Some(second)) => {
            let message = format!("a second schema: {} is one too", first.path);
            Err(ContentTarFailure { file: second.path.clone(), message })
        }
        _ => Ok(()),
    }
}

/// Parses each file as a JSON document.
fn parse_documents(files: &[ContentFile<'_>]) -> Parsed {
    let (mut documents, mut errors) = (Map::new(), Vec::new());
    for file in files {
        match parse(PolicyKind::Json, file.bytes) {
            Ok(parsed) => {
                _ = documents.insert(file.path.clone(), parsed.map(|parsed| parsed.value).unwrap_or_default())
            }
            Err(failure) => errors.push(finding(failure).in_file(file.path.clone())),
        }
    }
    if !errors.is_empty() {
        return Parsed::done(Check::of(PARSE_CHECK, CheckResult::Failed, errors), None);
    }
    let summary = CheckFinding::new(Severity::Info, format!("{} well-formed documents", files.len()));
    let check = Check::of(PARSE_CHECK, CheckResult::Passed, with_list(vec![summary], listed(files)));
    Parsed::done(check, Some(Document::of_files(documents)))
}

/// Asks a worker to parse the texts of a content: the parser of an engine has no bound on its stack.
fn parse_texts(kind: PolicyKind, files: &[ContentFile<'_>]) -> Parsed {
    let Some(engine) = Engine::of(kind) else {
        let message = format!("this build has no parser for {} policies", kind.as_str());
        return Parsed::done(Check::new(PARSE_CHECK, CheckResult::Failed, message), None);
    };
    let mut texts = Vec::new();
    for ContentFile { path, bytes } in files {
        match document::text(bytes) {
            Ok(text) => texts.push(TextFile { path: path.clone(), text: text.to_owned() }),
            Err(failure) => return Parsed::failed(finding(failure).in_file(path.clone())),
        }
    }
    let list = if files.iter().any(|file| !file.path.is_empty()) { listed(files) } else { Vec::new() };
    let step = Step::evaluate(vec![Task::ParsePolicies(engine)], move |outcomes| {
        conclude(kind, outcomes.into_iter().next(), list)
    });
    Parsed { step, document: None, texts }
}

fn conclude(kind: PolicyKind, outcome: Option<TaskOutcome>, list: Vec<CheckFinding>) -> Check {
    let failed = |message: String| Check::new(PARSE_CHECK, CheckResult::Failed, message);
    match outcome {
        Some(TaskOutcome::Answered(TaskAnswer::Findings(findings))) => match CheckResult::of(&findings) {
            CheckResult::Failed => Check::of(PARSE_CHECK, CheckResult::Failed, findings),
            result => Check::of(PARSE_CHECK, result, with_list(findings, list)),
        },
        Some(TaskOutcome::Answered(TaskAnswer::Unusable(why))) => failed(why),
        Some(TaskOutcome::OverLimit(limit)) => {
            failed(limit.message(&format!("parsing {}", kind.as_str()))).with_hint("simplify the content")
        }
        // A check that was not answered must not pass.
        Some(TaskOutcome::NotRun) | None => failed("not parsed".to_owned()),
    }
}

/// Returns a finding for each file: its path, digest and size.
fn listed(files: &[ContentFile<'_>]) -> Vec<CheckFinding> {
    let of = |file: &ContentFile<'_>| {
        let message = format!("{}, {} bytes", Digest::of_bytes(file.bytes), file.bytes.len());
        CheckFinding::new(Severity::Info, message).in_file(file.path.clone())
    };
    files.iter().map(of).collect()
}

/// Adds a list of files to findings, as much of it as a check may have. The last finding then says how many are left.
fn with_list(mut findings: Vec<CheckFinding>, mut list: Vec<CheckFinding>) -> Vec<CheckFinding> {
    let free = CHECK_FINDINGS_MAX.saturating_sub(findings.len());
    if list.len() > free {
        let left = list.split_off(free.saturating_sub(1)).len();
        list.push(CheckFinding::new(Severity::Info, format!("and {}", counted_noun(left, "more file", "more files"))));
    }
    findings.append(&mut list);
    findings
}
