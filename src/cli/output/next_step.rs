//! Tells the user what to do next, after a command that succeeded.
//!
//! Boundary: a line on stderr, only with text output. It follows from what the server answered, never from a guess.

use crate::cli::names::{policy_name, policy_of};
use crate::cli::output::document::{Format, say};
use crate::cli::session::Session;
use crate::cli::typed_commands::TypedCommands;
use crate::client::name::PolicyId;
use crate::client::pb;

/// Prints the next step for a version. Nothing after a dry run, since the version was not changed.
pub async fn after_version(session: &Session, version: Option<&pb::Version>, validate_only: bool) {
    let Some(version) = version.filter(|_| session.output == Format::Text && !validate_only) else { return };
    let required = match version.state() {
        pb::VersionState::Staged => approvals_required(session, version).await,
        _ => Some(0),
    };
    if let Some(next) = required.and_then(|required| of_version(&session.commands, version, required)) {
        say(&format!("next: {next}"));
    }
}

/// Prints how to follow an activation on the subscribers.
pub fn after_activation(session: &Session, cursor: Option<pb::Cursor>) {
    if session.output == Format::Text
        && let Some(cursor) = cursor
    {
        say(&format!("next: {}", session.commands.command(&format!("convergence {}", cursor.revision))));
    }
}

/// Returns how many approvals the policy of a version requires; `None` when it can't be read, and then nothing is printed.
async fn approvals_required(session: &Session, version: &pb::Version) -> Option<usize> {
    let policy = PolicyId::parse("policy", policy_of(&version.name)).ok()?;
    let request = pb::GetPolicyRequest { name: policy_name(&session.namespace, &policy) };
    let policy = session.client.get_policy(request).await.ok()?.policy?;
    usize::try_from(policy.settings.unwrap_or_default().required_approvals).ok()
}

fn of_version(commands: &TypedCommands, version: &pb::Version, required: usize) -> Option<String> {
    let name = format!("{}@{}", policy_of(&version.name), version.version);
    let command = match version.state() {
        pb::VersionState::Draft => format!("stage {name}"),
        pb::VersionState::Staged if version.approvals.len() < required => {
            let show = commands.command(&format!("show {name}"));
            let approve = commands.command(&format!("approve {name} --digest {}", version.digest));
            return Some(format!("somebody else reviews it: `{show}`, then `{approve}`"));
        }
        pb::VersionState::Staged => format!("publish {name}"),
        pb::VersionState::Published if !version.active => format!("activate {name} --reason …"),
        _ => return None,
    };
    Some(commands.command(&command))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn each_state_has_its_next_step() {
        use pb::VersionState::{Abandoned, Draft, Published, Staged};
        let global = crate::cli::Cli::try_parse_from(["policyhub", "active", "-n", "default"]).expect("a line").global;
        let commands = TypedCommands::after(&global).expect("a namespace");
        for (state, active, required, next) in [
            (Draft, false, 0, Some("policyhub stage pricing@3")),
            (Staged, false, 0, Some("policyhub publish pricing@3")),
            (Staged, false, 1, Some("policyhub publish pricing@3")),
            (
                Staged,
                false,
                2,
                Some(
                    "somebody else reviews it: `policyhub show pricing@3`, then `policyhub approve pricing@3 --digest \
                     sha256:00`",
                ),
            ),
            (Published, false, 0, Some("policyhub activate pricing@3 --reason …")),
            (Published, true, 0, None),
            (Abandoned, false, 0, None),
        ] {
            let version = pb::Version {
                name: "namespaces/default/policies/pricing/versions/3".to_owned(),
                version: 3,
                state: state.into(),
                active,
                digest: "sha256:00".to_owned(),
                approvals: vec![pb::Approval::default()],
                ..Default::default()
            };
            assert_eq!(of_version(&commands, &version, required).as_deref(), next, "{state:?} {active} {required}");
        }
    }
}
