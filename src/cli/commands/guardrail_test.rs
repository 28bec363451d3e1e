//! `policyhub guardrail test`: evaluates guardrails for the contents that a file of rules names, without a server.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use crate::checks::{self, TaskAnswer, TaskOutcome, guardrail_findings};
use crate::cli::content;
use crate::cli::exit_code::{CommandReason, UsageError};
use crate::cli::global::Global;
use crate::cli::output::document::print_text;
use crate::cli::output::text::line;
use crate::cli::rules_file::{self, GuardrailTest, RulesFile, RulesFileError};
use crate::client::name::{PolicyId, PolicyName};
use crate::domain::annotations::Annotations;
use crate::domain::policy::{Policy, PolicyKind};
use crate::domain::time::Micros;
use crate::server::local_checks::{LocalChecks, LocalVersion};

/// The policy of a test that names none.
const UNNAMED: &str = "test";

/// Evaluate guardrails for contents, and compare what does not hold with what is expected
///
/// A file of rules has a list `tests`; each of them names a content, and the ids of the guardrails that it breaks. No server is asked.
///
/// Exit codes: 0, every test passes; 1, one fails, or names a content that can't be read or does not parse; 2, a file of rules is not
/// there or is wrong. All others are tested first.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub guardrail test examples/guardrails/*/guardrails.yaml")]
pub struct TestGuardrails {
    /// YAML or JSON file with the lists `guardrails` and `tests`
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// How a test ended.
struct Tested {
    file: String,
    content: String,
    expected: Vec<String>,
    broken: Vec<String>,
    messages: Vec<String>,
    /// Why the guardrails were not evaluated: a content can't be read, or does not parse, and so proves nothing.
    fault: Option<String>,
}

impl Tested {
    fn passed(&self) -> bool {
        self.fault.is_none() && self.expected == self.broken
    }
}

/// Runs the command.
pub async fn run(global: &Global, arguments: &TestGuardrails) -> anyhow::Result<()> {
    let checks = LocalChecks::default();
    let (mut all, mut wrong) = (Vec::new(), Vec::new());
    for path in &arguments.files {
        match read(path) {
            Ok(file) => {
                for test in &file.tests {
                    all.push(tested(global, &checks, path, &file, test).await?);
                }
            }
            // As `policyhub check` does: the others are tested first.
            Err(error) => wrong.push(error.to_string()),
        }
    }
    let failed = all.iter().filter(|test| !test.passed()).count();
    if global.output.is_document() {
        let tests = all.iter().map(|test| {
            json!({"file": test.file, "content": test.content, "passed": test.passed(), "expected": test.expected,
                "broken": test.broken, "messages": test.messages, "error": test.fault.as_deref().unwrap_or_default()})
        });
        global.output.print_document(&json!({"tests": tests.collect::<Vec<_>>()}))?;
    } else {
        print_text(&all.iter().map(lines).collect::<String>())?;
    }
    anyhow::ensure!(wrong.is_empty(), UsageError(wrong.join("\n")));
    if failed > 0 {
        return Err(CommandReason::TestFailed.error(format!("{failed} of {} tests failed", all.len())));
    }
    Ok(())
}

/// Reads a file of rules with tests.
fn read(path: &Path) -> Result<RulesFile, UsageError> {
    let file = rules_file::read(path).map_err(|error| UsageError(error.to_string()))?;
    let usage = |why: String| UsageError(RulesFileError::new(path, why).to_string());
    if file.tests.is_empty() {
        return Err(usage("it has no tests".to_owned()));
    }
    for id in file.tests.iter().flat_map(|test| &test.breaks) {
        if !file.guardrails.iter().any(|guardrail| guardrail.id == *id) {
            return Err(usage(format!("a test names {id}, and there is no such guardrail")));
        }
    }
    Ok(file)
}

fn lines(test: &Tested) -> String {
    let result = if test.passed() { "PASSED" } else { "FAILED" };
    let (file, content) = (line(&test.file), line(&test.content));
    if let Some(fault) = &test.fault {
        return format!("{result} {file}: {content} is not tested\n  {}\n", line(fault));
    }
    let listed = |ids: &[String]| if ids.is_empty() { "nothing".to_owned() } else { ids.join(", ") };
    let mut text = format!("{result} {file}: {content} breaks {}\n", listed(&test.broken));
    if !test.passed() {
        text.push_str(&format!("  expected: {}\n", listed(&test.expected)));
    }
    for message in &test.messages {
        text.push_str(&format!("  {}\n", line(message)));
    }
    text
}

async fn tested(
    global: &Global,
    checks: &LocalChecks,
    path: &Path,
    file: &RulesFile,
    test: &GuardrailTest,
) -> anyhow::Result<Tested> {
    let (mut broken, mut messages) = (Vec::new(), Vec::new());
    let policy = policy(global, file, test)?;
    let (outcomes, mut fault) = match version(policy, file, test) {
        Ok(version) => (checks.try_guardrails(version).await?, None),
        Err(why) => (Vec::new(), Some(why)),
    };
    for (guardrail, outcome) in file.guardrails.iter().zip(outcomes) {
        if let Some(why) = why_unusable(&outcome) {
            // One that evaluates nothing would break for every content, and prove nothing.
            fault.get_or_insert_with(|| format!("the guardrail {} does not compile: {why}", guardrail.id));
            continue;
        }
        let found = guardrail_findings(&guardrail.id, guardrail.severity, outcome);
        if !found.is_empty() {
            broken.push(guardrail.id.clone());
        }
        messages.extend(found.into_iter().map(|each| each.message));
    }
    let mut expected = test.breaks.clone();
    expected.sort_unstable();
    expected.dedup();
    broken.sort_unstable();
    let (file, content) = (path.display().to_string(), test.content.display().to_string());
    Ok(Tested { file, content, expected, broken, messages, fault })
}

/// Returns why a guardrail can be evaluated for no content; none: it can.
fn why_unusable(outcome: &TaskOutcome) -> Option<String> {
    match outcome {
        TaskOutcome::Answered(TaskAnswer::Unusable(why)) => Some(why.clone()),
        TaskOutcome::Answered(TaskAnswer::Findings(_)) | TaskOutcome::OverLimit(_) | TaskOutcome::NotRun => None,
    }
}

/// Reads a content that a test names. One that does not parse would break every guardrail, and prove nothing.
fn document(kind: PolicyKind, path: &Path) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let content = content::read(path).map_err(|error| format!("{shown}: failed to read it: {}", error.root_cause()))?;
    checks::parse(kind, &content)
        .map_err(|failure| format!("{shown}:{}:{}: {}", failure.line, failure.column, failure.message))?;
    Ok(content)
}

fn policy(global: &Global, file: &RulesFile, test: &GuardrailTest) -> anyhow::Result<Policy> {
    let policy = PolicyId::parse("policy", test.policy.as_deref().unwrap_or(UNNAMED))?;
    let by_name = || PolicyKind::of_content_type(content::type_of(&test.content));
    let kind = file.kind(&policy).unwrap_or_else(by_name);
    let mut policy = Policy::new(PolicyName { namespace: global.namespace()?, policy }, kind, Micros(0));
    file.apply(&mut policy);
    Ok(policy)
}

fn version(policy: Policy, file: &RulesFile, test: &GuardrailTest) -> Result<LocalVersion, String> {
    let kind = policy.kind;
    // As OPAQUE it would break whatever looks into `content`, which proves nothing of what it holds.
    if content::type_of(&test.content).is_empty() && file.kind(&policy.name.policy).is_none() {
        let shown = test.content.display();
        return Err(format!("{shown}: its name does not say what it holds: name a policy with a `kind` in the file"));
    }
    let active = match &test.active {
        Some(path) => Some((None, content::type_of(path).to_owned(), document(kind, &file.path(path))?.into())),
        None => None,
    };
    Ok(LocalVersion {
        policy,
        content: document(kind, &file.path(&test.content))?.into(),
        content_type: content::type_of(&test.content).to_owned(),
        label: None,
        annotations: Annotations::default(),
        requires: Vec::new(),
        guardrails: file.guardrails.clone(),
        published_labels: Vec::new(),
        active,
    })
}
