//! Live parts: they move with what runtimes report and people activate, and end with the session, the role or the server.

use std::sync::Arc;

use policyhub::client::pb;
use policyhub::http::console::{LIVE_ROUTES, LIVE_STREAMS_PER_SESSION_MAX};

use super::browser::{Browser, between};
use super::event_stream::EventStream;
use crate::harness::callers::{grant, issue, namespace, take_away};
use crate::harness::calls::{activate, publish, release};
use crate::harness::clock;
use crate::harness::subscribing::{applied, rejected, subscribe};
use crate::harness::{Hub, on_both_databases};

/// Checks of the caller come often.
const LIVELY: &[&str] = &["--heartbeat-interval-ms", "100", "--poll-interval-ms", "50", "--recheck-interval-ms", "100"];
const NAMESPACE_LIVE: &str = "/namespaces/default/live";

fn activation_live(revision: i64) -> String {
    format!("/namespaces/default/activations/{revision}/live")
}

/// Returns a part of a page.
fn part<'a>(html: &'a str, name: &str) -> &'a str {
    between(html, &format!("data-part=\"{name}\""), "</div>")
}

on_both_databases! {
    with LIVELY;

    /// Given an open page of an activation and one of its namespace, both show each report that comes, and what they show is what a
    /// reload does.
    async fn numbers_move_as_runtimes_report(hub: Hub) {
        let admin = hub.client().await;
        publish(&admin, "shop", "a: 1\n").await;
        let revision = activate(&admin, "shop", 1).await;
        let _streams = [subscribe(&admin, "one").await, subscribe(&admin, "two").await];
        let browser = Browser::signed_in(&hub, &hub.token());
        let page_path = format!("/namespaces/default/activations/{revision}");
        let page = browser.get(&page_path).body;
        assert!(page.contains(&format!("data-live=\"{page_path}/live\"")), "{page}");
        let mut activation = EventStream::open(&browser, &activation_live(revision));
        let mut namespace = EventStream::open(&browser, NAMESPACE_LIVE);
        assert!(activation.head.contains("content-type: text/event-stream"), "{}", activation.head);
        assert!(activation.head.contains("content-security-policy:"), "{}", activation.head);
        let first = activation.next().expect("the part as it is");
        assert_eq!(part(&first.data, "counts"), part(&page, "counts"), "one template renders both");
        assert!(first.data.contains("0 of 2"), "{first:?}");
        namespace.until("0 of 2");

        admin.report_status(applied(&admin, "one", revision).await).await.expect("taken");
        let moved = activation.until("<dd>1 of 2</dd>");
        let counts = part(&moved.data, "counts");
        assert!(counts.contains("<rect class=\"applied\"") && counts.contains("<rect class=\"pending\""), "{counts}");
        namespace.until("1 of 2");

        let report = rejected(&admin, "two", revision, "<b>no\r\n\nevent: over").await;
        admin.report_status(report).await.expect("taken");
        let moved = activation.until("1 reject it.");
        assert!(moved.data.contains("&#60;b&#62;no") && !moved.data.contains("<b>no"), "{moved:?}");
        let alarm = namespace.until("1 of 2 runtimes reject what is active.");
        assert!(part(&alarm.data, "alarms").contains("role=\"alert\""), "{alarm:?}");
        let reloaded = browser.get(&page_path).body;
        assert_eq!(part(&moved.data, "counts"), part(&reloaded, "counts"), "a reload shows the same");

        let next = activate(&admin, "shop", { publish(&admin, "shop", "a: 2\n").await; 2 }).await;
        let moved = namespace.until(&format!("revision {next}"));
        assert!(moved.data.contains("versions/2\">2</a>") && moved.data.contains("0 of 2"), "{moved:?}");
    }

    /// Given callers of every kind, a live part is for those who see its page; and none tells of another namespace.
    async fn a_live_part_is_for_who_sees_its_page(hub: Hub) {
        let admin = hub.client().await;
        namespace(&admin, "secret").await;
        publish(&admin, "shop", "a: 1\n").await;
        let revision = activate(&admin, "shop", 1).await;
        for (subject, role) in [("viewer", pb::Role::Viewer), ("runtime", pb::Role::Subscriber)] {
            grant(&admin, subject, role, "namespaces/default").await;
        }
        let signed_in = |subject: &str| {
            Browser::signed_in(&hub, &issue(&hub, &["--subject", subject, "--ttl", "1h"]))
        };
        let [viewer, runtime, stranger] = ["viewer", "runtime", "stranger"].map(signed_in);
        for route in LIVE_ROUTES {
            let path = route.path.replace("{revision}", &revision.to_string());
            let (own, other) = (path.replace("{namespace}", "default"), path.replace("{namespace}", "secret"));
            let status = |browser: &Browser, path: &str| EventStream::open(browser, path).status;
            assert_eq!(status(&viewer, &own), 200, "{own}");
            assert_eq!(status(&runtime, &own), runtime.get(own.trim_end_matches("/live")).status, "{own}");
            assert_eq!(status(&viewer, &other), 404, "{other}");
            for path in [&own, &other] {
                assert_eq!(status(&stranger, path), 403, "who has no role anywhere: {path}");
            }
            assert_eq!(status(&Browser::new(&hub), &own), 401, "{own}");
            assert_eq!(status(&viewer, &path.replace("{namespace}", "A%20b")), 400, "{own}");
        }
        let wrong = EventStream::open(&viewer, &activation_live(9_999));
        assert_eq!(wrong.status, 400, "{}", wrong.head);

        let mut open = EventStream::open(&viewer, NAMESPACE_LIVE);
        open.next().expect("the part as it is");
        let label = pb::CreatePolicyRequest {
            parent: "namespaces/secret".to_owned(),
            policy_id: "hidden".to_owned(),
            policy: Some(pb::Policy { kind: pb::PolicyKind::Yaml.into(), ..Default::default() }),
            ..Default::default()
        };
        admin.create_policy(label).await.expect("a policy");
        release(&admin, "visible", "a: 1\n").await;
        let mut seen = String::new();
        while !seen.contains("visible") {
            seen.push_str(&open.next().expect("an event").data);
        }
        assert!(!seen.contains("hidden") && !seen.contains("secret"), "{seen}");
    }

    /// Given an open page whose reader loses the role, or the token, the stream says so and ends, and is refused when asked for again.
    async fn a_stream_ends_with_the_role_and_with_the_token(hub: Hub) {
        let admin = hub.client().await;
        release(&admin, "shop", "a: 1\n").await;
        let binding = grant(&admin, "ann", pb::Role::Viewer, "namespaces/default").await;
        namespace(&admin, "other").await;
        grant(&admin, "ann", pb::Role::Viewer, "namespaces/other").await;
        grant(&admin, "bob", pb::Role::Viewer, "namespaces/default").await;
        let [ann, bob] = ["ann", "bob"].map(|subject| issue(&hub, &["--subject", subject, "--ttl", "1h"]));
        let (ann, bob_browser) = (Browser::signed_in(&hub, &ann), Browser::signed_in(&hub, &bob));
        let [mut anns, mut bobs] = [&ann, &bob_browser].map(|browser| EventStream::open(browser, NAMESPACE_LIVE));
        for stream in [&mut anns, &mut bobs] {
            assert_eq!(stream.next().expect("the part as it is").name, "part");
        }
        take_away(&admin, &binding.name).await.expect("taken away");
        let over = anns.last().expect("an event");
        assert_eq!(over.name, "over", "{over:?}");
        assert!(over.data.contains("<code>NAMESPACE_NOT_FOUND</code>"), "{over:?}");
        assert_eq!(EventStream::open(&ann, NAMESPACE_LIVE).status, 404);

        let file = hub.dir.path().join("lost.token");
        std::fs::write(&file, &bob).expect("written");
        let revoked = hub.cli().args(["token", "revoke", "--reason", "lost", "--file"]).arg(&file).output();
        assert!(revoked.expect("the binary runs").status.success());
        let over = bobs.last().expect("an event");
        assert_eq!(over.name, "over", "{over:?}");
        assert!(over.data.contains("<code>TOKEN_REVOKED</code>"), "{over:?}");
        assert_eq!(EventStream::open(&bob_browser, NAMESPACE_LIVE).status, 401);
    }

    /// Given a server that shuts down, a live part ends at once and without an event, so that the browser asks the next server.
    async fn a_drain_ends_every_stream(mut_hub: Hub) {
        let mut hub = mut_hub;
        release(&hub.client().await, "shop", "a: 1\n").await;
        let browser = Browser::signed_in(&hub, &hub.token());
        let mut open = EventStream::open(&browser, NAMESPACE_LIVE);
        let first = open.next().expect("the part as it is");
        hub.signal("TERM");
        assert_eq!(open.last(), None, "after {first:?}");
        assert!(hub.ended().await.success());
    }

    /// Given as many streams as a session may have, the next is refused, its page is whole, and another session has its own.
    async fn a_session_has_so_many_streams(hub: Hub) {
        let admin = hub.client().await;
        release(&admin, "shop", "a: 1\n").await;
        let browser = Browser::signed_in(&hub, &hub.token());
        let mut held: Vec<EventStream> =
            (0..LIVE_STREAMS_PER_SESSION_MAX).map(|_| EventStream::open(&browser, NAMESPACE_LIVE)).collect();
        assert!(held.iter().all(|stream| stream.status == 200));
        let refused = browser.get(NAMESPACE_LIVE);
        assert_eq!((refused.status, refused.reason()), (503, "TOO_MANY_STREAMS"), "{refused:?}");
        assert_eq!(browser.get("/namespaces/default").status, 200);
        let other = Browser::signed_in(&hub, &hub.token());
        assert_eq!(EventStream::open(&other, NAMESPACE_LIVE).status, 200);
        held.pop();
        let mut asked = 0;
        while EventStream::open(&browser, NAMESPACE_LIVE).status != 200 {
            asked += 1;
            assert!(asked < 10_000, "the slot of a closed stream is not given back");
        }
    }
}

/// Given a token that ends while its page is open, the stream ends with it.
#[tokio::test]
async fn a_stream_ends_with_the_session() {
    let dir = Arc::new(tempfile::tempdir().expect("a temporary directory"));
    clock::build(dir.path());
    let url = format!("sqlite://{}", dir.path().join("data/policyhub.db").display());
    let hub = Hub::start_on(dir.clone(), url, LIVELY).await;
    let browser = Browser::signed_in(&hub, &issue(&hub, &["--subject", "admin", "--ttl", "1h"]));
    let mut open = EventStream::open(&browser, NAMESPACE_LIVE);
    open.next().expect("the part as it is");
    clock::shift(dir.path(), 60 * 60 + 1);
    let over = open.last().expect("an event");
    assert!(over.name == "over" && over.data.contains("<code>TOKEN_EXPIRED</code>"), "{over:?}");
}
