//! `policyhub edit`

use std::fmt::Write as _;

use anyhow::Context as _;
use clap::{Args, ValueEnum as _};

use crate::cli::arguments::MutationArguments;
use crate::cli::commands::bump::{BumpPart, next_label};
use crate::cli::commands::{draft, requirements};
use crate::cli::content;
use crate::cli::editor::EditedFile;
use crate::cli::exit_code::CommandReason;
use crate::cli::names::{policy_id, policy_name, version_name};
use crate::cli::output::document::say;
use crate::cli::session::Session;
use crate::client::name::{PolicyId, VersionRef};
use crate::client::{ClientError, PolicyKind, pb};
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
    if is_of_several_files(&base.content_type) {
        let show = session.commands.command(&format!("show {policy}@{} | tar -x -C DIR", base.version));
        let draft = session.commands.command(&format!("draft {policy} DIR --base-version {}", base.version));
        let message = format!("{policy} has several files: `{show}`, edit them, then `{draft}`");
        return Err(CommandReason::SeveralFiles.error(message));
    }
    // Before there is a file that could be left.
    keep_running_when_interrupted()?;
    let file = EditedFile::create(&file_name(policy, &base.content_type), &base.content)?;
    let edited = match file.edit() {
        Ok(edited) if edited == base.content => {
            file.discard();
            say(&format!("nothing was changed, so nothing is drafted: {policy}@{} is as it was", base.version));
            return Ok(());
        }
        Ok(edited) => edited,
        // There is nothing to keep: no editor was opened, or it changed nothing.
        Err(error) if file.has(&base.content) => {
            file.discard();
            return Err(error);
        }
        Err(error) => return Err(kept(error, file, session, &arguments, &base)),
    };
    let mut is_drafted = false;
    match send(session, &arguments, &base, edited, &mut is_drafted).await {
        // What a dry run checked is still to be drafted.
        Ok(()) if arguments.mutation.validate_only => {
            say(&format!("your text is kept in {}", file.path().display()));
            Ok(())
        }
        Err(error) if !is_drafted || arguments.mutation.validate_only => {
            Err(kept(error, file, session, &arguments, &base))
        }
        // The draft is on the server, even when its answer could not be printed.
        ended => {
            file.discard();
            ended
        }
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

async fn send(
    session: &Session,
    arguments: &EditArguments,
    base: &pb::Version,
    content: Vec<u8>,
    is_drafted: &mut bool,
) -> anyhow::Result<()> {
    let policy = &arguments.policy;
    let label = match arguments.bump {
        Some(part) => next_label(session, policy, part).await?.to_string(),
        None => arguments.label.clone().unwrap_or_default(),
    };
    let request = pb::DraftRequest {
        parent: policy_name(&session.namespace, policy),
        content: content.into(),
        content_type: base.content_type.clone(),
        label,
        change_note: arguments.note.clone().unwrap_or_default(),
        requires: base.requires.clone(),
        base_version: base.version,
        request_id: arguments.mutation.request_id(),
        validate_only: arguments.mutation.validate_only,
        supersede_staged: arguments.supersede_staged,
        ..Default::default()
    };
    draft::send(session, policy, request, arguments.mutation.validate_only, |_| {
        *is_drafted = true;
        if !base.requires.is_empty() {
            say(&format!("requires {}, as {policy}@{}", requirements::line(&base.requires), base.version));
        }
    })
    .await
}

/// Says where the text is that was not drafted, so that no work is lost, and how to draft it.
fn kept(
    error: anyhow::Error,
    file: EditedFile,
    session: &Session,
    arguments: &EditArguments,
    base: &pb::Version,
) -> anyhow::Error {
    if !file.path().exists() {
        say("the editor left no file, so there is no text to keep");
        file.discard();
        return error;
    }
    let policy = &arguments.policy;
    let path = file.path().display();
    say(&format!("your text is kept in {path}"));
    let mut from = base.version;
    if let Some(active) = active_by_now(&error).filter(|active| *active != base.version) {
        // The server refuses the base that was edited; whoever names the new one must have seen what it has.
        let command = format!("diff {policy} {} {active}", base.version);
        say(&format!(
            "{policy}@{active} is active by now: see `{}`, and put what it has into your text",
            session.commands.command(&command)
        ));
        from = active;
    }
    say(&format!("to draft it: {}", session.commands.command(&draft_command(arguments, base, &file, from))));
    error
}

/// Returns the version that is active when the draft was refused because it is not the one that was edited.
fn active_by_now(error: &anyhow::Error) -> Option<i64> {
    let call = error.downcast_ref::<ClientError>().filter(|call| call.reason() == "EXPECTED_ACTIVE_MISMATCH")?;
    call.metadata().get("current_active")?.parse().ok().filter(|active| *active > 0)
}

/// Returns the command that drafts the text as this one would have.
fn draft_command(arguments: &EditArguments, base: &pb::Version, file: &EditedFile, from: i64) -> String {
    let path = file.path().display().to_string();
    let mut command = format!("draft {} {} --base-version {from}", arguments.policy, quoted(&path));
    let mut add = |flag: &str, value: &str| _ = write!(command, " {flag}={}", quoted(value));
    if content::type_of(file.path()) != base.content_type {
        add("--content-type", &base.content_type);
    }
    for each in &base.requires {
        add("--requires", &format!("{}@{}", each.policy, each.version_req));
    }
    if let Some(label) = &arguments.label {
        add("--label", label);
    }
    if let Some(part) = arguments.bump.and_then(|part| Some(part.to_possible_value()?.get_name().to_owned())) {
        add("--bump", &part);
    }
    if let Some(note) = &arguments.note {
        add("--note", note);
    }
    if arguments.supersede_staged {
        command.push_str(" --supersede-staged");
    }
    command
}

/// Returns text as one word of a shell (POSIX.1-2017, 2.2.2).
fn quoted(text: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./@^+:,=%".contains(letter);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
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
