//! `policyhub history`

use anyhow::Context as _;
use clap::Args;

use crate::cli::commands::{annotations, requirements};
use crate::cli::names::{policy_id, policy_name, policy_of, short};
use crate::cli::narrowed::Narrowed;
use crate::cli::output::document::Format;
use crate::cli::output::terminal_style::TerminalStyle;
use crate::cli::output::{terminal_style, text};
use crate::cli::pages;
use crate::cli::session::Session;
use crate::client::name::PolicyId;
use crate::client::now_seconds;
use crate::client::pb;

/// Most events that are searched for the last change of a version.
const EVENTS_READ: usize = 500;
/// Widest name of a principal.
const WHO_MAX_CHARS: usize = 32;
/// Widest reason and note; `policyhub events` and --output json show them in full.
const WORDS_MAX_CHARS: usize = 40;

/// The versions of a policy, newest first
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub history pricing --limit 10")]
pub struct HistoryArguments {
    /// Id of the policy
    #[arg(value_parser = policy_id)]
    policy: PolicyId,
    /// Versions at most
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    narrowed: Narrowed,
}

/// Runs the command. JSON is the list of versions; text also shows the last event of each.
pub async fn run(session: &Session, arguments: HistoryArguments) -> anyhow::Result<()> {
    let parent = policy_name(&session.namespace, &arguments.policy);
    let read = pages::collect(arguments.limit, async |page_token, page_size| {
        let (parent, filter) = (parent.clone(), arguments.narrowed.filter.clone());
        let request = pb::ListVersionsRequest { parent, page_token, page_size, filter, ..Default::default() };
        let page = session.client.list_versions(request).await?;
        Ok((page.versions, page.next_page_token))
    });
    let read = read.await.with_context(|| format!("failed to list the versions of {}", arguments.policy))?;
    let (versions, next_page_token) = read;
    let events = match session.output {
        Format::Text => newest_events(session, &parent).await,
        Format::Json | Format::Yaml | Format::Sarif => Vec::new(),
    };
    let response = pb::ListVersionsResponse { versions, next_page_token };
    session.output.print(&response, |response| table(response, &events, now_seconds(), TerminalStyle::stdout()))?;
    pages::say_if_cut(session.output, response.versions.len(), &response.next_page_token, pages::HIGHER_LIMIT);
    Ok(())
}

/// Returns the log of the policy, newest first. When it can't be read, the versions themselves say who wrote and published them.
async fn newest_events(session: &Session, parent: &str) -> Vec<pb::Event> {
    let read = pages::collect(EVENTS_READ, async |page_token, page_size| {
        let request = pb::ListEventsRequest {
            parent: parent.to_owned(),
            page_size,
            page_token,
            order_by: "revision desc".to_owned(),
            ..Default::default()
        };
        let page = session.client.list_events(request).await?;
        Ok((page.events, page.next_page_token))
    });
    read.await.map(|(events, _)| events).unwrap_or_default()
}

fn table(
    response: &pb::ListVersionsResponse,
    events: &[pb::Event],
    now_seconds: i64,
    style_of: TerminalStyle,
) -> String {
    let versions = &response.versions;
    let mut rows: Vec<Vec<String>> =
        versions.iter().map(|version| row(version, &last(version, events), now_seconds)).collect();
    let mut header = vec!["", "VERSION", "LABEL", "STATE", "AUTHOR", "WHEN", "AGE", "LAST", "WHY", "NOTE"];
    let mut add = |name, cell: &dyn Fn(&pb::Version) -> String| {
        let cells: Vec<String> = versions.iter().map(cell).collect();
        if cells.iter().any(|cell| !cell.is_empty()) {
            header.push(name);
            rows.iter_mut().zip(cells).for_each(|(row, cell)| row.push(cell));
        }
    };
    add("WRITTEN BY", &|version| version.adopted.as_ref().map(text::written).unwrap_or_default());
    add("REQUIRES", &|version| text::shortened(&requirements::line(&version.requires), WORDS_MAX_CHARS));
    add("ANNOTATIONS", &|version| text::shortened(&annotations::cell(&version.annotations), WORDS_MAX_CHARS));
    let styles = std::iter::once(terminal_style::STRONG).chain(response.versions.iter().map(style));
    let table = text::table(&header, &rows);
    table.lines().zip(styles).map(|(line, style)| style_of.paint(style, line) + "\n").collect()
}

fn style(version: &pb::Version) -> anstyle::Style {
    match version.state() {
        _ if version.active => terminal_style::GOOD,
        pb::VersionState::Abandoned | pb::VersionState::Rejected | pb::VersionState::Superseded => {
            terminal_style::QUIET
        }
        _ => terminal_style::PLAIN,
    }
}

/// The last event of a version.
#[derive(Debug, PartialEq, Eq)]
struct Last<'a> {
    when: Option<prost_types::Timestamp>,
    what: String,
    who: &'a str,
    why: &'a str,
}

fn last<'a>(version: &'a pb::Version, events: &'a [pb::Event]) -> Last<'a> {
    let found = events.iter().find_map(|event| Some((event, done(version, event)?)));
    match (found, &version.publish_time) {
        (Some((event, what)), _) => Last { when: event.time, what, who: &event.actor, why: &event.reason },
        (None, Some(time)) => {
            Last { when: Some(*time), what: "published".to_owned(), who: &version.publisher, why: "" }
        }
        (None, None) => Last { when: version.create_time, what: "drafted".to_owned(), who: &version.author, why: "" },
    }
}

/// Returns what an event did to a version; `None` when nothing.
fn done(version: &pb::Version, event: &pb::Event) -> Option<String> {
    let policy = policy_of(&version.name);
    let is_pointed_to =
        |change: &pb::PointerChange| short(&change.policy) == policy && change.version == version.version;
    let kind = event.kind();
    if kind == pb::EventKind::Resign {
        let named = event.versions.iter().any(|change| change.version_name == version.name);
        return named.then(|| "signed again".to_owned());
    }
    if event.changes.iter().any(is_pointed_to) {
        let what = if kind == pb::EventKind::Rollback { "rolled back to" } else { "activated" };
        return Some(what.to_owned());
    }
    let change = event.versions.iter().find(|change| change.version_name == version.name)?;
    Some(match (kind, change.state()) {
        (pb::EventKind::ApproveVersion, _) => "approved".to_owned(),
        (_, pb::VersionState::Draft) if change.adopted.is_some() => "adopted".to_owned(),
        (_, pb::VersionState::Draft) => "drafted".to_owned(),
        (_, state) => text::word(state.as_str_name(), "VERSION_STATE_").to_ascii_lowercase(),
    })
}

fn row(version: &pb::Version, last: &Last<'_>, now_seconds: i64) -> Vec<String> {
    vec![
        if version.active { "*".to_owned() } else { String::new() },
        version.version.to_string(),
        text::line(&version.label),
        state(version),
        text::shortened(&version.author, WHO_MAX_CHARS),
        text::time(last.when.as_ref()),
        text::age(last.when.as_ref(), now_seconds),
        format!("{} by {}", last.what, text::shortened(last.who, WHO_MAX_CHARS)),
        text::shortened(last.why, WORDS_MAX_CHARS),
        text::shortened(&version.change_note, WORDS_MAX_CHARS),
    ]
}

/// Returns the state, and the source of the content when it is another store or an older version.
fn state(version: &pb::Version) -> String {
    let state = text::state(version.state);
    match version.source_version {
        _ if !version.origin_manifests.is_empty() => format!("{state} (imported)"),
        _ if version.adopted.is_some() => format!("{state} (adopted)"),
        0 => state.to_owned(),
        source => format!("{state} (copy of {source})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "namespaces/default/policies/pricing";

    fn name(number: i64) -> String {
        format!("{POLICY}/versions/{number}")
    }

    fn version(number: i64, state: pb::VersionState, active: bool) -> pb::Version {
        pb::Version {
            name: name(number),
            version: number,
            active,
            author: "ann".to_owned(),
            state: state.into(),
            create_time: Some(prost_types::Timestamp::default()),
            change_note: "two\nlines".to_owned(),
            ..Default::default()
        }
    }

    fn event(kind: pb::EventKind, actor: &str, reason: &str) -> pb::Event {
        pb::Event {
            kind: kind.into(),
            actor: actor.to_owned(),
            reason: reason.to_owned(),
            time: Some(prost_types::Timestamp { seconds: 60, nanos: 0 }),
            ..Default::default()
        }
    }

    fn pointed_to(number: i64) -> pb::PointerChange {
        pb::PointerChange { policy: POLICY.to_owned(), version: number, ..Default::default() }
    }

    fn became(number: i64, state: pb::VersionState) -> pb::VersionChange {
        pb::VersionChange { version_name: name(number), state: state.into(), ..Default::default() }
    }

    #[test]
    fn one_line_says_what_who_when_and_why() {
        use pb::VersionState::{Draft, Published, Superseded};
        let published = pb::Version {
            publisher: "bob".to_owned(),
            publish_time: Some(prost_types::Timestamp::default()),
            ..version(1, Published, false)
        };
        let versions =
            vec![version(4, Draft, false), version(3, Superseded, false), version(2, Published, true), published];
        let events = [
            pb::Event {
                changes: vec![pointed_to(2)],
                ..event(pb::EventKind::Rollback, "carol", "launch\u{1b}[2J was bad")
            },
            pb::Event {
                versions: vec![became(4, Draft), became(3, Superseded)],
                ..event(pb::EventKind::Draft, "ann", "")
            },
            pb::Event { changes: vec![pointed_to(2)], ..event(pb::EventKind::Activate, "bob", "launch") },
        ];
        let text =
            table(&pb::ListVersionsResponse { versions, ..Default::default() }, &events, 180, TerminalStyle::PLAIN);
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [
                "   VERSION  LABEL  STATE       AUTHOR  WHEN                  AGE  LAST                     WHY                 NOTE",
                "   4               DRAFT       ann     1970-01-01T00:01:00Z  2m   drafted by ann                               two lines",
                "   3               SUPERSEDED  ann     1970-01-01T00:01:00Z  2m   superseded by ann                            two lines",
                "*  2               PUBLISHED   ann     1970-01-01T00:01:00Z  2m   rolled back to by carol  launch [2J was bad  two lines",
                "   1               PUBLISHED   ann     1970-01-01T00:00:00Z  3m   published by bob                             two lines",
            ]
        );
    }

    #[test]
    fn the_active_line_is_coloured() {
        let versions =
            vec![version(2, pb::VersionState::Published, true), version(1, pb::VersionState::Abandoned, false)];
        let text = table(&pb::ListVersionsResponse { versions, ..Default::default() }, &[], 0, TerminalStyle::COLOURED);
        let codes: Vec<&str> = text.lines().map(|line| line.get(..4).expect("a code")).collect();
        assert_eq!(codes, ["\u{1b}[1m", "\u{1b}[32", "\u{1b}[2m"]);
        assert!(text.lines().all(|line| line.ends_with("\u{1b}[0m")));
    }

    #[test]
    fn each_kind_of_event_has_its_word() {
        use pb::VersionState::{Published, Rejected, Staged};
        let version = version(2, Published, false);
        for (kind, pointer, state, word) in [
            (pb::EventKind::Activate, Some(2), Some(Published), Some("activated")),
            (pb::EventKind::BreakGlass, None, Some(Published), Some("published")),
            (pb::EventKind::ApproveVersion, None, Some(Staged), Some("approved")),
            (pb::EventKind::RejectVersion, None, Some(Rejected), Some("rejected")),
            (pb::EventKind::Resign, Some(2), Some(Published), Some("signed again")),
            (pb::EventKind::Activate, Some(3), None, None),
            (pb::EventKind::UpdatePolicy, None, None, None),
        ] {
            let changes = pointer.map(pointed_to).into_iter().collect();
            let versions = state.map(|state| became(2, state)).into_iter().collect();
            let event = pb::Event { changes, versions, ..event(kind, "bob", "") };
            assert_eq!(done(&version, &event).as_deref(), word, "{kind:?}");
        }
    }

    #[test]
    fn annotations_have_a_column_where_there_are_some() {
        let annotations = [("owner".to_owned(), "team-a".to_owned())].into();
        let versions = vec![
            pb::Version { annotations, ..version(2, pb::VersionState::Draft, false) },
            version(1, pb::VersionState::Draft, false),
        ];
        let text = table(&pb::ListVersionsResponse { versions, ..Default::default() }, &[], 0, TerminalStyle::PLAIN);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].ends_with("NOTE       ANNOTATIONS") && lines[1].ends_with("  owner=team-a"), "{text}");
        assert!(lines[2].ends_with("two lines"), "{text}");
    }

    #[test]
    fn a_copy_names_its_source() {
        let copy = pb::Version { source_version: 1, ..version(3, pb::VersionState::Published, true) };
        assert_eq!(state(&copy), "PUBLISHED (copy of 1)");
        assert_eq!(state(&version(3, pb::VersionState::Draft, false)), "DRAFT");
    }

    #[test]
    fn a_line_is_bounded() {
        let long = "x".repeat(4_096);
        let version =
            pb::Version { author: long.clone(), change_note: long, ..version(1, pb::VersionState::Draft, false) };
        let text = table(
            &pb::ListVersionsResponse { versions: vec![version], ..Default::default() },
            &[],
            0,
            TerminalStyle::PLAIN,
        );
        assert!(text.lines().all(|line| line.chars().count() < 200), "{text}");
    }
}
