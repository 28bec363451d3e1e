//! `policyhub publish`

use anyhow::Context as _;
use clap::Args;

use crate::cli::arguments::MutationArguments;
use crate::cli::commands::report::show_refused;
use crate::cli::exit_code::{PartialError, UsageError};
use crate::cli::names::PolicyOrVersionTarget;
use crate::cli::output::{next_step, text};
use crate::cli::session::Session;
use crate::client::pb::publish_versions_result::Outcome;
use crate::client::{ClientError, pb};
use crate::domain::limits::PUBLISH_VERSIONS_MAX;

/// Sign versions; from then on they never change
#[derive(Debug, Args)]
#[command(
    after_help = "Several versions are published in one transaction, each by itself: what is refused holds back no other \
one. Then the exit code is 3, and 1 when none is published.\n\n\
Examples:\n  policyhub publish pricing@3 --activate --reason 'new season'\n  policyhub publish pricing@3 limits@v1.2.0 refunds"
)]
pub struct PublishArguments {
    /// POLICY@N, POLICY@vLABEL, or just POLICY when exactly one draft is open; at most 100
    #[arg(required = true, value_name = "TARGET")]
    targets: Vec<PolicyOrVersionTarget>,
    /// Activate it in the same transaction; for several, see `policyhub activate`
    #[arg(long, requires = "reason")]
    activate: bool,
    /// With --activate: fail unless this version is active now; 0: unless none is
    #[arg(long, value_name = "N", requires = "activate")]
    expected: Option<i64>,
    /// Publish without the approvals that are missing: for emergencies, needs the role admin, and is on record as such
    #[arg(long, requires = "reason")]
    break_glass: bool,
    /// Why; required to activate and to break the glass
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    /// Fail unless the version is still the one with this etag
    #[arg(long, default_value = "", hide_default_value = true)]
    etag: String,
    #[command(flatten)]
    mutation: MutationArguments,
}

/// Publishes one version, or several.
pub async fn run(session: &Session, arguments: PublishArguments) -> anyhow::Result<()> {
    match arguments.targets.as_slice() {
        [target] => publish_one(session, target.clone(), arguments).await,
        several => publish_several(session, several, &arguments).await,
    }
}

async fn publish_several(
    session: &Session,
    targets: &[PolicyOrVersionTarget],
    arguments: &PublishArguments,
) -> anyhow::Result<()> {
    if arguments.activate || arguments.break_glass || !arguments.etag.is_empty() {
        return Err(
            UsageError("--activate, --break-glass and --etag are about one version: name one".to_owned()).into()
        );
    }
    if targets.len() > PUBLISH_VERSIONS_MAX {
        let count = targets.len();
        let why =
            format!("{count} versions are named, and one call takes {PUBLISH_VERSIONS_MAX}: publish them in parts");
        return Err(UsageError(why).into());
    }
    let request_id = arguments.mutation.request_id();
    let validate_only = arguments.mutation.validate_only;
    let named = |target: &PolicyOrVersionTarget| pb::VersionToPublish {
        name: target.name(&session.namespace),
        etag: String::new(),
    };
    let request = pb::PublishVersionsRequest {
        parent: session.namespace.name(),
        versions: targets.iter().map(named).collect(),
        reason: arguments.reason.clone(),
        request_id: request_id.clone(),
        validate_only,
    };
    let response = session.client.publish_versions(request).await;
    let response = response.with_context(|| format!("failed to publish {} versions", targets.len()))?;
    session.output.print_mutation(&response, &request_id, |response| {
        let results = response.results.iter().map(Some).chain(std::iter::repeat(None));
        targets
            .iter()
            .zip(results)
            .map(|(target, result)| of_several(target, result, validate_only))
            .collect::<String>()
    })?;
    end_of_several(response.results, targets.len(), validate_only)
}

/// Returns the error when not all of `all` versions are published. When none is, it is that of the first refusal.
fn end_of_several(results: Vec<pb::PublishVersionsResult>, all: usize, validate_only: bool) -> anyhow::Result<()> {
    let is_published = |result: &&pb::PublishVersionsResult| matches!(result.outcome, Some(Outcome::Published(_)));
    let published = results.iter().filter(is_published).count();
    if published == all {
        return Ok(());
    }
    let (is, are_not) = if validate_only { ("would be", "would not be") } else { ("is", "are not") };
    if published > 0 {
        return Err(PartialError(format!("{} of {all} versions {are_not} published", all - published)).into());
    }
    let refused = results.into_iter().find_map(|result| match result.outcome? {
        Outcome::Refusal(refusal) => Some(ClientError::of_refusal(&result.name, refusal)),
        Outcome::Published(_) => None,
    });
    let why = format!("none of {all} versions {is} published");
    Err(refused
        .map_or_else(|| anyhow::anyhow!(why.clone()), |refused| anyhow::Error::from(refused).context(why.clone())))
}

/// Returns the outcome of one of several versions, as a line.
fn of_several(
    target: &PolicyOrVersionTarget,
    result: Option<&pb::PublishVersionsResult>,
    validate_only: bool,
) -> String {
    match result.and_then(|result| result.outcome.as_ref()) {
        Some(Outcome::Published(done)) => {
            let said = |version| text::published(version, done.cursor, validate_only);
            done.version.as_ref().map(said).unwrap_or_default() + "\n"
        }
        Some(Outcome::Refusal(refusal)) => {
            text::line(&format!("{target} refused: {} ({})", refusal.message, refusal.reason)) + "\n"
        }
        None => format!("{target}: the server does not say what became of it\n"),
    }
}

async fn publish_one(
    session: &Session,
    target: PolicyOrVersionTarget,
    arguments: PublishArguments,
) -> anyhow::Result<()> {
    let request_id = arguments.mutation.request_id();
    let validate_only = arguments.mutation.validate_only;
    let request = pb::PublishRequest {
        name: target.name(&session.namespace),
        etag: arguments.etag,
        activate: arguments.activate,
        reason: arguments.reason,
        request_id: request_id.clone(),
        validate_only,
        break_glass: arguments.break_glass,
        expected_active: arguments.expected,
    };
    let response = session.client.publish(request).await;
    if let Err(error) = &response {
        show_refused(session, error).await;
    }
    let response = response.with_context(|| format!("failed to publish {target}"))?;
    session.output.print_mutation(&response, &request_id, |response| {
        let said = |version| text::published(version, response.cursor, validate_only);
        let version = response.version.as_ref().map(said).unwrap_or_default();
        let moves = response.activation.as_ref().map(text::moves).unwrap_or_default();
        format!("{version}\n{moves}")
    })?;
    if response.activation.is_some() {
        next_step::after_activation(session, response.cursor);
    } else {
        next_step::after_version(session, response.version.as_ref(), validate_only).await;
    }
    Ok(())
}
