//! Queries about the past: events by actor, kind and time; who moved a pointer; the source of a version.

use std::collections::BTreeSet;

use policyhub::client::pb::EventKind::{Activate, Draft, Publish, Rollback};
use policyhub::client::{Client, pb};
use serde_json::Value;

use crate::harness::callers::grant;
use crate::harness::calls::{
    NAMESPACE, activate, draft, events, get_version, policy, refused_fields, release, rollback_request,
};
use crate::harness::guardrails::set_guardrails;
use crate::harness::reviews::person;
use crate::harness::{Hub, on_both_databases};

/// Runs a command that must succeed and returns its output.
fn printed(hub: &Hub, line: &str) -> String {
    let output = hub.cli().args(line.split(' ')).output().expect("the binary runs");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn json(hub: &Hub, line: &str) -> Value {
    serde_json::from_str(&printed(hub, &format!("{line} --output json"))).expect("one JSON document")
}

fn ask() -> pb::ListEventsRequest {
    pb::ListEventsRequest { parent: NAMESPACE.to_owned(), ..Default::default() }
}

fn by(filter: &str) -> pb::ListEventsRequest {
    pb::ListEventsRequest { filter: filter.to_owned(), ..ask() }
}

/// Returns every event of a list, from all pages, and the number of pages.
async fn all(client: &Client, mut request: pb::ListEventsRequest) -> (Vec<pb::Event>, usize) {
    let (mut found, mut pages) = (Vec::new(), 0);
    loop {
        let page = client.list_events(request.clone()).await.expect("a page");
        found.extend(page.events);
        pages += 1;
        if page.next_page_token.is_empty() {
            return (found, pages);
        }
        request.page_token = page.next_page_token;
    }
}

fn revisions(events: &[pb::Event]) -> Vec<i64> {
    events.iter().map(|event| event.cursor.expect("a cursor").revision).collect()
}

/// Returns whether an event belongs in an answer.
type Belongs<'a> = Box<dyn Fn(&pb::Event) -> bool + 'a>;

on_both_databases! {
    /// Given filters by actor, kind, time and policy, alone and combined, in both orders and with pages, the result is that of filtering by
    /// hand.
    async fn the_log_is_filtered(hub: Hub) {
        let (client, rita) = (hub.client().await, person(&hub, "rita").await);
        for number in 1..=3 {
            release(&client, "p", &format!("a: {number}")).await;
            release(&rita, "q", &format!("a: {number}")).await;
        }
        rita.rollback(rollback_request("p", 1)).await.expect("a rollback");
        let log = events(&client, NAMESPACE, 0).await;
        let middle = log[log.len() / 2].time;
        let is_early = |event: &pb::Event| {
            let key = |time: Option<prost_types::Timestamp>| time.map(|time| (time.seconds, time.nanos));
            key(event.time) < key(middle)
        };
        let rita_did = |event: &pb::Event| event.actor == "local:rita";
        let moved = |event: &pb::Event| [Activate, Rollback].contains(&event.kind());
        let kinds = "(kind = ACTIVATE OR kind = EVENT_KIND_ROLLBACK)";
        let (since, until) = (format!("time >= \"{}\"", middle.expect("a time")), format!("time < \"{}\"", middle.expect("a time")));
        let actor = "actor = \"local:rita\"";
        let cases: Vec<(pb::ListEventsRequest, Belongs<'_>)> = vec![
            (by(actor), Box::new(rita_did)),
            (by(kinds), Box::new(moved)),
            (by(&until), Box::new(is_early)),
            (by(&since), Box::new(move |event| !is_early(event))),
            (
                by(&format!("{actor} AND {kinds} AND {since}")),
                Box::new(move |event| rita_did(event) && moved(event) && !is_early(event)),
            ),
            (
                pb::ListEventsRequest { parent: policy("p"), ..by(actor) },
                Box::new(move |event| rita_did(event) && event.policy.ends_with("/p")),
            ),
            (by("policy = p"), Box::new(|event| event.policy.ends_with("/p"))),
            (by(&format!("policy = {:?} AND {kinds}", policy("p"))), Box::new(move |event| event.policy.ends_with("/p") && moved(event))),
            (by("policy != p"), Box::new(|event| !event.policy.ends_with("/p"))),
            (by("NOT (policy = p OR kind = DRAFT)"), Box::new(|event| !event.policy.ends_with("/p") && event.kind() != Draft)),
            (by("revision > 3 AND revision <= 7 AND revision != 5"), Box::new(|event| [4, 6, 7].contains(&event.cursor.expect("a cursor").revision))),
            (by("revision = 4 OR revision = 6"), Box::new(|event| [4, 6].contains(&event.cursor.expect("a cursor").revision))),
            (by("actor = \"local:ri\""), Box::new(|_| false)),
            (by("actor : \"rita\""), Box::new(rita_did)),
        ];
        for (request, is_wanted) in cases {
            let mut wanted = revisions(&log.iter().filter(|event| is_wanted(event)).cloned().collect::<Vec<_>>());
            for page_size in [1, 2, 50] {
                let paged = pb::ListEventsRequest { page_size, ..request.clone() };
                assert_eq!(revisions(&all(&client, paged).await.0), wanted, "{request:?} by {page_size}");
            }
            wanted.reverse();
            let newest = pb::ListEventsRequest { order_by: "revision desc".to_owned(), page_size: 2, ..request.clone() };
            assert_eq!(revisions(&all(&client, newest).await.0), wanted, "{request:?} newest first");
        }
        let first = client.list_events(pb::ListEventsRequest { page_size: 1, ..ask() }).await.expect("a page");
        let newest = pb::ListEventsRequest { order_by: "revision desc".to_owned(), ..ask() };
        for other in [by(kinds), newest] {
            let other = pb::ListEventsRequest { page_token: first.next_page_token.clone(), ..other };
            assert_eq!(crate::harness::calls::reason(client.list_events(other).await), "INVALID_PAGE_TOKEN");
        }
        refused_fields(client.list_events(by("kind = NOTHING")).await, &["filter"]);
        let imported = pb::ListEventsRequest { parent: policy("p"), import_position: 1, ..by(kinds) };
        refused_fields(client.list_events(imported).await, &["import_position"]);
    }

    /// Given one matching event behind many others, it is found over several reads of the database.
    async fn one_event_among_many_is_found(hub: Hub) {
        let (client, rita) = (hub.client().await, person(&hub, "rita").await);
        for number in 0..130 {
            draft(&client, "p", &format!("a: {number}")).await;
        }
        draft(&rita, "p", "a: rita").await;
        let (found, pages) = all(&client, by("actor = \"local:rita\"")).await;
        assert_eq!((revisions(&found), pages), (vec![131], 1));
        let (found, _) = all(&client, by("kind = CREATE_POLICY")).await;
        assert_eq!(found.len(), 0, "a draft made the policy");
        let (found, _) = all(&client, by("kind = DRAFT")).await;
        assert_eq!(found.len(), 131);
    }

    /// `events` filters by --policy, --actor, --kind, --since and --until.
    async fn the_command_asks_for_events(hub: Hub) {
        let (client, rita) = (hub.client().await, person(&hub, "rita").await);
        release(&client, "p", "a: 1").await;
        release(&rita, "q", "a: 1").await;
        let kinds = |line: &str| -> Vec<String> {
            let answer = json(&hub, line);
            let events = answer["events"].as_array().expect("events");
            events.iter().map(|event| event["kind"].as_str().unwrap_or_default().replace("EVENT_KIND_", "")).collect()
        };
        assert_eq!(kinds("events --policy q"), ["DRAFT", "PUBLISH", "ACTIVATE"]);
        assert_eq!(kinds("events --policy q --kind publish --kind ACTIVATE"), ["PUBLISH", "ACTIVATE"]);
        assert_eq!(kinds("events --actor local:rita --kind draft"), ["DRAFT"]);
        assert_eq!(kinds("events q --until 2026-01-02T03:04:05Z").len(), 0);
        assert_eq!(kinds("events q --since 2026-01-02T03:04:05Z").len(), 3);
        assert_eq!(kinds("events --since 2999-01-02T03:04:05Z").len(), 0);
        assert_eq!(kinds("events q --kind draft --kind publish --filter kind!=DRAFT"), ["PUBLISH"]);
        assert_eq!(kinds("events --actor x\"ORkind=DRAFT"), Vec::<String>::new(), "a name is a name, whatever is in it");
        assert_eq!(events(&client, NAMESPACE, 0).await.iter().filter(|each| each.kind() == Publish).count(), 2);
    }

    /// `events` names the role that was granted, and the guardrails that were set and deleted.
    async fn the_command_says_what_an_event_is_about(hub: Hub) {
        let client = hub.client().await;
        grant(&client, "ann", pb::Role::Author, NAMESPACE).await;
        set_guardrails(&client, "namespaces/default/guardrails", &[("a-rule", "true"), ("b-rule", "true")]).await;
        set_guardrails(&client, "namespaces/default/guardrails", &[("a-rule", "content != null")]).await;
        let shown = printed(&hub, "events");
        for what in ["AUTHOR for local:ann", "guardrails: a-rule, b-rule set", "guardrails: a-rule set; b-rule deleted"] {
            assert!(shown.contains(what), "{what}: {shown}");
        }
    }

    /// `active` of the past shows who activated each version, when and why, for one policy and for the set.
    async fn the_past_says_who_moved_the_pointer(hub: Hub) {
        let (client, rita) = (hub.client().await, person(&hub, "rita").await);
        release(&client, "p", "a: 1").await;
        release(&rita, "q", "a: 1").await;
        let then = events(&client, NAMESPACE, 0).await;
        let moved = then.last().expect("an event");
        let at = moved.cursor.expect("a cursor").revision;
        release(&client, "p", "a: 2").await;
        rita.rollback(rollback_request("p", 1)).await.expect("a rollback");

        let past = json(&hub, &format!("active --at-revision {at}"));
        assert_eq!(past["moves"]["p"]["actor"], "local:admin");
        assert_eq!((&past["moves"]["q"]["actor"], &past["moves"]["q"]["revision"]), (&Value::from("local:rita"), &Value::from(at)));
        assert_eq!(past["moves"]["q"]["reason"], "a test");
        let newest = json(&hub, "events --newest --limit 1");
        let now = newest["events"][0]["time"].as_str().expect("a time");
        let one = json(&hub, &format!("active p --at-time {now}"));
        assert_eq!((&one["moves"]["p"]["actor"], &one["moves"]["p"]["kind"]), (&Value::from("local:rita"), &Value::from("ROLLBACK")));
        let table = printed(&hub, &format!("active q --at-revision {at}"));
        assert!(table.contains("MOVED BY") && table.contains("local:rita") && table.contains("a test"), "{table}");
        assert!(json(&hub, "active").get("moves").is_none(), "what is in force now has its place in the log");
    }

    /// `history` names the version that a copy was made from.
    async fn history_names_the_source_of_a_copy(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        release(&client, "p", "a: 2").await;
        let copy = pb::RollbackRequest { mode: pb::RollbackMode::CopyForward.into(), ..rollback_request("p", 1) };
        client.rollback(copy).await.expect("a copy");
        assert_eq!(get_version(&client, "p", 3).await.source_version, 1);
        let history = printed(&hub, "history p");
        let lines: Vec<&str> = history.lines().filter(|line| line.contains("(copy of 1)")).collect();
        assert!(lines.len() == 1 && lines[0].contains("3  ") && lines[0].contains("PUBLISHED (copy of 1)"), "{history}");
    }

    /// `draft --bump` gives the label after the highest published one, whatever drafts there are.
    async fn a_bump_follows_the_highest_published_label(hub: Hub) {
        let file = hub.dir.path().join("p.yaml");
        let mut seen = Vec::new();
        for (number, (part, more)) in
            [("minor", " --create"), ("patch", ""), ("patch", ""), ("major", ""), ("minor", "")].into_iter().enumerate()
        {
            std::fs::write(&file, format!("a: {number}")).expect("written");
            let drafted = json(&hub, &format!("draft p {} --bump {part}{more}", file.display()));
            seen.push(drafted["version"]["label"].as_str().expect("a label").to_owned());
            printed(&hub, "publish p");
        }
        assert_eq!(seen, ["0.1.0", "0.1.1", "0.1.2", "1.0.0", "1.1.0"]);
        let first = json(&hub, &format!("draft q {} --bump major --create", file.display()));
        assert_eq!(first["version"]["label"], "1.0.0");
        let again = json(&hub, &format!("draft q {} --bump major", file.display()));
        assert_eq!((&again["version"]["version"], &again["cursor"]), (&Value::from(1), &Value::Null), "nothing is published");
        let both = hub.cli().args(["draft", "p", "-", "--bump", "minor", "--label", "9.0.0"]).output();
        assert_eq!(both.expect("the binary runs").status.code(), Some(2));
        let client = hub.client().await;
        activate(&client, "p", 1).await;
        let labels: BTreeSet<String> = seen.into_iter().collect();
        assert_eq!(labels.len(), 5, "each once");
    }
}
