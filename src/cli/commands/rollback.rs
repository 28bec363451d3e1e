//! `policyhub rollback`
//!
//! Invariant: the change that is shown is the one that is made. The server refuses when the pointer has moved since.

use anyhow::Context as _;
use clap::Args;

use crate::cli::arguments::MutationArguments;
use crate::cli::confirm;
use crate::cli::names::{NamedVersion, policy_id, policy_name};
use crate::cli::output::document::{Format, say};
use crate::cli::output::{next_step, text};
use crate::cli::session::Session;
use crate::client::name::PolicyId;
use crate::client::pb;
use crate::client::pb::activate_target;
use crate::client::pb::rollback_request::To;

/// Put an older version back in force
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub rollback pricing --to 2 --reason 'prices were wrong'\n\n\
                        What would move is shown first, and nothing else is done: somebody who was faster makes it fail. With \
                        --request-id, or with both --to and --expected, nothing is asked before.")]
pub struct RollbackArguments {
    /// Id of the policy
    #[arg(value_parser = policy_id)]
    policy: PolicyId,
    /// A published version: N, vLABEL or POLICY/vLABEL [default: the newest that was active before and that nobody rolled back from]
    #[arg(long, value_name = "VERSION")]
    to: Option<NamedVersion>,
    /// Fail unless this version is active now; 0: unless none is
    #[arg(long, value_name = "N")]
    expected: Option<i64>,
    /// Why
    #[arg(long)]
    reason: String,
    /// Make a new version of the older content, instead of moving the pointer back
    #[arg(long)]
    copy_forward: bool,
    /// Do not run today's checks on the older content; for admins
    #[arg(long)]
    skip_validation: bool,
    /// Go on in spite of warnings, without a question
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    mutation: MutationArguments,
}

/// Rolls back, after showing what will move.
pub async fn run(session: &Session, arguments: RollbackArguments) -> anyhow::Result<()> {
    let request_id = arguments.mutation.request_id();
    let mode = if arguments.copy_forward { pb::RollbackMode::CopyForward } else { pb::RollbackMode::Pointer };
    let to = match &arguments.to {
        Some(to) => match to.of(&arguments.policy)?.destination(&session.client, &session.namespace).await? {
            activate_target::To::Version(number) => Some(To::Version(number)),
            activate_target::To::Label(label) => Some(To::Label(label)),
            activate_target::To::None(()) => None,
        },
        None => None,
    };
    let mut request = pb::RollbackRequest {
        name: policy_name(&session.namespace, &arguments.policy),
        to,
        mode: mode.into(),
        reason: arguments.reason.clone(),
        skip_validation: arguments.skip_validation,
        request_id: request_id.clone(),
        validate_only: arguments.mutation.validate_only,
        expected_active: arguments.expected,
        unmoved_since: None,
    };
    let is_settled = arguments.to.is_some() && arguments.expected.is_some();
    // A caller that chose the id repeats the same request after a lost answer, and by then the pointer has moved.
    let is_shown_first = !(is_settled || arguments.mutation.has_request_id() || request.validate_only);
    let mut settled = String::new();
    if is_shown_first {
        let rehearsal = pb::RollbackRequest { validate_only: true, request_id: String::new(), ..request.clone() };
        let planned = session.client.rollback(rehearsal).await;
        let planned = planned.with_context(|| format!("failed to roll back {}", arguments.policy))?;
        let (from, to) = ends(&planned, arguments.copy_forward);
        talk(session, &format!("{}: {} → {to}", arguments.policy, shown(from)));
        if !goes_on(session, &planned, arguments.yes)? {
            anyhow::bail!("nothing was changed");
        }
        settled = format!(" from {} (--to {to} --expected {from})", shown(from));
        (request.to, request.expected_active) = (Some(To::Version(to)), Some(from));
    }
    let response = session.client.rollback(request).await;
    let response = response.with_context(|| format!("failed to roll back {}{settled}", arguments.policy))?;
    if !is_shown_first {
        warn(session, &response);
    }
    session.output.print_mutation(&response, &request_id, |response| {
        let version = response.version.as_ref().map(text::version).unwrap_or_default();
        let moves = response.activation.as_ref().map(text::moves).unwrap_or_default();
        format!("{version}{}\n{moves}", text::at_revision(response.cursor))
    })?;
    next_step::after_activation(session, response.cursor);
    Ok(())
}

/// Returns the active version, and the one that a rollback returns to: the source of a copy.
fn ends(planned: &pb::RollbackResponse, is_copy: bool) -> (i64, i64) {
    let change = planned.activation.as_ref().and_then(|activation| activation.changes.first());
    let to = planned.version.as_ref().map_or(0, |made| if is_copy { made.source_version } else { made.version });
    (change.map_or(0, |change| change.previous_version), to)
}

fn shown(version: i64) -> String {
    if version == 0 { "nothing".to_owned() } else { version.to_string() }
}

/// Prints the warnings, and asks whether to go on when a user is there to answer.
fn goes_on(session: &Session, planned: &pb::RollbackResponse, yes: bool) -> anyhow::Result<bool> {
    warn(session, planned);
    if planned.warnings.is_empty() || yes || !confirm::can_ask() {
        return Ok(true);
    }
    confirm::ask("Roll back to it all the same?").context("failed to ask")
}

fn warn(session: &Session, response: &pb::RollbackResponse) {
    for warning in &response.warnings {
        talk(session, &format!("warning: {}", text::line(warning)));
    }
}

/// Prints a message with text output; a document has it in its fields.
fn talk(session: &Session, line: &str) {
    if session.output == Format::Text {
        say(line);
    }
}
