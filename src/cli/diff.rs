//! `policyhub diff`

use anyhow::Context as _;
use clap::Args;

use super::names::{policy_id, version_name, version_ref};
use super::session::Session;
use crate::client::name::{PolicyId, VersionRef};
use crate::client::pb;

/// What changed between two versions
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub diff pricing active latest")]
pub struct Arguments {
    /// Id of the policy
    #[arg(value_parser = policy_id)]
    policy: PolicyId,
    /// The older version: N, vLABEL, active or latest
    #[arg(value_parser = version_ref)]
    from: VersionRef,
    /// The newer version
    #[arg(value_parser = version_ref)]
    to: VersionRef,
}

/// Runs it.
pub async fn run(session: &Session, arguments: Arguments) -> anyhow::Result<()> {
    let name = |version| version_name(&session.namespace, &arguments.policy, version);
    let request = pb::DiffVersionsRequest { from: name(&arguments.from), to: name(&arguments.to) };
    let response = session.client.diff_versions(request).await;
    let response = response.with_context(|| format!("failed to compare versions of {}", arguments.policy))?;
    session.output.print(&response, text)
}

/// The unified diff. Bytes that differ and are not text show by their digests.
fn text(response: &pb::DiffVersionsResponse) -> String {
    let digest = |version: &Option<pb::Version>| version.as_ref().map(|it| it.digest.clone()).unwrap_or_default();
    let (from, to) = (digest(&response.from), digest(&response.to));
    if response.unified.is_empty() && from != to {
        return format!("contents differ and are not text: {from} and {to}\n");
    }
    response.unified.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_contents_are_not_called_equal() {
        let version = |digest: &str| Some(pb::Version { digest: digest.to_owned(), ..Default::default() });
        let mut response = pb::DiffVersionsResponse { from: version("a"), to: version("b"), ..Default::default() };
        assert_eq!(text(&response), "contents differ and are not text: a and b\n");
        response.unified = "-1\n+2\n".to_owned();
        assert_eq!(text(&response), "-1\n+2\n");
        response = pb::DiffVersionsResponse { from: version("a"), to: version("a"), ..Default::default() };
        assert_eq!(text(&response), "");
    }
}
