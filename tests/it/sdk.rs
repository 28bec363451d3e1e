//! The SDK as a program uses it: calls in domain types, lists, several endpoints, tokens that change.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use policyhub_client::{Client, ClientBuilder, Code, ListOptions, Move, Reason, TokenSource, VersionState};

use crate::harness::callers;
use crate::harness::calls::release;
use crate::harness::proxy::NetworkProxy;
use crate::harness::{Database, Hub, on_both_databases};

/// Returns a builder of a client as the admin of a server, without a connection.
fn builder(hub: &Hub) -> ClientBuilder {
    Client::builder().token(TokenSource::File(hub.data_dir().join("admin.token")))
}

on_both_databases! {
    async fn a_policy_is_taken_through_its_life(database: Database) {
        let hub = Hub::start(database).await;
        let client = builder(&hub).endpoint(&hub.grpc).connect().await.expect("connected");
        let shop = client.namespace("default").expect("an id");
        let draft = shop.draft("pricing", "application/yaml", "max: 1").allow_missing();
        let tried = draft.clone().validate_only().send().await.expect("it would be taken");
        assert_eq!(tried.position, None, "nothing was written");
        let unnamed = draft.clone().with_request_id("").send().await.expect_err("it could be made twice");
        assert_eq!(unnamed.code(), Code::InvalidArgument);
        let first = draft.label("1.0.0").change_note("first").annotation("commit", "c0ffee").send().await.expect("a draft");
        assert_eq!((first.version.number, first.version.state), (1, Some(VersionState::Draft)));
        shop.stage("pricing", 1).send().await.expect("staged");
        let published = shop.publish("pricing", 1).activate("launch").expected_active(0).send().await.expect("published");
        assert_eq!((published.moved[0].version, published.moved[0].previous_version), (Some(1), None));

        let second = shop.draft("pricing", "application/yaml", "max: 2").label("1.1.0").send().await.expect("a draft");
        shop.stage("pricing", 2).etag(second.version.etag).send().await.expect("staged");
        shop.publish("pricing", 2).send().await.expect("published");
        let other = shop.activate([Move::to("pricing", 2).expected_active(7)], "oops").send().await.expect_err("1 is in force");
        assert!(other.is(Reason::ExpectedActiveMismatch) && other.is_terminal() && other.is_mutation(), "{other}");
        let done = shop.activate([Move::to_label("pricing", "1.1.0").expected_active(1)], "raise").send().await.expect("activated");
        let at = done.position.expect("a place in the log");
        assert!(at.event.is_some(), "the cursor says which event stands there");
        assert!(shop.convergence(at, Duration::ZERO).await.expect("an answer").is_settled, "nobody watches");

        let active = shop.version("pricing", "active").await.expect("a version");
        assert_eq!((active.number, &active.content[..], active.is_active), (2, &b"max: 2"[..], true));
        assert_eq!(shop.version("pricing", "v1.0.0").await.expect("a version").annotations["commit"], "c0ffee");
        let back = shop.roll_back("pricing", "too much").expected_active(2).send().await.expect("rolled back");
        assert_eq!((back.moved[0].version, back.moved[0].previous_version), (Some(1), Some(2)));
        let off = shop.deactivate("pricing", "the end").send().await.expect("deactivated");
        assert_eq!(off.moved[0].version, None);
        assert_eq!(shop.policy("pricing").await.expect("a policy").active_version, None);
    }

    async fn what_a_check_finds_is_told_at_its_place(database: Database) {
        let hub = Hub::start(database).await;
        let shop = builder(&hub).endpoint(&hub.grpc).build().expect("a client").namespace("default").expect("an id");
        shop.draft("pricing", "application/yaml", "max: [1").allow_missing().send().await.expect("a draft");
        let error = shop.stage("pricing", 1).send().await.expect_err("it is no YAML");
        assert!(error.is(Reason::ValidationFailed), "{error}");
        let findings = shop.findings("pricing", "1").await.expect("a report");
        assert!(findings.iter().any(|finding| finding.is_error && finding.line.is_some()), "{findings:?}");
        shop.abandon("pricing", 1).reason("mistyped").send().await.expect("abandoned");
        for (policy, version, field) in [("Pricing", "1", "policy"), ("pricing", "one", "version"), ("a/versions/1", "1", "policy")] {
            let error = shop.version(policy, version).await.expect_err("no id");
            assert!(error.code() == Code::InvalidArgument && error.message().contains(field), "{error}");
        }
        let error = shop.draft("Pricing", "application/json", "{}").send().await.expect_err("no id");
        assert_eq!(error.code(), Code::InvalidArgument, "before a server is asked");
    }

    async fn reviewers_approve_what_they_read(database: Database) {
        let hub = Hub::start(database).await;
        let admin = hub.client().await;
        for (subject, role) in [("ann", policyhub::client::pb::Role::Author), ("bob", policyhub::client::pb::Role::Approver)] {
            callers::grant(&admin, subject, role, "namespaces/default").await;
        }
        let of = |subject: &str| {
            let token = TokenSource::Text(callers::issue(&hub, &["--subject", subject, "--ttl", "1h"]));
            Client::builder().endpoint(&hub.grpc).token(token).build().expect("a client").namespace("default").expect("an id")
        };
        let (ann, bob) = (of("ann"), of("bob"));
        for content in ["a: 1", "a: 2"] {
            let draft = ann.draft("p", "application/yaml", content).allow_missing().send().await.expect("a draft");
            let number = draft.version.number;
            ann.stage("p", number).send().await.expect("staged");
            let other = format!("sha256:{}", "0".repeat(64));
            let wrong = bob.approve("p", number, &other).send().await.expect_err("another digest");
            assert!(wrong.is(Reason::DigestMismatch), "{wrong}");
            if number == 1 {
                bob.approve("p", 1, &draft.version.digest).reason("read it").send().await.expect("approved");
                let admin = builder(&hub).endpoint(&hub.grpc).build().expect("a client");
                admin.namespace("default").expect("an id").publish("p", 1).send().await.expect("published");
            } else {
                let rejected = bob.reject("p", number, &draft.version.digest, "not this").send().await.expect("rejected");
                assert_eq!(rejected.version.state, Some(VersionState::Rejected));
            }
        }
    }

    async fn lists_come_page_by_page(database: Database) {
        let hub = Hub::start(database).await;
        let client = builder(&hub).endpoint(&hub.grpc).build().expect("a client");
        let shop = client.namespace("default").expect("an id");
        const POLICIES: usize = 120;
        for at in 0..POLICIES {
            let id = format!("p{at:03}");
            shop.draft(&id, "application/json", "{}").allow_missing().send().await.expect("a draft");
        }
        let all = shop.policies(ListOptions::new()).all().await.expect("a list");
        assert_eq!(all.len(), POLICIES, "more than a page of 50");
        assert!(all.is_sorted_by(|a, b| a.policy < b.policy));
        let mut one = shop.policies(ListOptions::new().filter("name = \"namespaces/default/policies/p007\""));
        assert_eq!(one.next().await.expect("an item").expect("a policy").policy.as_str(), "p007");
        assert!(one.next().await.is_none());
        for number in 2..=3 {
            shop.abandon("p000", number - 1).send().await.expect("abandoned");
            shop.draft("p000", "application/json", format!("[{number}]")).send().await.expect("a draft");
        }
        let newest_first = ListOptions::new().order_by("version desc");
        let versions = shop.versions("p000", newest_first).expect("an id").all().await.expect("a list");
        assert_eq!(versions.iter().map(|version| version.number).collect::<Vec<_>>(), [3, 2, 1]);
        let error = shop.policies(ListOptions::new().filter("nonsense = 1")).all().await.expect_err("no such field");
        assert_eq!((error.code(), error.violations()[0].field.as_str()), (Code::InvalidArgument, "filter"));
        assert!(client.namespaces().all().await.expect("a list").iter().any(|id| id.as_str() == "default"));
    }
}

#[tokio::test]
async fn a_client_goes_on_at_the_next_endpoint() {
    let hub = Hub::start(Database::Sqlite).await;
    release(&hub.client().await, "p", "a: 1").await;
    let [first, second] = [NetworkProxy::before(hub.grpc_port()).await, NetworkProxy::before(hub.grpc_port()).await];
    let at = |proxy: &NetworkProxy| format!("http://127.0.0.1:{}", proxy.port);
    // The first endpoint has no server: a client can be created without one.
    let client = builder(&hub).endpoint("http://127.0.0.1:1").endpoint(at(&first)).endpoint(at(&second));
    let client = client.call_timeout(Duration::from_secs(2)).build().expect("a client");
    let shop = client.namespace("default").expect("an id");
    assert_eq!(shop.policy("p").await.expect("by the second endpoint").active_version, Some(1));
    // A silently lost link results in a deadline; the next call uses another endpoint.
    first.lose();
    let error = shop.policy("p").await.expect_err("nobody answers");
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
    assert_eq!(shop.policy("p").await.expect("by the third endpoint").active_version, Some(1));
}

#[tokio::test]
async fn a_restart_is_no_error_to_a_client() {
    let hub = Hub::start(Database::Sqlite).await;
    release(&hub.client().await, "p", "a: 1").await;
    let proxy = NetworkProxy::before(hub.grpc_port()).await;
    let client = builder(&hub).endpoint(format!("http://127.0.0.1:{}", proxy.port)).build().expect("a client");
    let shop = client.namespace("default").expect("an id");
    shop.policy("p").await.expect("a policy");
    let hub = hub.restart().await;
    proxy.aim(hub.grpc_port());
    // Over the connection that the restart broke.
    assert_eq!(shop.policy("p").await.expect("read again").active_version, Some(1));
    let hub = hub.restart().await;
    proxy.aim(hub.grpc_port());
    shop.draft("p", "application/yaml", "a: 2").send().await.expect("written, once");
    assert_eq!(shop.policy("p").await.expect("a policy").latest_version, Some(2));
}

#[tokio::test]
async fn a_token_that_ends_is_got_again() {
    let hub = Hub::start(Database::Sqlite).await;
    release(&hub.client().await, "p", "a: 1").await;
    let (asked, good) = (Arc::new(AtomicUsize::new(0)), hub.token());
    let counted = Arc::clone(&asked);
    let source = TokenSource::function(move || {
        let token = if counted.fetch_add(1, Ordering::SeqCst) == 0 { "old".to_owned() } else { good.clone() };
        async move { Ok(token) }
    });
    let client = Client::builder().endpoint(&hub.grpc).token(source).build().expect("a client");
    let shop = client.namespace("default").expect("an id");
    shop.policy("p").await.expect("with the second token");
    shop.policy("p").await.expect("with the same one");
    assert_eq!(asked.load(Ordering::SeqCst), 2, "asked for when it is needed");
    let fixed =
        Client::builder().endpoint(&hub.grpc).token(TokenSource::Text("old".to_owned())).build().expect("a client");
    let error = fixed.namespace("default").expect("an id").policy("p").await.expect_err("it does not get better");
    assert_eq!(error.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn what_is_no_client_is_refused_when_it_is_made() {
    let error = Client::builder().build().expect_err("no endpoint");
    assert_eq!(error.code(), Code::InvalidArgument);
    let error = Client::builder().endpoint("ftp://x").connect().await.expect_err("no endpoint");
    assert_eq!(error.code(), Code::InvalidArgument);
    let error = Client::builder().endpoint("http://127.0.0.1:1").connect().await.expect_err("nobody is there");
    assert_eq!(error.code(), Code::Unavailable);
    assert!(std::error::Error::source(&error).is_some(), "what failed below it");
    let hub = Hub::start(Database::Sqlite).await;
    let channel = tonic::transport::Endpoint::from_shared(hub.grpc.clone()).expect("an endpoint").connect_lazy();
    let client = Client::builder().channel(channel).token(TokenSource::Text(hub.token())).connect().await;
    client.expect("a channel of one's own").namespaces().all().await.expect("a list");
}
