//! Convergence of an activation: each live subscriber is counted once, on every replica, and a call can wait for the last of them.

use std::time::Duration;

use policyhub::client::{Client, pb};
use serde_json::Value;
use tokio::task::JoinSet;
use tonic::Code;

use crate::harness::callers::try_grant;
use crate::harness::calls::{
    NAMESPACE, NamedEvent, activate, deactivate, draft, head, publish, refused, refused_fields, release,
};
use crate::harness::idp::{Idp, IdpAnswer, IdpKey, jwks, reloaded, wait_until};
use crate::harness::subscribing::{
    SubscriberStream, applied, at, convergence, counts, digest_at, eventually, rejected, subscribe, subscriber,
    subscriber_name, watch_request,
};
use crate::harness::watching::{DEADLINE, LIVELY};
use crate::harness::{Database, Hub, on_both_databases};
use crate::watch_many::two_servers;

const FLEET: usize = 50;
const AT_ONCE: Duration = Duration::ZERO;
/// The longest permitted wait.
const LONG: Duration = Duration::from_secs(60);

async fn two_versions(client: &Client) -> i64 {
    publish(client, "p", "a: 1").await;
    publish(client, "p", "a: 2").await;
    activate(client, "p", 1).await
}

fn ids(subscribers: &[pb::Subscriber]) -> Vec<String> {
    subscribers.iter().map(NamedEvent::id).collect()
}

async fn report(client: &Client, request: pb::ReportStatusRequest) {
    client.report_status(request).await.expect("taken");
}

/// Opens the watches of a fleet with numbered ids.
async fn fleet(client: &Client, prefix: &str, size: usize) -> Vec<SubscriberStream> {
    let mut opening = JoinSet::new();
    for number in 0..size {
        let (client, id) = (client.clone(), format!("{prefix}{number:02}"));
        opening.spawn(async move { subscribe(&client, &id).await });
    }
    opening.join_all().await
}

on_both_databases! {
    with LIVELY;

    async fn each_is_counted_where_its_newest_word_puts_it(hub: Hub) {
        let client = hub.client().await;
        let first = two_versions(&client).await;
        let nobody = convergence(&client, at(first), AT_ONCE).await.expect("an answer");
        assert!(nobody.settled && nobody.cursor == Some(at(first)));
        let mut streams = Vec::new();
        for id in ["applies", "is-behind", "rejects", "silent", "goes"] {
            streams.push(subscribe(&client, id).await);
        }
        assert_eq!(counts(&client, first).await, [0, 0, 5, 0]);
        let second = activate(&client, "p", 2).await;
        let third = activate(&client, "p", 1).await;
        report(&client, applied(&client, "applies", third).await).await;
        report(&client, applied(&client, "is-behind", first).await).await;
        report(&client, rejected(&client, "rejects", second, "no").await).await;
        assert_eq!(counts(&client, first).await, [2, 1, 2, 0], "what rejected 2 never said it had 1");
        assert_eq!(counts(&client, second).await, [1, 1, 3, 0]);
        assert_eq!(counts(&client, third).await, [1, 0, 4, 0]);
        let found = convergence(&client, at(second), AT_ONCE).await.expect("an answer");
        assert_eq!(ids(&found.rejected_subscribers), ["rejects"]);
        assert_eq!(ids(&found.pending_subscribers), ["goes", "is-behind", "silent"]);
        assert_eq!(found.rejected_subscribers[0].reason, "no");
        assert_eq!(found.pending_subscribers[1].applied, Some(at(first)));

        // A closed stream is not waited for; a rate-limited report counts here at once.
        streams.truncate(4);
        eventually("it is offline", async || counts(&client, third).await[3] == 1).await;
        assert!(!client.report_status(applied(&client, "is-behind", third).await).await.expect("taken").stored);
        assert_eq!(counts(&client, third).await, [2, 0, 2, 1]);
        // It had rejected 2, and runs with 3.
        report(&client, applied(&client, "rejects", third).await).await;
        assert_eq!(counts(&client, second).await, [3, 0, 1, 1]);
        // It applied this revision and then rejected it, so it does not run with it.
        report(&client, rejected(&client, "rejects", third, "it crashes").await).await;
        assert_eq!(counts(&client, third).await, [2, 1, 1, 1]);
        let found = convergence(&client, at(third), AT_ONCE).await.expect("an answer");
        assert_eq!(found.rejected_subscribers[0].reason, "it crashes");
    }

    async fn who_watches_something_else_is_not_waited_for(hub: Hub) {
        let client = hub.client().await;
        let first = two_versions(&client).await;
        let mut streams = Vec::new();
        for (id, policies) in [("all", &[][..]), ("both", &["p", "q"]), ("other", &["q"])] {
            streams.push(client.watch_active(watch_request(id, policies)).await.expect("a watch"));
        }
        let found = convergence(&client, at(first), AT_ONCE).await.expect("an answer");
        assert_eq!((found.pending, found.unconcerned), (2, 1));
        for id in ["all", "both"] {
            // With a wrong digest, nobody can tell this for a part of the set.
            let wrong = digest_at(&client, 0).await;
            report(&client, pb::ReportStatusRequest { digest: wrong, ..applied(&client, id, first).await }).await;
        }
        let found = convergence(&client, at(first), LONG).await.expect("an answer");
        assert_eq!((found.applied, found.diverged, found.settled), (2, 1, true));
        assert_eq!(found.superseded_by, None);
        // A tombstone concerns the subscribers that watched the policy.
        let gone = deactivate(&client, "p").await;
        let found = convergence(&client, at(gone), AT_ONCE).await.expect("an answer");
        assert_eq!((found.pending, found.unconcerned, found.superseded_by), (2, 1, None));
        let found = convergence(&client, at(first), AT_ONCE).await.expect("an answer");
        assert_eq!((found.applied, found.superseded_by), (2, Some(at(gone))), "they ran with it, and it is over");
        release(&client, "q", "a: 1").await;
        let found = convergence(&client, at(head(&client).await), AT_ONCE).await.expect("an answer");
        assert_eq!((found.pending, found.unconcerned), (3, 0));
    }

    /// Given fifty reports at once while several calls wait, every wait ends after the last report.
    async fn a_fleet_converges_and_those_who_wait_hear_of_it(hub: Hub) {
        let client = hub.client().await;
        let first = two_versions(&client).await;
        let streams = fleet(&client, "s", FLEET).await;
        eventually("all are online", async || counts(&client, first).await == [0, 0, 50, 0]).await;
        let named = convergence(&client, at(first), AT_ONCE).await.expect("an answer");
        assert_eq!(named.pending_subscribers.len(), 20, "the first twenty are named");
        let mut waiting = JoinSet::new();
        for _ in 0..5 {
            let client = client.clone();
            waiting.spawn(async move { convergence(&client, at(first), LONG).await.expect("an answer") });
        }
        let (yes, no) = (applied(&client, "", first).await, rejected(&client, "", first, "no").await);
        let mut reporting = JoinSet::new();
        for number in 0..FLEET {
            let word = if number % 10 == 0 { no.clone() } else { yes.clone() };
            let word = pb::ReportStatusRequest { name: subscriber_name(&format!("s{number:02}")), ..word };
            let client = client.clone();
            reporting.spawn(async move { report(&client, word).await });
        }
        reporting.join_all().await;
        for found in waiting.join_all().await {
            assert_eq!((found.applied, found.rejected, found.pending, found.settled), (45, 5, 0, true));
        }
        drop(streams);
    }

    async fn a_wait_ends_with_its_time_or_with_the_server(hub: Hub) {
        let client = hub.client().await;
        let first = two_versions(&client).await;
        let _stream = subscribe(&client, "silent").await;
        let found = convergence(&client, at(first), Duration::from_millis(1_500)).await.expect("no error");
        assert_eq!((found.pending, found.settled), (1, false));
        let waiting = tokio::spawn(async move { convergence(&client, at(first), LONG).await });
        let client = hub.client().await;
        // The call waits by now, or the draining server answers it at once; in both cases it does not delay the server's end.
        assert!(subscriber(&client, "silent").await.online);
        let mut hub = hub;
        hub.signal("TERM");
        let ended = tokio::time::timeout(Duration::from_secs(30), hub.ended()).await.expect("an end");
        assert!(ended.success());
        match waiting.await.expect("a task") {
            Ok(found) => assert_eq!((found.settled, found.pending), (false, 1), "a drain settles nothing"),
            Err(error) => assert_eq!(error.code(), Code::Unavailable, "{error:?}"),
        }
        // A subscriber that was asked to reconnect still counts.
        let hub = hub.restart().await;
        let found = convergence(&hub.client().await, at(first), AT_ONCE).await.expect("an answer");
        assert_eq!((found.pending, found.offline), (1, 0));
    }

    async fn what_is_no_activation_is_refused(hub: Hub) {
        let client = hub.client().await;
        let first = two_versions(&client).await;
        draft(&client, "p", "a: 3").await;
        for (cursor, word) in [
            (at(1), "moved no pointer"),
            (at(first + 1), "moved no pointer"),
            (at(0), "the log begins"),
            (at(first + 2), "ahead of the log"),
            (at(i64::MAX), "ahead of the log"),
            (pb::Cursor { epoch: 2, revision: first, ..Default::default() }, "ahead of the log"),
            (at(-1), "negative"),
            (pb::Cursor { epoch: -1, revision: first, ..Default::default() }, "negative"),
        ] {
            let error = convergence(&client, cursor, AT_ONCE).await;
            refused_fields(error.clone(), &["cursor"]);
            let error = error.expect_err("refused");
            assert!(error.message().contains(word), "{cursor:?}: {error:?}");
        }
        let ask = |cursor, wait| pb::GetConvergenceRequest { parent: NAMESPACE.to_owned(), cursor, wait };
        refused_fields(client.get_convergence(ask(None, None)).await, &["cursor"]);
        for (seconds, nanos) in [(61, 0), (60, 1), (-1, 0), (i64::MAX, 0)] {
            let wait = Some(prost_types::Duration { seconds, nanos });
            refused_fields(client.get_convergence(ask(Some(at(first)), wait)).await, &["wait"]);
        }
        let any_epoch = pb::Cursor { epoch: 0, revision: first, ..Default::default() };
        assert_eq!(convergence(&client, any_epoch, AT_ONCE).await.expect("an answer").cursor, Some(at(first)));
        let absent = pb::GetConvergenceRequest { parent: "namespaces/absent".to_owned(), ..ask(Some(at(1)), None) };
        refused(client.get_convergence(absent).await, Code::NotFound, "NAMESPACE_NOT_FOUND");
    }
}

/// Given streams on two servers and reports to either, both answer the same.
#[tokio::test]
async fn two_servers_count_the_same_fleet() {
    let (one, other, _keys) = two_servers().await;
    let (here, there) = (one.client().await, other.client().await);
    let first = two_versions(&here).await;
    let streams = (fleet(&here, "a", FLEET / 2).await, fleet(&there, "b", FLEET / 2).await);
    for client in [&here, &there] {
        eventually("both see all of them", async || counts(client, first).await == [0, 0, 50, 0]).await;
    }
    let waiting = [here.clone(), there.clone()]
        .map(|client| tokio::spawn(async move { convergence(&client, at(first), LONG).await.expect("an answer") }));
    let word = applied(&here, "", first).await;
    let mut reporting = JoinSet::new();
    for number in 0..FLEET {
        // Half of the reports go to another server than the one with the stream.
        let client = if number % 2 == 0 { here.clone() } else { there.clone() };
        let id = format!("{}{:02}", if number < FLEET / 2 { "a" } else { "b" }, number % (FLEET / 2));
        let word = pb::ReportStatusRequest { name: subscriber_name(&id), ..word.clone() };
        reporting.spawn(async move { client.report_status(word).await.expect("taken").stored });
    }
    if reporting.join_all().await.into_iter().all(|stored| stored) {
        // Every server sees what was stored. On a very busy machine, a report may not be stored yet.
        assert_eq!((counts(&here, first).await, counts(&there, first).await), ([50, 0, 0, 0], [50, 0, 0, 0]));
    }
    for waiting in waiting {
        let found = waiting.await.expect("a task");
        assert_eq!((found.applied, found.settled, found.diverged), (50, true, 0));
    }
    // A second report within 10 s is rate-limited by the server that has it, but only briefly.
    let second = activate(&there, "p", 2).await;
    assert!(!there.report_status(applied(&there, "b00", second).await).await.expect("taken").stored);
    assert_eq!(counts(&there, second).await, [1, 0, 49, 0]);
    eventually("the other server hears of it", async || counts(&here, second).await[0] == 1).await;
    drop(streams);
}

/// Given a runtime that moved to another server, it stays online when its old server notices the end.
#[tokio::test]
async fn a_lease_moves_with_its_stream() {
    let (one, other, _keys) = two_servers().await;
    let (here, there) = (one.client().await, other.client().await);
    let left = subscribe(&here, "s").await;
    let stays = subscribe(&here, "stays").await;
    assert!(subscriber(&here, "s").await.online);
    let _moved = subscribe(&there, "s").await;
    assert!(subscriber(&there, "s").await.online, "it is written by its new server now");
    drop((left, stays));
    // Both ends are written in one statement: once one is visible, so is the other.
    eventually("the end is written", async || !subscriber(&there, "stays").await.online).await;
    assert!(subscriber(&there, "s").await.online);
    // And a server that died: its lease expires by the clock alone.
    let mut other = other;
    other.kill().await;
    assert!(subscriber(&here, "s").await.online);
    one.tamper("UPDATE replicas SET renew_time = renew_time - 30000000");
    assert!(!subscriber(&here, "s").await.online);
}

fn cli(hub: &Hub, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = hub.cli().args(arguments).output().expect("the binary runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_ask_by_commands() {
    let hub = Hub::start_with(Database::Sqlite, LIVELY).await;
    let client = hub.client().await;
    let first = two_versions(&client).await;
    let revision = first.to_string();
    let (code, text, error) = cli(&hub, &["convergence", &revision]);
    assert_eq!(
        (code, text.as_str()),
        (Some(1), format!("1:{first} 0 applied, 0 rejected, 0 pending, 0 offline\n").as_str())
    );
    assert!(error.contains("no subscriber runs with"), "{error}");
    let mut watching = hub
        .cli()
        .args(["watch", "--subscriber-id", "shop-1", "--label", "app=shop", "--report"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the binary runs");
    eventually("it reports", async || {
        let (_, listed, _) = cli(&hub, &["subscribers"]);
        listed.contains(&format!("shop-1      yes     1:{first}"))
    })
    .await;
    let (code, text, _) = cli(&hub, &["convergence", &revision, "--wait", "30s"]);
    assert_eq!(
        (code, text.as_str()),
        (Some(0), format!("1:{first} 1 applied, 0 rejected, 0 pending, 0 offline\n").as_str())
    );

    let _silent = subscribe(&client, "silent").await;
    let (code, text, error) = cli(&hub, &["convergence", &format!("1:{first}"), "--wait", "1s"]);
    assert_eq!(code, Some(1));
    assert!(text.ends_with("PENDING silent has applied nothing yet\n"), "{text}");
    assert!(error.starts_with("error: ") && !error.contains('\r'), "no progress beside a terminal: {error:?}");
    report(&client, rejected(&client, "silent", first, "no\nway").await).await;
    let (code, text, _) = cli(&hub, &["convergence", &revision, "--output", "json"]);
    let json: Value = serde_json::from_str(&text).expect("one JSON document");
    assert_eq!((code, json["rejected"].as_i64(), json["settled"].as_bool()), (Some(1), Some(1), Some(true)));
    assert_eq!(json["rejected_subscribers"][0]["reason"], "no\nway");
    let (code, text, _) = cli(&hub, &["subscribers", "--output", "json"]);
    let json: Value = serde_json::from_str(&text).expect("one JSON document");
    assert_eq!((code, &json["subscribers"][0]["attributes"]["app"]), (Some(0), &Value::from("shop")));
    assert_eq!(cli(&hub, &["convergence", "999"]).0, Some(1));
    watching.kill().expect("a child");
    watching.wait().expect("an end");
    tokio::time::timeout(DEADLINE, async { while counts(&client, first).await[3] == 0 {} })
        .await
        .expect("it is offline");
}

/// Given a report that is refused for its token, the error is reported while the stream goes on; so is that of the next report.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_says_that_its_reports_are_refused() {
    let (old, new) = (IdpKey::new(1), IdpKey::new(2));
    let idp = Idp::of(&[&old]);
    // The token of an open stream is checked again so late that this one goes on.
    let issuers = idp.setting();
    let arguments = [LIVELY, &["--recheck-interval-ms", "60000", "--issuers", &issuers]].concat();
    let hub = Hub::start_with(Database::Sqlite, &arguments).await;
    reloaded(&hub, "ok", "corp", 0.0).await;
    let client = hub.client().await;
    try_grant(&client, "corp:shop", pb::Role::Subscriber, NAMESPACE).await.expect("a role");
    let first = two_versions(&client).await;
    let said = hub.dir.path().join("watch.log");
    let mut watching = hub
        .cli()
        .args(["watch", "--subscriber-id", "shop-1", "--report", "--token", &old.token("shop")])
        .stdout(std::process::Stdio::null())
        .stderr(std::fs::File::create(&said).expect("a file"))
        .spawn()
        .expect("the binary runs");
    eventually("it reports", async || counts(&client, first).await == [1, 0, 0, 0]).await;
    idp.answer(IdpAnswer::Body(jwks(&[&new])));
    wait_until(&hub.client_with(Some(new.token("shop"))).await, None).await;
    let second = activate(&client, "p", 2).await;
    eventually("it says that nobody hears it", async || {
        let said = std::fs::read_to_string(&said).expect("text");
        said.lines().any(|line| line.starts_with("failed to report: ") && line.contains("TOKEN_INVALID"))
    })
    .await;
    assert_eq!(counts(&client, second).await, [0, 0, 1, 0], "it is there, and what it has is not known");
    assert!(watching.try_wait().expect("a child").is_none(), "the stream goes on");
    watching.kill().expect("a child");
    watching.wait().expect("an end");
}

/// Given a fleet that has stopped, it does not count as converged, so that pipelines do not continue.
#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_that_is_gone_has_not_converged() {
    let hub = Hub::start_with(Database::Sqlite, LIVELY).await;
    let client = hub.client().await;
    let first = two_versions(&client).await;
    let (stays, goes) = (subscribe(&client, "stays").await, subscribe(&client, "goes").await);
    for id in ["stays", "goes"] {
        report(&client, applied(&client, id, first).await).await;
    }
    drop(goes);
    eventually("one is offline", async || counts(&client, first).await == [1, 0, 0, 1]).await;
    let (code, text, _) = cli(&hub, &["convergence", &first.to_string()]);
    assert_eq!(code, Some(0), "it ran with it until it went: {text}");

    let second = activate(&client, "p", 2).await;
    let (code, text, error) = cli(&hub, &["convergence", &first.to_string(), "--wait", "30s"]);
    assert_eq!(code, Some(1), "nobody runs with it any more: {text}");
    assert!(
        text.contains(&format!("\nSUPERSEDED by 1:{second}\n")) && error.contains("was superseded by"),
        "{text}{error}"
    );
    report(&client, applied(&client, "stays", second).await).await;
    let (code, text, error) = cli(&hub, &["convergence", &second.to_string(), "--wait", "2s"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.starts_with(&format!(
            "1:{second} 1 applied, 0 rejected, 0 pending, 1 offline, 1 gone lately\nGONE goes since "
        )),
        "{text}"
    );
    assert!(error.contains("are gone"), "{error}");
    drop(stays);
    eventually("both are offline", async || counts(&client, second).await == [0, 0, 0, 2]).await;
    assert_eq!(cli(&hub, &["convergence", &second.to_string()]).0, Some(1), "0 applied, 2 offline");
}
