//! `policyhub edit`

use anyhow::Context as _;
use clap::Args;

use crate::cli::arguments::MutationArguments;
use crate::cli::commands::bump::{BumpPart, next_label};
use crate::cli::commands::requirements;
use crate::cli::editor::EditedFile;
use crate::cli::names::{policy_id, policy_name, version_name, with_namespace};
use crate::cli::output::document::say;
use crate::cli::output::{next_step, text};
use crate::cli::session::Session;
use crate::client::name::{PolicyId, VersionRef};
use crate::client::{PolicyKind, pb};
use crate::domain::policy::is_of_several_files;

/// Edit what is active, and write it as the next draft
#[derive(Debug, Args)]
#[command(
    after_help = "The editor is $VISUAL, else $EDITOR, else vi.\n\nExample:\n  policyhub edit pricing --bump minor --note 'raise the cap'"
)]
pub struct EditArguments {
    /// Id of the policy
    #[arg(value_parser = policy_id)]
    policy: PolicyId,
    /// SemVer of the version
    #[arg(long)]
    label: Option<String>,
    /// Give the label after the highest published one
    #[arg(long, value_enum, value_name = "PART", conflicts_with = "label")]
    bump: Option<BumpPart>,
    /// What changed and why
    #[arg(long)]
    note: Option<String>,
    /// End the open version also when it is staged, in a policy that has one draft at a time
    #[arg(long)]
    supersede_staged: bool,
    #[command(flatten)]
    mutation: MutationArguments,
}

/// Runs the command. The draft has the media type and the requirements of the active version, and that as its base.
pub async fn run(session: &Session, arguments: EditArguments) -> anyhow::Result<()> {
    let policy = &arguments.policy;
    let base = active(session, policy).await?;
    anyhow::ensure!(
        !is_of_several_files(&base.content_type),
        "{policy} has several files: `{}`, edit them, then `{}`",
        with_namespace(&session.namespace, &format!("show {policy}@{} | tar -x -C DIR", base.version)),
        with_namespace(&session.namespace, &format!("draft {policy} DIR --base-version {}", base.version)),
    );
    let file = EditedFile::create(&file_name(policy, &base.content_type), &base.content)?;
    keep_running_when_interrupted()?;
    let edited = match file.edit() {
        Ok(edited) if edited == base.content => {
            file.discard();
            say(&format!("nothing was changed, so nothing is drafted: {policy}@{} is as it was", base.version));
            return Ok(());
        }
        Ok(edited) => edited,
        Err(error) => return Err(kept(error, &file, session, policy, base.version)),
    };
    match draft(session, &arguments, &base, edited).await {
        Ok(()) => {
            // What a dry run checked is still to be drafted.
            if arguments.mutation.validate_only {
                say(&format!("your text is kept in {}", file.path().display()));
            } else {
                file.discard();
            }
            Ok(())
        }
        Err(error) => Err(kept(error, &file, session, policy, base.version)),
    }
}

async fn active(session: &Session, policy: &PolicyId) -> anyhow::Result<pb::Version> {
    let name = version_name(&session.namespace, policy, &VersionRef::Active);
    let request = pb::GetVersionRequest { name, view: pb::VersionView::Full.into() };
    let response = session.client.get_version(request).await;
    response
        .with_context(|| format!("failed to read what is active of {policy}"))?
        .version
        .context("answer has no version")
}

async fn draft(
    session: &Session,
    arguments: &EditArguments,
    base: &pb::Version,
    content: Vec<u8>,
) -> anyhow::Result<()> {
    let policy = &arguments.policy;
    let label = match arguments.bump {
        Some(part) => next_label(session, policy, part).await?.to_string(),
        None => arguments.label.clone().unwrap_or_default(),
    };
    let request_id = arguments.mutation.request_id();
    let request = pb::DraftRequest {
        parent: policy_name(&session.namespace, policy),
        content: content.into(),
        content_type: base.content_type.clone(),
        label,
        change_note: arguments.note.clone().unwrap_or_default(),
        requires: base.requires.clone(),
        base_version: base.version,
        request_id: request_id.clone(),
        validate_only: arguments.mutation.validate_only,
        supersede_staged: arguments.supersede_staged,
        ..Default::default()
    };
    let response = session.client.draft(request).await;
    let response = response.with_context(|| format!("failed to draft {policy}"))?;
    if !base.requires.is_empty() {
        say(&format!("requires {}, as {policy}@{}", requirements::line(&base.requires), base.version));
    }
    session.output.print_mutation(&response, &request_id, |response| {
        let version = response.version.as_ref().map(text::version).unwrap_or_default();
        format!("{version}{}\n", text::at_revision(response.cursor))
    })?;
    next_step::after_version(session, response.version.as_ref(), arguments.mutation.validate_only).await;
    Ok(())
}

/// Says where the text is that was not drafted, so that no work is lost.
fn kept(
    error: anyhow::Error,
    file: &EditedFile,
    session: &Session,
    policy: &PolicyId,
    base_version: i64,
) -> anyhow::Error {
    let path = file.path().display();
    let command = format!("draft {policy} {path} --base-version {base_version}");
    say(&format!("your text is kept in {path}; to draft it: {}", with_namespace(&session.namespace, &command)));
    error
}

/// Returns a name from which an editor knows the language.
fn file_name(policy: &PolicyId, content_type: &str) -> String {
    let extension = match PolicyKind::of_content_type(content_type) {
        PolicyKind::Json => ".json",
        PolicyKind::Yaml | PolicyKind::Template => ".yaml",
        PolicyKind::Cedar => ".cedar",
        PolicyKind::Rego => ".rego",
        _ => "",
    };
    format!("{policy}{extension}")
}

/// Leaves Ctrl-C to the editor: it would end this command too, which has the same terminal, and leave the editor without one.
fn keep_running_when_interrupted() -> anyhow::Result<()> {
    let interrupts = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt());
    interrupts.map(drop).context("failed to handle interrupts")
}
