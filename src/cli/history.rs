//! `policyhub history`

use anyhow::Context as _;
use clap::Args;

use super::names::{policy_id, policy_name};
use super::pages;
use super::session::Session;
use super::text;
use crate::client::name::PolicyId;
use crate::client::pb;

/// The versions of a policy, newest first
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub history pricing --limit 10")]
pub struct Arguments {
    /// Id of the policy
    #[arg(value_parser = policy_id)]
    policy: PolicyId,
    /// Versions at most
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
}

/// Runs it.
pub async fn run(session: &Session, arguments: Arguments) -> anyhow::Result<()> {
    let parent = policy_name(&session.namespace, &arguments.policy);
    let read = pages::collect(arguments.limit, async |page_token, page_size| {
        let request = pb::ListVersionsRequest { parent: parent.clone(), page_token, page_size, ..Default::default() };
        let page = session.client.list_versions(request).await?;
        Ok((page.versions, page.next_page_token))
    });
    let read = read.await.with_context(|| format!("failed to list the versions of {}", arguments.policy))?;
    let (versions, next_page_token) = read;
    session.output.print(&pb::ListVersionsResponse { versions, next_page_token }, table)
}

fn table(response: &pb::ListVersionsResponse) -> String {
    let rows: Vec<Vec<String>> = response.versions.iter().map(row).collect();
    text::table(&["VERSION", "ACTIVE", "STATE", "LABEL", "WHEN", "WHO", "NOTE"], &rows)
}

/// When and who: of the publishing, or of the draft before that.
fn row(version: &pb::Version) -> Vec<String> {
    let (when, who) = match &version.publish_time {
        Some(time) => (Some(time), &version.publisher),
        None => (version.create_time.as_ref(), &version.author),
    };
    vec![
        version.version.to_string(),
        if version.active { "*".to_owned() } else { String::new() },
        text::state(version.state).to_owned(),
        version.label.clone(),
        text::time(when),
        text::line(who),
        text::line(&version.change_note),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_active_version_is_marked() {
        let version = |number, active, publisher: &str| pb::Version {
            version: number,
            active,
            author: "ann".to_owned(),
            publisher: publisher.to_owned(),
            state: pb::VersionState::Published.into(),
            publish_time: (!publisher.is_empty()).then(prost_types::Timestamp::default),
            change_note: "two\nlines".to_owned(),
            ..Default::default()
        };
        let versions = vec![version(2, true, "bob"), version(1, false, "")];
        let text = table(&pb::ListVersionsResponse { versions, ..Default::default() });
        assert_eq!(
            text.lines().map(str::trim_end).collect::<Vec<_>>(),
            [
                "VERSION  ACTIVE  STATE      LABEL  WHEN                  WHO  NOTE",
                "2        *       PUBLISHED         1970-01-01T00:00:00Z  bob  two lines",
                "1                PUBLISHED                               ann  two lines",
            ]
        );
    }
}
