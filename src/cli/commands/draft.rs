//! `policyhub draft`

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use crate::checks;
use crate::cli::arguments::MutationArguments;
use crate::cli::commands::annotations::{annotation, once_each};
use crate::cli::commands::bump::{BumpPart, next_label};
use crate::cli::commands::policy::PolicyKindArgument;
use crate::cli::commands::requirements::{self, requirement};
use crate::cli::exit_code::{CommandError, CommandReason, UsageError};
use crate::cli::names::{NamedVersion, PolicyOrVersionTarget, VersionTarget, policy_id, policy_name, version_name};
use crate::cli::output::document::{Format, say};
use crate::cli::output::{next_step, text};
use crate::cli::session::Session;
use crate::cli::{content, content_folder};
use crate::client::name::{PolicyId, VersionRef};
use crate::client::{ClientError, PolicyKind, pb};
use crate::domain::policy::FILES_CONTENT_TYPE;

/// Write the next version of a policy, as a draft
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  policyhub draft pricing pricing.yaml --label 1.2.0 --note 'raise the cap' --create\n  \
                  policyhub draft refunds-eu --from-template refunds --set region=eu --set limit=500 --create"
)]
pub struct DraftArguments {
    /// Id of the policy
    #[arg(value_parser = policy_id)]
    policy: PolicyId,
    /// The content; - reads stdin; a directory is a content of several files, for CEDAR, REGO and JSON
    #[arg(required_unless_present = "from_template")]
    file: Option<PathBuf>,
    /// Let the server make the content of a template: its active version, or a published one as POLICY@N or POLICY@vLABEL
    #[arg(long, value_name = "TEMPLATE", conflicts_with_all = ["file", "content_type"])]
    from_template: Option<PolicyOrVersionTarget>,
    /// A parameter of the template; a value that is JSON is one of its type (500, true, [1], null), any other one is a text; more than
    /// once for more
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parameter, requires = "from_template", conflicts_with = "file")]
    parameters: Vec<(String, String)>,
    /// SemVer of the version
    #[arg(long)]
    label: Option<String>,
    /// Give the label after the highest published one; with none published, 1.0.0 for major and 0.1.0 else
    #[arg(long, value_enum, value_name = "PART", conflicts_with = "label")]
    bump: Option<BumpPart>,
    /// What changed and why
    #[arg(long)]
    note: Option<String>,
    /// What to say of the version by name, such as owner=team-a; more than once for more
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = annotation)]
    annotations: Vec<(String, String)>,
    /// Another policy, with the SemVer requirement that the label of its active version must satisfy while this version is active, such
    /// as pricing@^1.2; more than once for more
    #[arg(long = "requires", value_name = "POLICY@REQUIREMENT", value_parser = requirement)]
    requirements: Vec<pb::Requirement>,
    /// Media type [default: by the file's name, else that of the policy's kind]
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// Make the policy when it is absent, of --kind, else of the kind of the media type
    #[arg(long)]
    create: bool,
    /// Language of the policy: an existing policy must have it, --create makes one with it
    #[arg(long, value_enum)]
    kind: Option<PolicyKindArgument>,
    /// The version you started from: N, vLABEL, POLICY/vLABEL, active or latest
    #[arg(long, value_name = "VERSION")]
    base_version: Option<NamedVersion>,
    /// End the open version also when it is staged, in a policy that has one draft at a time
    #[arg(long)]
    supersede_staged: bool,
    #[command(flatten)]
    mutation: MutationArguments,
}

impl DraftArguments {
    /// Returns the given media type, else that of the file's name; empty when both are unknown, and then the kind decides.
    fn content_type(&self) -> String {
        let by_name = |file: &PathBuf| if file.is_dir() { FILES_CONTENT_TYPE } else { content::type_of(file) };
        let by_name = || self.file.as_ref().map(by_name).unwrap_or_default().to_owned();
        self.content_type.clone().unwrap_or_else(by_name)
    }

    /// Returns the kind of a policy that is made: the given one, else that of the files of a directory. `None`: the media type says it.
    fn kind(&self) -> Option<pb::PolicyKind> {
        let of_files =
            || content_folder::kind_of(self.file.as_ref()?).filter(|_| self.create).map(content_folder::written_kind);
        self.kind.map(Into::into).or_else(of_files)
    }

    /// Checks what needs no server, such as a new policy whose kind is unknown.
    pub fn check(&self) -> Result<(), UsageError> {
        let Some(file) = &self.file else { return Ok(()) };
        content::check(file)?;
        let is_unknown = self.content_type().is_empty() || (file.is_dir() && self.content_type.is_none());
        if self.create && self.kind().is_none() && is_unknown {
            return Err(UsageError(
                "with --create say what the content is, since its name does not: --kind yaml, json, cedar, rego or template, \
                 --kind opaque for bytes that are not checked, or --content-type TYPE"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    if path.is_dir() { Ok(content_folder::read(path)?) } else { content::read(path) }
}

/// Parses a parameter, `NAME=VALUE`, and returns its value as JSON. What is JSON stays as it is written, so that the server sees it whole.
/// A value that the server would refuse is refused here: the server sees the JSON of all parameters, and could not name this one.
fn parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(value).is_ok();
    if let Err(failure) = checks::parse(PolicyKind::Json, value.as_bytes())
        && is_json
    {
        return Err(format!("{name}: {}; to give it as a text: '{name}=\"…\"'", failure.message));
    }
    let value = if is_json { value.to_owned() } else { serde_json::Value::from(value).to_string() };
    Ok((name.to_owned(), value))
}

/// Returns the parameters as the text of a JSON object.
///
/// # Errors
/// One is given twice.
fn parameters(given: &[(String, String)]) -> Result<String, UsageError> {
    let mut names = BTreeSet::new();
    if let Some((twice, _)) = given.iter().find(|(name, _)| !names.insert(name)) {
        return Err(UsageError(format!("--set {twice} is given twice")));
    }
    let members = given.iter().map(|(name, value)| format!("{}:{value}", serde_json::Value::from(name.as_str())));
    Ok(format!("{{{}}}", members.collect::<Vec<_>>().join(",")))
}

/// Returns the number of the version that the draft starts from.
async fn base_number(session: &Session, base: VersionTarget) -> anyhow::Result<i64> {
    let found = base.number(&session.client, &session.namespace).await;
    let none_active = CommandReason::NoActiveVersion.as_str();
    let has_none = found.as_ref().is_err_and(|error| {
        error.chain().any(|cause| cause.downcast_ref().is_some_and(|call: &ClientError| call.reason() == none_active))
    });
    if has_none && matches!(base.version, VersionRef::Active) {
        let message = format!("failed to draft {}: it has no active version to start from", base.policy);
        let next = Some("draft it without --base-version");
        return Err(CommandError { reason: CommandReason::NoActiveVersion, message, next }.into());
    }
    found
}

/// Runs the command.
pub async fn run(session: &Session, arguments: DraftArguments) -> anyhow::Result<()> {
    let base_version = match &arguments.base_version {
        Some(base) => base_number(session, base.of(&arguments.policy)?).await?,
        None => 0,
    };
    let label = match arguments.bump {
        Some(part) => next_label(session, &arguments.policy, part).await?.to_string(),
        None => arguments.label.clone().unwrap_or_default(),
    };
    let kind = arguments.kind();
    let content_type = arguments.content_type();
    let content = arguments.file.as_deref().map(read).transpose()?.unwrap_or_default();
    let from_template = match &arguments.from_template {
        Some(template) => Some(pb::FromTemplate {
            template: template.name(&session.namespace),
            parameters: parameters(&arguments.parameters)?,
        }),
        None => None,
    };
    let request = pb::DraftRequest {
        parent: policy_name(&session.namespace, &arguments.policy),
        content: content.into(),
        content_type,
        from_template,
        label,
        change_note: arguments.note.unwrap_or_default(),
        annotations: once_each(&arguments.annotations)?,
        requires: arguments.requirements,
        base_version,
        request_id: arguments.mutation.request_id(),
        allow_missing: arguments.create,
        kind: kind.unwrap_or(pb::PolicyKind::Unspecified).into(),
        validate_only: arguments.mutation.validate_only,
        supersede_staged: arguments.supersede_staged,
        ..Default::default()
    };
    let is_dry_run = arguments.mutation.validate_only;
    let requires_nothing = request.requires.is_empty();
    send(session, &arguments.policy, request, is_dry_run, |_| {}).await?;
    if requires_nothing && !is_dry_run && session.output == Format::Text {
        say_what_is_no_longer_required(session, &arguments.policy).await;
    }
    Ok(())
}

/// Says what the active version requires, when the draft requires nothing. An error is ignored, because the draft was made.
async fn say_what_is_no_longer_required(session: &Session, policy: &PolicyId) {
    let name = version_name(&session.namespace, policy, &VersionRef::Active);
    let request = pb::GetVersionRequest { name, view: pb::VersionView::Basic.into() };
    let Ok(pb::GetVersionResponse { version: Some(active) }) = session.client.get_version(request).await else {
        return;
    };
    if !active.requires.is_empty() {
        let requires = requirements::line(&active.requires);
        say(&format!("it requires nothing; {policy}@{} requires {requires}: --requires keeps that", active.version));
    }
}

/// Sends a draft, prints the answer, and says what to do next. `drafted` is called once the server has answered.
///
/// # Errors
/// The server refuses it, or the answer can't be printed.
pub async fn send(
    session: &Session,
    policy: &PolicyId,
    request: pb::DraftRequest,
    is_dry_run: bool,
    drafted: impl FnOnce(&pb::DraftResponse),
) -> anyhow::Result<()> {
    let request_id = request.request_id.clone();
    let response = session.client.draft(request).await;
    let response = response.with_context(|| format!("failed to draft {policy}"))?;
    drafted(&response);
    session.output.print_mutation(&response, &request_id, |response| {
        let version = response.version.as_ref().map(text::version).unwrap_or_default();
        format!("{version}{}\n", text::at_revision(response.cursor))
    })?;
    next_step::after_version(session, response.version.as_ref(), is_dry_run).await;
    Ok(())
}
