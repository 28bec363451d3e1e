//! Tells the user what to do next, after a command that succeeded.
//!
//! Boundary: a line on stderr, only with text output. It follows from what the server answered, never from a guess.

use crate::cli::names::{policy_name, policy_of};
use crate::cli::output::document::{Format, say};
use crate::cli::session::Session;
use crate::client::name::PolicyId;
use crate::client::pb;

/// Prints the next step for a version. Nothing after a dry run, since the version was not changed.
pub async fn after_version(session: &Session, version: Option<&pb::Version>, validate_only: bool) {
    let Some(version) = version.filter(|_| session.output == Format::Text && !validate_only) else { return };
    let required = match version.state() {
        pb::VersionState::Staged => approvals_required(session, version).await,
        _ => Some(0),
    };
    if let Some(next) = required.and_then(|required| of_version(version, required)) {
        say_next(session, &next);
    }
}

/// Prints how to follow an activation on the subscribers.
pub fn after_activation(session: &Session, cursor: Option<pb::Cursor>) {
    if session.output == Format::Text
        && let Some(cursor) = cursor
    {
        say_next(session, &format!("convergence {}", cursor.revision));
    }
}

fn say_next(session: &Session, command: &str) {
    say(&format!("next: {}", session.commands.command(command)));
}

/// Returns how many approvals the policy of a version requires; `None` when it can't be read, and then nothing is printed.
async fn approvals_required(session: &Session, version: &pb::Version) -> Option<usize> {
    let policy = PolicyId::parse("policy", policy_of(&version.name)).ok()?;
    let request = pb::GetPolicyRequest { name: policy_name(&session.namespace, &policy) };
    let policy = session.client.get_policy(request).await.ok()?.policy?;
    usize::try_from(policy.settings.unwrap_or_default().required_approvals).ok()
}

fn of_version(version: &pb::Version, required: usize) -> Option<String> {
    let name = format!("{}@{}", policy_of(&version.name), version.version);
    match version.state() {
        pb::VersionState::Draft => Some(format!("stage {name}")),
        pb::VersionState::Staged if version.approvals.len() < required => Some(format!("show {name}, then approve it")),
        pb::VersionState::Staged => Some(format!("publish {name}")),
        pb::VersionState::Published if !version.active => Some(format!("activate {name} --reason …")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_has_its_next_step() {
        use pb::VersionState::{Abandoned, Draft, Published, Staged};
        for (state, active, required, next) in [
            (Draft, false, 0, Some("stage pricing@3")),
            (Staged, false, 0, Some("publish pricing@3")),
            (Staged, false, 1, Some("publish pricing@3")),
            (Staged, false, 2, Some("show pricing@3, then approve it")),
            (Published, false, 0, Some("activate pricing@3 --reason …")),
            (Published, true, 0, None),
            (Abandoned, false, 0, None),
        ] {
            let version = pb::Version {
                name: "namespaces/default/policies/pricing/versions/3".to_owned(),
                version: 3,
                state: state.into(),
                active,
                approvals: vec![pb::Approval::default()],
                ..Default::default()
            };
            assert_eq!(of_version(&version, required).as_deref(), next, "{state:?} {active} {required}");
        }
    }
}
