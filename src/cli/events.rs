//! `policyhub events`

use anyhow::Context as _;
use clap::Args;

use super::names::{policy_id, policy_name, policy_of, short};
use super::pages;
use super::session::Session;
use super::text;
use crate::client::name::PolicyId;
use crate::client::pb;

/// The log of a namespace: every accepted change
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub events pricing --newest --limit 10")]
pub struct Arguments {
    /// Id of a policy: only what is about it
    #[arg(value_parser = policy_id)]
    policy: Option<PolicyId>,
    /// Only what came after this revision
    #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
    after: i64,
    /// Events at most
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// Newest first
    #[arg(long)]
    newest: bool,
    /// The history that was imported instead; 2: what that store had imported before
    #[arg(long, value_name = "POSITION", num_args = 0..=1, default_value_t = 0, default_missing_value = "1",
          hide_default_value = true, conflicts_with = "policy")]
    imported: i64,
}

/// Runs it.
pub async fn run(session: &Session, arguments: Arguments) -> anyhow::Result<()> {
    let parent = match &arguments.policy {
        Some(policy) => policy_name(&session.namespace, policy),
        None => session.namespace.name(),
    };
    let read = pages::collect(arguments.limit, async |page_token, page_size| {
        let request = pb::ListEventsRequest {
            parent: parent.clone(),
            page_size,
            page_token,
            after_revision: arguments.after,
            newest_first: arguments.newest,
            start_time: None,
            import_position: arguments.imported,
        };
        let page = session.client.list_events(request).await?;
        Ok((page.events, page.next_page_token))
    });
    let (events, next_page_token) = read.await.context("failed to list events")?;
    session.output.print(&pb::ListEventsResponse { events, next_page_token }, |response| {
        text::table(
            &["REVISION", "TIME", "KIND", "WHO", "WHAT", "REASON"],
            &response.events.iter().map(row).collect::<Vec<_>>(),
        )
    })
}

fn row(event: &pb::Event) -> Vec<String> {
    let cursor = event.cursor.unwrap_or_default();
    vec![
        format!("{}:{}", cursor.epoch, cursor.revision),
        text::time(event.time.as_ref()),
        text::event_kind(event.kind).to_owned(),
        text::line(&event.actor),
        what(event),
        text::line(&event.reason),
    ]
}

/// Pointers that moved and versions that changed, else the policy it is about.
fn what(event: &pb::Event) -> String {
    let moves = event.changes.iter().map(|change| {
        let pointer = |version: i64| if version == 0 { "none".to_owned() } else { version.to_string() };
        format!("{} {}->{}", short(&change.policy), pointer(change.previous_version), pointer(change.version))
    });
    let versions = event.versions.iter().map(|change| {
        format!("{}@{} {}", policy_of(&change.version), short(&change.version), text::line(&change.state))
    });
    let parts: Vec<String> = moves.chain(versions).collect();
    if parts.is_empty() { short(&event.policy).to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_what_moved() {
        let event = pb::Event {
            cursor: Some(pb::Cursor { epoch: 1, revision: 12, ..Default::default() }),
            kind: pb::EventKind::Activate.into(),
            actor: "alice".to_owned(),
            reason: "launch".to_owned(),
            policy: "namespaces/default/policies/pricing".to_owned(),
            changes: vec![pb::PointerChange {
                policy: "namespaces/default/policies/pricing".to_owned(),
                version: 3,
                ..Default::default()
            }],
            versions: vec![pb::VersionChange {
                version: "namespaces/default/policies/pricing/versions/3".to_owned(),
                state: "PUBLISHED".to_owned(),
                ..Default::default()
            }],
            ..Default::default()
        };
        assert_eq!(row(&event), ["1:12", "", "ACTIVATE", "alice", "pricing none->3, pricing@3 PUBLISHED", "launch"]);
        let bare = pb::Event { policy: event.policy, ..Default::default() };
        assert_eq!(what(&bare), "pricing");
    }
}
