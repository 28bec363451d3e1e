//! `policyhub events`

use anyhow::Context as _;
use clap::Args;

use crate::cli::names::{policy_id, policy_name, policy_of, revision, short};
use crate::cli::narrowed::Narrowed;
use crate::cli::output::text;
use crate::cli::pages;
use crate::cli::session::Session;
use crate::client::Conditions;
use crate::client::name::PolicyId;
use crate::client::pb;
use crate::domain::changed_guardrails::changed_guardrails;
use crate::domain::event::{Cursor, EventKind, Payload};

/// The log of a namespace: every accepted change, the oldest first
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  policyhub events pricing --newest --limit 10\n  \
                  policyhub events --kind activate --kind rollback --since 2026-01-02T03:04:05Z --actor local:ci")]
pub struct EventsArguments {
    /// Id of a policy: only what is about it
    #[arg(value_parser = policy_id, value_name = "POLICY")]
    about: Option<PolicyId>,
    /// The same as POLICY
    #[arg(long, value_parser = policy_id, value_name = "POLICY", conflicts_with = "about")]
    policy: Option<PolicyId>,
    /// Only what happened at or after this time (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = text::parse_time)]
    since: Option<prost_types::Timestamp>,
    /// Only what happened before this time (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = text::parse_time)]
    until: Option<prost_types::Timestamp>,
    /// Only what this principal did, written as WHO shows it
    #[arg(long, value_name = "WHO")]
    actor: Option<String>,
    /// Only events of this kind, such as activate or create-policy; may be given again
    #[arg(long, value_name = "KIND", value_parser = event_kind)]
    kind: Vec<pb::EventKind>,
    /// Only what came after this event
    #[arg(long, value_name = "REVISION", value_parser = revision)]
    after: Option<Cursor>,
    /// Events at most
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// Newest first
    #[arg(long)]
    newest: bool,
    /// The history that was imported instead; 2: what that store had imported before
    #[arg(long, value_name = "POSITION", num_args = 0..=1, default_value_t = 0, default_missing_value = "1",
          hide_default_value = true, conflicts_with_all = ["about", "policy"])]
    imported: i64,
    #[command(flatten)]
    narrowed: Narrowed,
}

/// Parses the kind of an event in any case, with dashes or underscores.
fn event_kind(text: &str) -> Result<pb::EventKind, String> {
    let word = text.to_ascii_uppercase().replace('-', "_");
    let kind = pb::EventKind::from_str_name(&format!("EVENT_KIND_{word}"));
    kind.filter(|kind| *kind != pb::EventKind::Unspecified)
        .ok_or_else(|| "must be a kind of event as KIND shows it, such as activate or CREATE_POLICY".to_owned())
}

/// Runs the command.
pub async fn run(session: &Session, arguments: EventsArguments) -> anyhow::Result<()> {
    let parent = match arguments.policy.as_ref().or(arguments.about.as_ref()) {
        Some(policy) => policy_name(&session.namespace, policy),
        None => session.namespace.name(),
    };
    let filter = filter(&arguments);
    let order_by = if arguments.newest { "revision desc" } else { "revision" };
    let read = pages::collect(arguments.limit, async |page_token, page_size| {
        let request = pb::ListEventsRequest {
            parent: parent.clone(),
            page_size,
            page_token,
            after: arguments.after.map(pb::Cursor::from),
            import_position: arguments.imported,
            filter: filter.clone(),
            order_by: order_by.to_owned(),
        };
        let page = session.client.list_events(request).await?;
        Ok((page.events, page.next_page_token))
    });
    let (events, next_page_token) = read.await.context("failed to list events")?;
    let response = pb::ListEventsResponse { events, next_page_token };
    session.output.print(&response, |response| {
        text::table(
            &["REVISION", "TIME", "KIND", "WHO", "WHAT", "REASON"],
            &response.events.iter().map(row).collect::<Vec<_>>(),
        )
    })?;
    let next = if arguments.newest {
        pages::HIGHER_LIMIT
    } else {
        "a higher --limit shows more, and --newest the newest first"
    };
    pages::say_if_cut(session.output, response.events.len(), &response.next_page_token, next);
    Ok(())
}

/// Returns the flags as one filter.
fn filter(arguments: &EventsArguments) -> String {
    let mut conditions = Conditions::default();
    if let Some(since) = arguments.since {
        conditions.add_text("time", ">=", &since.to_string());
    }
    if let Some(until) = arguments.until {
        conditions.add_text("time", "<", &until.to_string());
    }
    if let Some(actor) = &arguments.actor {
        conditions.add_text("actor", "=", actor);
    }
    conditions.add_one_of("kind", arguments.kind.iter().map(pb::EventKind::as_str_name));
    conditions.add_filter(&arguments.narrowed.filter);
    conditions.to_string()
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

/// Returns the pointers that moved, the versions that changed, the schedule, role or guardrails; else the policy concerned.
fn what(event: &pb::Event) -> String {
    let moves = event.changes.iter().map(|change| {
        let pointer = |version: i64| if version == 0 { "none".to_owned() } else { version.to_string() };
        format!("{} {}->{}", short(&change.policy), pointer(change.previous_version), pointer(change.version))
    });
    let versions = event.versions.iter().map(|change| {
        let adopted = change.adopted.as_ref().map(|adopted| format!(" (written by {})", text::written(adopted)));
        let (policy, state) =
            (policy_of(&change.version_name), text::word(change.state().as_str_name(), "VERSION_STATE_"));
        format!("{policy}@{} {state}{}", short(&change.version_name), adopted.unwrap_or_default())
    });
    let due = event.due_time.as_ref().map(|due| format!(" of {}", text::time(Some(due)))).unwrap_or_default();
    let schedule = (!event.schedule.is_empty()).then(|| format!("schedule {}{due}", short(&event.schedule)));
    let parts: Vec<String> = moves.chain(versions).chain(schedule).chain(rights_or_rules(event)).collect();
    if parts.is_empty() { short(&event.policy).to_owned() } else { parts.join(", ") }
}

/// Returns the role that was granted or revoked, or the guardrails that changed. Only the signed payload says them.
fn rights_or_rules(event: &pb::Event) -> Option<String> {
    let payload: Payload = serde_json::from_slice(&event.payload).ok()?;
    if payload.kind == EventKind::UpdateGuardrails {
        return Some(text::line(&changed_guardrails(&payload)));
    }
    let binding = payload.access?.binding;
    Some(text::line(&format!("{} for {}", binding.role.as_str(), binding.member)))
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
                version_name: "namespaces/default/policies/pricing/versions/3".to_owned(),
                state: pb::VersionState::Published.into(),
                ..Default::default()
            }],
            ..Default::default()
        };
        assert_eq!(row(&event), ["1:12", "", "ACTIVATE", "alice", "pricing none->3, pricing@3 PUBLISHED", "launch"]);
        let bare = pb::Event { policy: event.policy, ..Default::default() };
        assert_eq!(what(&bare), "pricing");
        let due_time = Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 });
        let schedule = "namespaces/default/schedules/weekend".to_owned();
        let suspended = pb::Event { schedule, due_time, ..Default::default() };
        assert_eq!(what(&suspended), "schedule weekend of 2023-11-14T22:13:20Z");
    }
}
