//! Leases and reports: which subscribers are listed, which report counts as the newest, and what survives a restart.

use policyhub::client::pb::watch_active_response::Message;
use policyhub::client::{Client, pb};
use policyhub::domain::digest::Digest;
use policyhub::domain::event::Cursor;
use policyhub::domain::name::NamespaceId;
use policyhub::domain::subscriber::{ReportVerdict, StatusReport, SubscriberId, SubscriberName, SubscriberStatus};
use tonic::Code;

use crate::harness::calls::{NAMESPACE, NamedEvent as _, activate, draft, publish, refused, refused_fields, release};
use crate::harness::http::get;
use crate::harness::on_both_databases;
use crate::harness::subscribing::{
    SubscriberStream, applied, at, digest_at, eventually, rejected, resumed, subscribe, subscriber, subscriber_name,
    subscribers, watch_request,
};
use crate::harness::watching::{DEADLINE, LIVELY, without_fingerprint};

/// Publishes two versions of a policy, activates the first one and returns the revision.
async fn two_versions(client: &Client) -> i64 {
    publish(client, "p", "a: 1").await;
    publish(client, "p", "a: 2").await;
    activate(client, "p", 1).await
}

async fn message(stream: &mut SubscriberStream) -> Message {
    let next = tokio::time::timeout(DEADLINE, stream.message()).await.expect("a message before the deadline");
    next.expect("a stream that goes on").expect("a message").message.expect("a kind")
}

/// Returns the revision of the next activation; snapshots are skipped.
async fn next_activation(stream: &mut SubscriberStream) -> i64 {
    loop {
        match message(stream).await {
            Message::Activation(activation) => return activation.cursor.expect("a cursor").revision,
            Message::Opened(_) | Message::Heartbeat(_) => {}
            other => panic!("not an activation: {other:?}"),
        }
    }
}

on_both_databases! {
    with LIVELY;

    async fn a_stream_is_a_lease(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        let labels = [("app", "shop"), ("zone", "ä")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let request = pb::WatchActiveRequest { attributes: labels.clone().into(), ..watch_request("shop-1", &["q", "p"]) };
        let one = client.watch_active(request.clone()).await.expect("a watch");
        let other = client.watch_active(request).await.expect("a watch");
        let _anonymous = subscribe(&client, "").await;
        let listed = subscribers(&client).await;
        assert_eq!(listed.len(), 1, "an anonymous stream has no lease: {listed:?}");
        let shop = &listed["shop-1"];
        assert!(shop.online && !shop.diverged && shop.applied.is_none() && shop.rejected.is_none(), "{shop:?}");
        assert_eq!((&shop.attributes, &shop.policies), (&labels.into(), &vec!["p".to_owned(), "q".to_owned()]));
        // It lasts as long as the lease of its server.
        let kept = hub.tamper("SELECT count(*) FROM subscribers s JOIN replicas r ON r.id = s.holder");
        assert_eq!(kept, "1");

        drop(one);
        // The next write after the end of one of two streams: the other one still holds the lease.
        let later = subscribe(&client, "later").await;
        assert!(subscriber(&client, "later").await.online && subscriber(&client, "shop-1").await.online);
        drop(other);
        eventually("shop-1 is offline", async || !subscriber(&client, "shop-1").await.online).await;
        assert!(subscriber(&client, "later").await.online);
        // Its last state is kept, and it may come back with other attributes.
        assert_eq!(subscriber(&client, "shop-1").await.attributes.len(), 2);
        let _again = subscribe(&client, "shop-1").await;
        let shop = subscriber(&client, "shop-1").await;
        assert!(shop.online && shop.attributes.is_empty() && shop.policies.is_empty());
        drop(later);
    }

    /// Given a lease that expired or was deleted, it is written again, because the stream is still open.
    async fn a_lease_is_written_again_for_as_long_as_the_stream_is_open(hub: Hub) {
        let client = hub.client().await;
        let _stream = subscribe(&client, "s").await;
        let _lost = subscribe(&client, "lost").await;
        assert!(subscriber(&client, "s").await.online && subscriber(&client, "lost").await.online);
        hub.tamper("UPDATE subscribers SET lease_end_time = 1 WHERE id = 's'");
        hub.tamper("DELETE FROM subscribers WHERE id = 'lost'");
        assert!(subscriber(&client, "s").await.online, "its stream is open here");
        let lease = || hub.tamper("SELECT lease_end_time FROM subscribers WHERE id = 's'");
        eventually("its lease is written again", async || lease() == i64::MAX.to_string()).await;
        eventually("lost is listed", async || subscribers(&client).await.contains_key("lost")).await;
    }

    async fn a_report_says_who_runs_what(hub: Hub) {
        let client = hub.client().await;
        let first = two_versions(&client).await;
        let _stream = subscribe(&client, "s").await;
        let report = applied(&client, "s", first).await;
        assert!(client.report_status(report.clone()).await.expect("taken").stored, "the first one is written at once");
        let said = subscriber(&client, "s").await;
        assert_eq!((said.applied, &said.digest, said.diverged), (Some(at(first)), &report.digest, false));
        assert_eq!((said.rejected, said.reason.as_str(), said.online), (None, "", true));

        // A report with another digest than the log's is recorded, never refused.
        let other = digest_at(&client, 0).await;
        for (id, policies, diverged) in [("all", &[][..], true), ("part", &["p"][..], false)] {
            let _stream = client.watch_active(watch_request(id, policies)).await.expect("a watch");
            let report = pb::ReportStatusRequest { digest: other.clone(), ..applied(&client, id, first).await };
            assert!(client.report_status(report).await.expect("taken").stored);
            let said = subscriber(&client, id).await;
            assert_eq!((said.diverged, &said.digest), (diverged, &other), "{id}");
        }
        // Without a stream, a report is accepted, and the subscriber is not online.
        client.report_status(rejected(&client, "silent", first, "no \u{1F4A5}").await).await.expect("taken");
        let said = subscriber(&client, "silent").await;
        assert!(!said.online && !said.diverged && said.applied.is_none());
        assert_eq!((said.rejected, said.reason.as_str()), (Some(at(first)), "no \u{1F4A5}"));
        let (_, _, metrics) = get(&hub.http, "/metrics").expect("an answer");
        for row in [
            r#"policyhub_reports_total{status="applied"} 3"#,
            r#"policyhub_reports_total{status="rejected"} 1"#,
            "policyhub_subscribers_online ",
        ] {
            assert!(metrics.lines().any(|line| line.starts_with(row)), "no row {row}:\n{metrics}");
        }
    }

    /// Given two reports after each other, one written alone and one with others, every pair has the result of the rules, in memory and in
    /// SQL.
    async fn words_end_the_same_however_they_are_written(hub: Hub) {
        let client = hub.client().await;
        two_versions(&client).await;
        let words: Vec<(i64, bool)> = (1..=3).flat_map(|revision| [(revision, false), (revision, true)]).collect();
        let mut said = Vec::new();
        for first in &words {
            for second in &words {
                said.push(vec![*first, *second]);
                said.extend(words.iter().map(|third| vec![*first, *second, *third]));
            }
        }
        // The first reports, all at once.
        let mut calls = tokio::task::JoinSet::new();
        for (number, words) in said.iter().enumerate() {
            let (client, word) = (client.clone(), words[0]);
            calls.spawn(async move { client.report_status(request(number, word)).await.expect("taken") });
        }
        calls.join_all().await;
        let written = said.len().to_string();
        eventually("first words are written", async || hub.tamper("SELECT count(*) FROM subscribers") == written).await;
        for place in 1..3 {
            for (number, words) in said.iter().enumerate() {
                let Some(word) = words.get(place) else { continue };
                client.report_status(request(number, *word)).await.expect("taken");
            }
        }
        let expected: Vec<SubscriberStatus> = said
            .iter()
            .enumerate()
            .map(|(number, words)| {
                words.iter().fold(SubscriberStatus::default(), |standing, word| standing.then(standing_of(number, *word)))
            })
            .collect();
        eventually("every word is written", async || {
            let listed = subscribers(&client).await;
            listed.len() == expected.len()
                && expected.iter().enumerate().all(|(number, expected)| is_listed(&listed[&name(number)], expected))
        })
        .await;
    }

    /// Given a rejected activation, it is not sent again on a stream, and a runtime that resumes below it gets it.
    async fn a_rejected_activation_is_not_sent_again(hub: Hub) {
        let client = hub.client().await;
        let first = two_versions(&client).await;
        let request = resumed(watch_request("s", &[]), at(first));
        let mut stream = client.watch_active(request.clone()).await.expect("a watch");
        let bad = activate(&client, "p", 2).await;
        assert_eq!(next_activation(&mut stream).await, bad);
        client.report_status(rejected(&client, "s", bad, "no").await).await.expect("taken");
        assert_eq!(subscriber(&client, "s").await.rejected, Some(at(bad)));
        // The stream continues without it: five heartbeats at its cursor.
        for _ in 0..5 {
            match message(&mut stream).await {
                Message::Heartbeat(heartbeat) => assert_eq!(without_fingerprint(heartbeat.cursor), Some(at(bad))),
                other => panic!("sent after the rejection: {other:?}"),
            }
        }
        drop(stream);
        let resume = |cursor| resumed(request.clone(), cursor);
        let mut at_it = client.watch_active(resume(at(bad))).await.expect("a watch");
        let mut below = client.watch_active(resume(at(first))).await.expect("a watch");
        let good = activate(&client, "p", 1).await;
        assert_eq!(next_activation(&mut at_it).await, good, "it starts after what was rejected");
        assert_eq!([next_activation(&mut below).await, next_activation(&mut below).await], [bad, good]);
    }

    /// A report that was acknowledged as stored survives a crash; the others survive a shutdown in order.
    async fn reports_survive(hub: Hub) {
        let client = hub.client().await;
        let first = two_versions(&client).await;
        let second = activate(&client, "p", 2).await;
        let _stream = subscribe(&client, "s").await;
        assert!(client.report_status(applied(&client, "s", first).await).await.expect("taken").stored);
        let mut hub = hub;
        hub.kill().await;
        let hub = hub.restart().await;
        let client = hub.client().await;
        assert_eq!(subscriber(&client, "s").await.applied, Some(at(first)));
        let _stream = subscribe(&client, "s").await;
        assert!(client.report_status(applied(&client, "s", first).await).await.expect("taken").stored);
        assert!(!client.report_status(applied(&client, "s", second).await).await.expect("taken").stored, "too soon");
        let rejection = rejected(&client, "s", second, "no such field").await;
        assert!(client.report_status(rejection).await.expect("taken").stored, "a rejection waits for nothing");
        let said = subscriber(&client, "s").await;
        assert_eq!((said.rejected, said.reason.as_str()), (Some(at(second)), "no such field"));
        assert!(!client.report_status(applied(&client, "s", second).await).await.expect("taken").stored, "too soon");
        let hub = hub.restart_in_order().await;
        let said = subscriber(&hub.client().await, "s").await;
        assert_eq!((said.applied, said.online), (Some(at(second)), true), "told to come back, its lease holds");
    }

    async fn who_is_gone_for_a_week_is_forgotten(hub: Hub) {
        let client = hub.client().await;
        let first = two_versions(&client).await;
        for id in ["old", "new"] {
            client.report_status(applied(&client, id, first).await).await.expect("taken");
        }
        let day_us = 86_400_000_000_i64;
        for (id, days) in [("old", 8), ("new", 6)] {
            let ago = days * day_us;
            hub.tamper(&format!("UPDATE subscribers SET last_seen_time = last_seen_time - {ago} WHERE id = '{id}'"));
        }
        let hub = hub.restart_in_order().await;
        let client = hub.client().await;
        eventually("old is forgotten", async || !subscribers(&client).await.contains_key("old")).await;
        assert!(subscribers(&client).await.contains_key("new"));
    }

    async fn subscribers_are_listed_by_page_and_namespace(hub: Hub) {
        let client = hub.client().await;
        let first = two_versions(&client).await;
        let ids = ["A", "a", "a-b", "a:b", "a0", "~"];
        for id in ids {
            client.report_status(applied(&client, id, first).await).await.expect("taken");
        }
        let mut sorted = ids;
        sorted.sort_unstable();
        let (mut seen, mut request) =
            (Vec::new(), pb::ListSubscribersRequest { parent: NAMESPACE.to_owned(), page_size: 2, ..Default::default() });
        loop {
            let page = client.list_subscribers(request.clone()).await.expect("a page");
            assert!(page.subscribers.len() <= 2);
            seen.extend(page.subscribers.into_iter().map(|each| each.id()));
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        assert_eq!(seen, sorted);
        let elsewhere = pb::ListSubscribersRequest { parent: "namespaces/system".to_owned(), ..Default::default() };
        assert_eq!(client.list_subscribers(elsewhere).await.expect("a page").subscribers, vec![]);
    }

    async fn what_can_not_be_is_refused(hub: Hub) {
        let client = hub.client().await;
        let first = two_versions(&client).await;
        draft(&client, "p", "a: 3").await;
        let good = applied(&client, "s", first).await;
        let (long_id, long_text) = ("s".repeat(129), "r".repeat(4 * 1024 + 1));
        type Change<'a> = Box<dyn Fn(&mut pb::ReportStatusRequest) + 'a>;
        let reject = pb::ApplyStatus::Rejected as i32;
        let cases: Vec<(&[&str], Change)> = vec![
            (&["name"], Box::new(|request| request.name = format!("{NAMESPACE}/runs/s"))),
            (&["name"], Box::new(|request| request.name = subscriber_name(""))),
            (&["name"], Box::new(|request| request.name = subscriber_name("a b"))),
            (&["name"], Box::new(|request| request.name = subscriber_name("a%20b"))),
            (&["name"], Box::new(|request| request.name = subscriber_name("ä"))),
            (&["name"], Box::new(|request| request.name = subscriber_name(&long_id))),
            (&["cursor"], Box::new(|request| request.cursor = None)),
            (&["cursor"], Box::new(|request| request.cursor = Some(at(-1)))),
            (&["cursor"], Box::new(|request| request.cursor = Some(at(first + 2)))),
            (&["cursor"], Box::new(|request| request.cursor = Some(at(i64::MAX)))),
            (&["cursor"], Box::new(|request| request.cursor = Some(pb::Cursor { epoch: 2, revision: 1, ..Default::default() }))),
            (&["cursor"], Box::new(|request| request.cursor = Some(pb::Cursor { epoch: 0, revision: 1, ..Default::default() }))),
            (&["cursor"], Box::new(|request| request.cursor = Some(pb::Cursor { epoch: 0, revision: 0, ..Default::default() }))),
            (&["digest"], Box::new(|request| request.digest = String::new())),
            (&["digest"], Box::new(|request| request.digest = "sha256:ABC".to_owned())),
            (&["status"], Box::new(|request| request.status = 0)),
            (&["status"], Box::new(|request| request.status = 7)),
            (&["reason"], Box::new(|request| request.reason = "but why".to_owned())),
            (&["reason"], Box::new(move |request| request.status = reject)),
            (&["reason"], Box::new(move |request| (request.status, request.reason) = (reject, " ".to_owned()))),
            (&["reason"], Box::new(move |request| (request.status, request.reason) = (reject, "a\0".to_owned()))),
            (&["reason"], Box::new(|request| (request.status, request.reason) = (reject, long_text.clone()))),
        ];
        for (fields, change) in cases {
            let mut request = good.clone();
            change(&mut request);
            refused_fields(client.report_status(request).await, fields);
        }
        let several = pb::ReportStatusRequest { name: subscriber_name(""), ..Default::default() };
        refused_fields(client.report_status(several).await, &["name", "cursor", "digest", "status"]);
        let absent = "namespaces/absent".to_owned();
        let elsewhere = pb::ReportStatusRequest { name: format!("{absent}/subscribers/s"), ..good };
        refused(client.report_status(elsewhere).await, Code::NotFound, "NAMESPACE_NOT_FOUND");
        let list = pb::ListSubscribersRequest { parent: absent, ..Default::default() };
        refused(client.list_subscribers(list.clone()).await, Code::NotFound, "NAMESPACE_NOT_FOUND");
        let list = pb::ListSubscribersRequest { parent: NAMESPACE.to_owned(), page_token: "x".to_owned(), ..list };
        refused(client.list_subscribers(list.clone()).await, Code::InvalidArgument, "INVALID_PAGE_TOKEN");
        let list = pb::ListSubscribersRequest { page_size: -1, page_token: String::new(), ..list };
        refused_fields(client.list_subscribers(list).await, &["page_size"]);
        assert_eq!(subscribers(&client).await.len(), 0, "what was refused left nothing behind");
    }

    async fn attributes_and_ids_of_a_watch_have_bounds(hub: Hub) {
        let client = hub.client().await;
        let labels = |labels: &[(&str, &str)]| {
            labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect::<std::collections::HashMap<_, _>>()
        };
        let (longest, too_long) = ("x".repeat(64), "x".repeat(65));
        for bad in [vec![(too_long.as_str(), "a")], vec![("a", too_long.as_str())], vec![("a", "\0")], vec![("\n", "a")]] {
            let request = pb::WatchActiveRequest { attributes: labels(&bad), ..watch_request("s", &[]) };
            refused_fields(client.watch_active(request).await.map(|_| ()), &["attributes"]);
        }
        let many: Vec<(String, String)> = (0..17).map(|number| (number.to_string(), longest.clone())).collect();
        let request = pb::WatchActiveRequest { attributes: many.clone().into_iter().collect(), ..watch_request("s", &[]) };
        refused_fields(client.watch_active(request).await.map(|_| ()), &["attributes"]);
        for bad in ["a b", "\n", "ä", &"s".repeat(129)] {
            refused_fields(client.watch_active(watch_request(bad, &[])).await.map(|_| ()), &["subscriber_id"]);
        }
        let most = many.into_iter().take(16).collect();
        let request = pb::WatchActiveRequest { attributes: most, ..watch_request(&"s".repeat(128), &[]) };
        let _stream = client.watch_active(request).await.expect("the most there can be");
        assert_eq!(subscriber(&client, &"s".repeat(128)).await.attributes.len(), 16);
    }
}

fn name(number: usize) -> String {
    format!("s{number:04}")
}

/// Returns a different digest for each report.
fn digest(number: usize, (revision, rejects): (i64, bool)) -> Digest {
    let mut bytes = [u8::from(rejects); 32];
    bytes[0] = u8::try_from(revision).expect("small");
    bytes[1] = u8::try_from(number % 251).expect("small");
    Digest::from_sha256(&bytes)
}

fn request(number: usize, word: (i64, bool)) -> pb::ReportStatusRequest {
    let (revision, rejects) = word;
    let status = if rejects { pb::ApplyStatus::Rejected } else { pb::ApplyStatus::Applied };
    pb::ReportStatusRequest {
        name: subscriber_name(&name(number)),
        cursor: Some(at(revision)),
        digest: digest(number, word).to_string(),
        status: status.into(),
        reason: if rejects { format!("no {revision}") } else { String::new() },
    }
}

fn standing_of(number: usize, word: (i64, bool)) -> SubscriberStatus {
    let (revision, rejects) = word;
    let namespace = NamespaceId::parse("namespace", "default").expect("an id");
    let subscriber = SubscriberName { namespace, id: SubscriberId::parse("id", &name(number)).expect("an id") };
    let verdict =
        if rejects { ReportVerdict::Rejected { reason: format!("no {revision}") } } else { ReportVerdict::Applied };
    let cursor = Cursor { epoch: 1, revision };
    SubscriberStatus::after(
        StatusReport { subscriber, cursor, event: None, digest: digest(number, word), verdict },
        false,
    )
}

fn is_listed(listed: &pb::Subscriber, expected: &SubscriberStatus) -> bool {
    let place = |cursor: Cursor| cursor.known().map(|known| at(known.revision));
    listed.applied == place(expected.applied)
        && listed.rejected == place(expected.rejected)
        && listed.reason == expected.reason
        && Some(listed.digest.as_str()) == expected.digest.as_ref().map(Digest::as_str)
}
