//! The quotas of a namespace: set, changed, counted, and enforced (docs/guarantees.md#g23).

use std::time::Instant;

use policyhub::client::{Client, ClientError, pb};
use prost_types::FieldMask;
use tokio::task::JoinSet;
use tonic::Code;

use crate::harness::calls::{
    NAMESPACE, abandon, activate, deactivate, draft, draft_request, events, get, head, publish, refused,
    refused_fields, release, rollback_request,
};
use crate::harness::watching::{self, DEADLINE};
use crate::harness::{Database, Hub, on_both_databases};

/// Updates the tests' namespace or another one.
pub async fn update(
    client: &Client,
    name: &str,
    quotas: pb::NamespaceQuotas,
    paths: &[&str],
) -> Result<pb::Namespace, ClientError> {
    let namespace = pb::Namespace { name: name.to_owned(), quotas: Some(quotas), ..Default::default() };
    let paths = paths.iter().map(ToString::to_string).collect();
    let request = pb::UpdateNamespaceRequest {
        namespace: Some(namespace),
        update_mask: Some(FieldMask { paths }),
        ..Default::default()
    };
    Ok(client.update_namespace(request).await?.namespace.expect("a namespace"))
}

/// Sets the quotas of the tests' namespace.
pub async fn grant(client: &Client, quotas: pb::NamespaceQuotas) {
    update(client, NAMESPACE, quotas, &["quotas"]).await.expect("an update");
}

/// Creates a namespace with quotas.
pub async fn make(client: &Client, id: &str, quotas: pb::NamespaceQuotas) -> pb::Namespace {
    let given = pb::Namespace { quotas: Some(quotas), ..Default::default() };
    let request =
        pb::CreateNamespaceRequest { namespace_id: id.to_owned(), namespace: Some(given), ..Default::default() };
    client.create_namespace(request).await.expect("a namespace").namespace.expect("a namespace")
}

async fn found(client: &Client, name: &str) -> pb::Namespace {
    let request = pb::GetNamespaceRequest { name: name.to_owned() };
    client.get_namespace(request).await.expect("a namespace").namespace.expect("a namespace")
}

/// Returns the counters of the namespace's row, and the counts computed from its rows: policies, versions, bytes.
pub fn counted(hub: &Hub) -> (String, String) {
    let row = "SELECT policies || ' ' || versions || ' ' || content_bytes FROM namespaces WHERE id = 'default'";
    let real = "SELECT (SELECT COUNT(*) FROM policies WHERE namespace = 'default') || ' ' || COUNT(*) || ' ' || \
                COALESCE(SUM(size_bytes), 0) FROM versions WHERE namespace = 'default'";
    (hub.tamper(row), hub.tamper(real))
}

#[track_caller]
fn over<T: std::fmt::Debug>(answer: Result<T, ClientError>, quota: &str, limit: i64, used: i64) {
    let error = refused(answer, Code::ResourceExhausted, "QUOTA_EXCEEDED");
    let of = |key: &str| error.metadata().get(key).cloned().unwrap_or_default();
    assert_eq!(
        [of("quota"), of("limit"), of("used"), of("subject")],
        [quota.to_owned(), limit.to_string(), used.to_string(), NAMESPACE.to_owned()]
    );
    assert_eq!(error.retry_after(), None, "waiting does not help");
}

on_both_databases! {
    /// Quotas are stored and shown everywhere, change by mask, and are in the log.
    async fn quotas_are_given_and_changed(hub: Hub) {
        let client = hub.client().await;
        let all = pb::NamespaceQuotas {
            max_policies: 1,
            max_versions: 2,
            max_content_bytes: 5_000_000_000,
            max_streams: 4,
            writes_per_second: 500,
            reads_per_second: 600,
        };
        let made = make(&client, "team", all).await;
        assert_eq!((made.quotas, &found(&client, &made.name).await), (Some(all), &made));
        let listed = client.list_namespaces(pb::ListNamespacesRequest::default()).await.expect("namespaces").namespaces;
        assert!(listed.contains(&made), "{listed:?}");
        let mut expected = pb::NamespaceQuotas::default();
        let none = pb::NamespaceQuotas::default();
        assert_eq!(found(&client, NAMESPACE).await.quotas, Some(none), "nothing was said for it");
        for (path, take) in [
            (
                "max_policies",
                (|to, from| to.max_policies = from.max_policies)
                    as fn(&mut pb::NamespaceQuotas, pb::NamespaceQuotas),
            ),
            ("max_versions", |to, from| to.max_versions = from.max_versions),
            ("max_content_bytes", |to, from| to.max_content_bytes = from.max_content_bytes),
            ("max_streams", |to, from| to.max_streams = from.max_streams),
            ("writes_per_second", |to, from| to.writes_per_second = from.writes_per_second),
            ("reads_per_second", |to, from| to.reads_per_second = from.reads_per_second),
        ] {
            take(&mut expected, all);
            let now = update(&client, NAMESPACE, all, &[&format!("quotas.{path}")]).await.expect("an update");
            assert_eq!(now.quotas, Some(expected), "{path}");
            assert_eq!(now.description, "made at the first start", "{path}");
        }
        let one = pb::NamespaceQuotas { max_policies: 9, ..none };
        let now = update(&client, NAMESPACE, one, &[]).await.expect("an update");
        let kept = pb::NamespaceQuotas { max_policies: 9, ..all };
        let received = (now.quotas, now.description.as_str());
        assert_eq!(received, (Some(kept), "made at the first start"), "without a mask what is not populated stays");
        refused_fields(update(&client, NAMESPACE, none, &[]).await, &["update_mask"]);
        let now = update(&client, NAMESPACE, none, &["*"]).await.expect("an update");
        assert_eq!((now.quotas, now.description.as_str()), (Some(none), ""), "the mask * takes all");
        let last = events(&client, "namespaces/system", 0).await.pop().expect("an event");
        let payload: serde_json::Value = serde_json::from_slice(&last.payload).expect("JSON");
        assert_eq!(payload["settings"]["quotas"]["max_policies"], 0, "{payload}");
        let negative = pb::NamespaceQuotas { max_versions: -1, writes_per_second: -1, ..all };
        let fields = ["namespace.quotas.max_versions", "namespace.quotas.writes_per_second"];
        refused_fields(update(&client, NAMESPACE, negative, &["quotas"]).await, &fields);
        refused_fields(update(&client, NAMESPACE, all, &["quotas.other"]).await, &["update_mask"]);
        assert_eq!(found(&client, NAMESPACE).await, now);
    }

    /// Given a write over a quota, it is refused, also with validate_only; writes that store nothing still work; and a higher quota is in
    /// effect at once.
    async fn what_is_stored_ends_at_its_quota(hub: Hub) {
        let client = hub.client().await;
        let quotas = pb::NamespaceQuotas { max_policies: 2, max_versions: 4, max_content_bytes: 18, ..Default::default() };
        release(&client, "p", "a: 1").await;
        release(&client, "p", "a: 2").await;
        grant(&client, quotas).await;
        draft(&client, "q", "b: 1").await;
        over(client.draft(draft_request("r", "c: 1")).await, "max_policies", 2, 2);
        let made = pb::CreatePolicyRequest {
            parent: NAMESPACE.to_owned(), policy_id: "r".to_owned(), validate_only: true, ..Default::default()
        };
        over(client.create_policy(made).await, "max_policies", 2, 2);
        let at = head(&client).await;
        over(client.draft(draft_request("q", "b: 12345")).await, "max_content_bytes", 18, 12);
        draft(&client, "q", "b: 234").await;
        let rehearsal = pb::DraftRequest { validate_only: true, ..draft_request("q", "b: 3") };
        over(client.draft(rehearsal).await, "max_versions", 4, 4);
        let copy = pb::RollbackRequest {
            mode: pb::RollbackMode::CopyForward.into(), ..rollback_request("p", 1)
        };
        over(client.rollback(copy.clone()).await, "max_versions", 4, 4);
        assert_eq!(head(&client).await, at + 1, "what is refused leaves nothing");
        // Ended versions are kept, and count.
        abandon(&client, "q", 2).await;
        over(client.draft(draft_request("q", "b: 3")).await, "max_versions", 4, 4);
        assert_eq!(get(&client, "q").await.latest_version, 2);
        // With a quota below what is already stored, writes that store nothing still work.
        grant(&client, pb::NamespaceQuotas { max_policies: 1, max_versions: 1, max_content_bytes: 1, ..quotas }).await;
        client.rollback(rollback_request("p", 1)).await.expect("a rollback");
        activate(&client, "p", 2).await;
        deactivate(&client, "p").await;
        let published = pb::PublishRequest { name: format!("{NAMESPACE}/policies/q/versions/1"), ..Default::default() };
        client.publish(published).await.expect("a publication");
        // Another namespace has separate quotas.
        make(&client, "team", pb::NamespaceQuotas::default()).await;
        let elsewhere = pb::DraftRequest { parent: "namespaces/team/policies/p".to_owned(), ..draft_request("p", "a: 1") };
        client.draft(elsewhere).await.expect("a draft");
        grant(&client, pb::NamespaceQuotas { max_policies: 3, max_versions: 6, max_content_bytes: 30, ..quotas }).await;
        draft(&client, "r", "c: 1").await;
        activate(&client, "p", 2).await;
        client.rollback(copy).await.expect("a rollback");
        over(client.draft(draft_request("r", "c: 2")).await, "max_versions", 6, 6);
        let (kept, real) = counted(&hub);
        assert_eq!(kept, real);
    }

    /// Given many concurrent writes, they stay within the quota, and failed or repeated ones do not count.
    async fn many_at_once_stay_within_and_are_counted(hub: Hub) {
        const ROOM: i64 = 20;
        let client = hub.client().await;
        grant(&client, pb::NamespaceQuotas { max_versions: ROOM, ..Default::default() }).await;
        let mut drafting = JoinSet::new();
        for number in 0..30 {
            let (client, id) = (hub.client().await, format!("p{}", number % 3));
            drafting.spawn(async move {
                let request_id = format!("draft-{number}");
                let request = pb::DraftRequest { request_id, ..draft_request(&id, &format!("a: {}", "x".repeat(number))) };
                let rehearsal = pb::DraftRequest { validate_only: true, ..request.clone() };
                let _ = client.draft(rehearsal).await;
                let first = client.draft(request.clone()).await;
                let again = client.draft(request).await;
                assert_eq!(first.is_ok(), again.is_ok(), "{first:?}, then {again:?}");
                first.is_ok()
            });
        }
        let drafted = drafting.join_all().await.into_iter().filter(|taken| *taken).count();
        assert_eq!(i64::try_from(drafted).expect("a count"), ROOM);
        let (kept, real) = counted(&hub);
        assert_eq!(kept, real);
        assert!(kept.contains(&format!(" {ROOM} ")), "{kept}");
    }

    /// A watch counts towards the quota of its namespace until it ends, however it ends.
    async fn watches_end_at_their_quota(hub: Hub) {
        let client = hub.client().await;
        publish(&client, "p", "a: 1").await;
        grant(&client, pb::NamespaceQuotas { max_streams: 2, ..Default::default() }).await;
        let (one, gone) = (hub.client().await, hub.client().await);
        let first = watching::raw(&one, None).await.expect("a watch");
        let _second = watching::raw(&gone, None).await.expect("a watch");
        let error = refused(watching::raw(&client, None).await, Code::ResourceExhausted, "QUOTA_EXCEEDED");
        assert_eq!(error.metadata()["quota"], "max_streams");
        assert!(error.retry_after().is_some(), "a place may be given back: {error:?}");
        make(&client, "team", pb::NamespaceQuotas::default()).await;
        let elsewhere = pb::WatchActiveRequest { targets: vec![pb::WatchTarget { parent: "namespaces/team".to_owned(), ..Default::default() }], ..Default::default() };
        client.watch_active(elsewhere).await.expect("a watch of another namespace");
        // A watch that fails to open does not count.
        let elsewhere = pb::Cursor { epoch: 9, revision: 9, ..Default::default() };
        drop(first);
        for _ in 0..5 {
            let refused = opens(&client, Some(elsewhere)).await.expect_err("no such place");
            assert_eq!(refused.reason(), "RESUME_POINT_GONE");
        }
        let _third = opens(&client, None).await.expect("the place that was given back");
        assert!(watching::raw(&client, None).await.is_err(), "no more than two");
    }
}

/// Opens a watch as soon as the quota permits.
async fn opens(
    client: &Client,
    resume: Option<pb::Cursor>,
) -> Result<tonic::Streaming<pb::WatchActiveResponse>, ClientError> {
    let started = Instant::now();
    loop {
        match watching::raw(client, resume).await {
            Err(error) if error.reason() == "QUOTA_EXCEEDED" => {}
            opened => return opened,
        }
        assert!(started.elapsed() < DEADLINE, "the place was not given back");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn quotas_are_given_by_commands() {
    let hub = Hub::start(Database::Sqlite).await;
    let run = |arguments: &[&str]| {
        let output = hub.cli().args(arguments).output().expect("the binary runs");
        (output.status.code(), String::from_utf8(output.stdout).expect("UTF-8"))
    };
    let (code, _) = run(&["namespace", "create", "team", "--max-policies", "5", "--reads-per-second", "9"]);
    assert_eq!(code, Some(0));
    let (code, text) = run(&["namespace", "show", "team"]);
    assert!(code == Some(0) && text.contains("QUOTAS") && text.contains("policies=5,reads/s=9"), "{text}");
    let (code, json) = run(&["namespace", "update", "team", "--max-streams", "7", "--output", "json"]);
    let answer: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((code, &answer["namespace"]["quotas"]["max_streams"]), (Some(0), &serde_json::json!(7)));
    let (_, text) = run(&["namespace", "list"]);
    assert!(text.contains("policies=5,streams=7,reads/s=9") && text.contains("server's"), "{text}");
    assert_eq!(run(&["namespace", "update", "team"]).0, Some(2));
}
