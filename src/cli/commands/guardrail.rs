//! `policyhub guardrail`

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};

use crate::cli::arguments::MutationArguments;
use crate::cli::commands::guardrail_test::TestGuardrails;
use crate::cli::exit_code::UsageError;
use crate::cli::output::document::say;
use crate::cli::output::rule_trial::TrialAnswer;
use crate::cli::output::text;
use crate::cli::rules_file;
use crate::cli::session::Session;
use crate::client::pb;
use crate::domain::guardrail::{Guardrail, GuardrailSeverity};

/// What to do with guardrails.
#[derive(Debug, Subcommand)]
pub enum GuardrailCommands {
    /// The guardrails that hold in a namespace
    List(ListGuardrails),
    /// Add a guardrail, or replace the one with its id
    Set(SetGuardrail),
    /// Replace all guardrails by those of a file
    Apply(ApplyGuardrails),
    /// Remove a guardrail
    Delete(DeleteGuardrail),
    Test(TestGuardrails),
}

/// What a broken guardrail does.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum SeverityArgument {
    /// It refuses the version
    Deny,
    /// It is a warning
    Warn,
}

/// The guardrails that hold in a namespace
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  policyhub guardrail list\n  policyhub guardrail list --all-namespaces --output json"
)]
pub struct ListGuardrails {
    #[command(flatten)]
    scope: GuardrailScope,
}

/// Add a guardrail, or replace the one with its id
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    policyhub guardrail set discount-ceiling --expression 'content.discount.max_percent <= 20' \\\n    \
 --message 'a discount of {content.discount.max_percent} % is over 20 %' --reason 'finance'\n  \
    policyhub guardrail set no-wildcard --for-each '/rules/*' --expression \"value.principal != '*'\" --validate-only")]
pub struct SetGuardrail {
    /// Id of the guardrail
    id: String,
    /// CEL expression that is true when the rule holds
    #[arg(long, value_name = "CEL")]
    expression: String,
    /// What happens when it does not hold
    #[arg(long, value_enum, default_value = "deny")]
    severity: SeverityArgument,
    /// What the author of a refused version reads; {expression} is replaced by its value
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    message: String,
    /// Evaluate it for each value of this JSON Pointer, in which * stands for every member
    #[arg(long, value_name = "POINTER", default_value = "", hide_default_value = true)]
    for_each: String,
    #[command(flatten)]
    change: GuardrailChange,
}

/// Replace all guardrails by those of a file
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub guardrail apply guardrails.yaml --reason 'reviewed in git'")]
pub struct ApplyGuardrails {
    /// YAML or JSON file with a list `guardrails`; what else a file of rules has is left out
    file: PathBuf,
    #[command(flatten)]
    change: GuardrailChange,
}

/// Remove a guardrail
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub guardrail delete discount-ceiling --reason 'checked elsewhere'")]
pub struct DeleteGuardrail {
    /// Id of the guardrail
    id: String,
    #[command(flatten)]
    change: GuardrailChange,
}

/// Whose guardrails.
#[derive(Debug, Args)]
struct GuardrailScope {
    /// Those of the store, which hold in all namespaces
    #[arg(long)]
    all_namespaces: bool,
}

/// The arguments of every change.
#[derive(Debug, Args)]
struct GuardrailChange {
    #[command(flatten)]
    scope: GuardrailScope,
    /// Why
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    mutation: MutationArguments,
}

impl GuardrailScope {
    fn name(&self, session: &Session) -> String {
        let scope = if self.all_namespaces { "namespaces/-".to_owned() } else { session.namespace.name() };
        format!("{scope}/guardrails")
    }
}

/// Runs the command.
pub async fn run(session: &Session, command: GuardrailCommands) -> anyhow::Result<()> {
    match command {
        GuardrailCommands::List(arguments) => list(session, &arguments).await,
        GuardrailCommands::Set(arguments) => {
            let SetGuardrail { id, expression, severity, message, for_each, change } = arguments;
            let severity = match severity {
                SeverityArgument::Deny => GuardrailSeverity::Deny,
                SeverityArgument::Warn => GuardrailSeverity::Warn,
            };
            let new = pb::Guardrail::from(Guardrail { id, expression, severity, message, for_each });
            let before = read_set(session, &change.scope).await?;
            let mut set = before.clone();
            match set.guardrails.iter_mut().find(|each| each.id == new.id) {
                Some(same) => *same = new,
                None => set.guardrails.push(new),
            }
            update(session, &before, set, change).await
        }
        GuardrailCommands::Apply(arguments) => {
            let rules = rules_file::read(&arguments.file).map_err(|error| UsageError(error.to_string()))?;
            if rules.has_policies() {
                say("only the guardrails are applied: the settings of a policy are set by `policyhub policy update`");
            }
            let guardrails = rules.guardrails.into_iter().map(Into::into).collect();
            let before = read_set(session, &arguments.change.scope).await?;
            let set = pb::Guardrails { guardrails, ..before.clone() };
            update(session, &before, set, arguments.change).await
        }
        GuardrailCommands::Delete(arguments) => {
            let before = read_set(session, &arguments.change.scope).await?;
            let mut set = before.clone();
            set.guardrails.retain(|each| each.id != arguments.id);
            if set.guardrails.len() == before.guardrails.len() {
                let is_of_store = arguments.change.scope.all_namespaces;
                let list = if is_of_store { "guardrail list --all-namespaces" } else { "guardrail list" };
                let list = session.commands.command(list);
                anyhow::bail!("there is no guardrail {} in {}: see `{list}`", arguments.id, set.name);
            }
            update(session, &before, set, arguments.change).await
        }
        GuardrailCommands::Test(_) => anyhow::bail!("this command needs no server"),
    }
}

async fn get(session: &Session, scope: &GuardrailScope) -> anyhow::Result<pb::GetGuardrailsResponse> {
    let request = pb::GetGuardrailsRequest { name: scope.name(session) };
    session.client.get_guardrails(request).await.context("failed to read the guardrails")
}

/// Reads the set that a change is based on: its etag refuses the change when somebody else was faster.
async fn read_set(session: &Session, scope: &GuardrailScope) -> anyhow::Result<pb::Guardrails> {
    get(session, scope).await?.guardrails.context("the server sent no guardrails")
}

async fn list(session: &Session, arguments: &ListGuardrails) -> anyhow::Result<()> {
    let response = get(session, &arguments.scope).await?;
    session.output.print(&response, |response| {
        let sets = [("store", &response.store_guardrails), ("namespace", &response.guardrails)];
        let rows = sets.into_iter().flat_map(|(scope, set)| {
            let scope = if arguments.scope.all_namespaces { "store" } else { scope };
            set.iter().flat_map(|set| &set.guardrails).map(move |each| row(scope, each))
        });
        text::table(&["GUARDRAIL", "SEVERITY", "OF", "FOR EACH", "EXPRESSION"], &rows.collect::<Vec<_>>())
    })
}

fn row(scope: &str, guardrail: &pb::Guardrail) -> Vec<String> {
    vec![
        text::line(&guardrail.id),
        text::word(guardrail.severity().as_str_name(), "GUARDRAIL_SEVERITY_").to_owned(),
        scope.to_owned(),
        text::line(&guardrail.for_each),
        text::line(&guardrail.expression),
    ]
}

async fn update(
    session: &Session,
    before: &pb::Guardrails,
    set: pb::Guardrails,
    change: GuardrailChange,
) -> anyhow::Result<()> {
    let changes = changes(&before.guardrails, &set.guardrails);
    let request_id = change.mutation.request_id();
    let validate_only = change.mutation.validate_only;
    let request = pb::UpdateGuardrailsRequest {
        guardrails: Some(set),
        reason: change.reason,
        request_id: request_id.clone(),
        validate_only,
    };
    let response = session.client.update_guardrails(request).await.context("failed to change the guardrails")?;
    session.output.print_mutation(&response, &request_id, |response| summary(response, validate_only) + &changes)
}

/// Returns which guardrails a change adds, replaces and removes, a line for each kind.
fn changes(before: &[pb::Guardrail], after: &[pb::Guardrail]) -> String {
    fn find<'a>(set: &'a [pb::Guardrail], id: &str) -> Option<&'a pb::Guardrail> {
        set.iter().find(|each| each.id == id)
    }
    let ids = |set: &[pb::Guardrail], is_listed: &dyn Fn(&pb::Guardrail) -> bool| {
        let ids: Vec<String> = set.iter().filter(|each| is_listed(each)).map(|each| text::line(&each.id)).collect();
        ids.join(", ")
    };
    let lines = [
        ("added", ids(after, &|new| find(before, &new.id).is_none())),
        ("replaced", ids(after, &|new| find(before, &new.id).is_some_and(|old| old != new))),
        ("removed", ids(before, &|old| find(after, &old.id).is_none())),
    ];
    let lines: String =
        lines.iter().filter(|(_, ids)| !ids.is_empty()).map(|(what, ids)| format!("{what}: {ids}\n")).collect();
    if lines.is_empty() { "they are the same as before\n".to_owned() } else { lines }
}

/// Returns how many guardrails there are now, and which published versions break them, as lines for a terminal.
fn summary(response: &pb::UpdateGuardrailsResponse, validate_only: bool) -> String {
    let count = response.guardrails.as_ref().map_or(0, |set| set.guardrails.len());
    let of = |count: usize, what: &str| if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") };
    let done = if validate_only { "would be set" } else { "set" };
    let at = text::at_revision(response.cursor);
    let trial = TrialAnswer {
        violations: &response.violations,
        not_listed: response.violations_not_listed,
        tried: response.versions_tried,
        not_tried: response.versions_not_tried,
    };
    format!("{} {done}{at}; {}\n{}", of(count, "guardrail"), trial.coverage(), trial.lines())
}
