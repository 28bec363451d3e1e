//! No answer is above 2 MiB, whatever it contains: lists end their pages early, and answers without pages leave parts out.

use policyhub::client::{Client, pb};
use prost::Message;

use crate::harness::callers::try_grant;
use crate::harness::calls::{NAMESPACE, activate, create, draft, head, policy, publish, release, set, version};
use crate::harness::on_both_databases;
use crate::harness::subscribing::{at, convergence, eventually, watch_request};

const ANSWER_MAX_BYTES: usize = 2 * 1024 * 1024;
const KIB: usize = 1024;
/// With 4,000 bytes each, more than one answer can carry.
const NAMESPACES: usize = 560;
/// Number of bindings of one namespace.
const BINDINGS: usize = 100;

fn check(answer: &impl Message) {
    assert!(answer.encoded_len() <= ANSWER_MAX_BYTES, "an answer of {} bytes", answer.encoded_len());
}

/// Reads every page of a list and returns the number of items and of pages.
macro_rules! read {
    ($client:ident.$method:ident, $items:ident, $request:expr) => {{
        let (mut request, mut items, mut pages) = ($request, 0, 0);
        loop {
            let page = $client.$method(request.clone()).await.expect("a page");
            check(&page);
            items += page.$items.len();
            pages += 1;
            if page.next_page_token.is_empty() {
                break;
            }
            assert!(!page.$items.is_empty(), "a page of nothing");
            request.page_token = page.next_page_token;
        }
        (items, pages)
    }};
}

/// Creates policies with the largest schemas, and a policy with three of the largest contents.
async fn fill(client: &Client) {
    let json_schema = format!(r#"{{"$comment":"{}"}}"#, "\\\"".repeat(120 * KIB));
    for number in 0..12 {
        let settings = pb::PolicySettings { json_schema: json_schema.clone(), ..Default::default() };
        let id = format!("schema-{number}");
        create(client, &id, pb::PolicyKind::Yaml, pb::PolicySettings::default()).await;
        set(client, &id, settings).await;
    }
    for letter in ["a", "b", "c"] {
        publish(client, "large", &format!("text: {}", letter.repeat(1000 * KIB))).await;
    }
}

on_both_databases! {
    async fn every_list_ends_its_page_early(hub: Hub) {
        let client = hub.client().await;
        fill(&client).await;
        let parent = || NAMESPACE.to_owned();
        let policies = pb::ListPoliciesRequest { parent: parent(), page_size: 1_000, ..Default::default() };
        let (items, pages) = read!(client.list_policies, policies, policies);
        assert!(items == 13 && pages > 1, "{items} policies in {pages} pages");
        let head = head(&client).await;
        for order_by in ["revision", "revision desc"] {
            let order_by = order_by.to_owned();
            let request = pb::ListEventsRequest { parent: parent(), page_size: 1_000, order_by, ..Default::default() };
            let (items, pages) = read!(client.list_events, events, request);
            assert!(i64::try_from(items) == Ok(head) && pages > 1, "{items} events in {pages} pages");
        }
        for (view, least_pages) in [(pb::VersionView::Full, 2), (pb::VersionView::Basic, 1)] {
            let request = pb::ListVersionsRequest {
                parent: policy("large"), page_size: 1_000, view: view.into(), ..Default::default()
            };
            let (items, pages) = read!(client.list_versions, versions, request);
            assert!(items == 3 && pages >= least_pages, "{items} versions in {pages} pages");
        }
        let mut export = client.export_rows(pb::ExportRowsRequest { parent: parent() }).await.expect("an export");
        let mut messages = 0;
        while let Some(rows) = export.next().await.expect("rows") {
            check(&pb::ExportRowsResponse { rows, ..Default::default() });
            messages += 1;
        }
        let (rows, total) = export.progress();
        assert!(rows >= 13 + 3 && rows == total && messages > 4, "{rows} rows in {messages} messages");
        let request = pb::GetVersionRequest { name: version("large", 1), view: pb::VersionView::Full.into() };
        check(&client.get_version(request).await.expect("a version"));
    }

    /// Given namespaces with long descriptions, or bindings with long members, a page ends early too.
    async fn lists_of_admins_end_their_pages_early(hub: Hub) {
        let client = hub.client().await;
        let description = "\u{1f600}".repeat(1_000);
        for number in 0..NAMESPACES {
            let request = pb::CreateNamespaceRequest {
                namespace_id: format!("n{number}"),
                namespace: Some(pb::Namespace { description: description.clone(), ..Default::default() }),
                ..Default::default()
            };
            client.create_namespace(request).await.expect("a namespace");
        }
        let request = pb::ListNamespacesRequest { page_size: 1_000, ..Default::default() };
        let (items, pages) = read!(client.list_namespaces, namespaces, request);
        // There is `default` besides those that the test created, and possibly others.
        assert!(items > NAMESPACES && pages > 1, "{items} namespaces in {pages} pages");

        for number in 0..BINDINGS {
            let member = format!("local:{number}{}", "m".repeat(240));
            try_grant(&client, &member, pb::Role::Viewer, NAMESPACE).await.expect("a grant");
        }
        let request =
            pb::ListRoleBindingsRequest { parent: NAMESPACE.to_owned(), page_size: 1_000, ..Default::default() };
        let (items, _) = read!(client.list_role_bindings, role_bindings, request);
        assert_eq!(items, BINDINGS);
    }

    /// Given two of the largest versions, their difference exceeds an answer; the answer says so and leaves it out.
    async fn a_large_difference_is_left_out(hub: Hub) {
        let client = hub.client().await;
        for letter in ["a", "b"] {
            draft(&client, "large", &format!("text: {}", letter.repeat(1000 * KIB))).await;
        }
        draft(&client, "small", "a: 1").await;
        draft(&client, "small", "a: 2").await;
        let diff = |id: &str| pb::DiffVersionsRequest { base: version(id, 1), other: version(id, 2) };
        let large = client.diff_versions(diff("large")).await.expect("an answer");
        check(&large);
        assert!(large.too_large && large.unified.is_empty() && large.json_patch.is_empty());
        assert!(large.base.expect("a version").digest != large.other.expect("a version").digest);
        let small = client.diff_versions(diff("small")).await.expect("an answer");
        assert!(!small.too_large && !small.unified.is_empty());
    }

    /// Given subscribers with long filters, their list has pages, and convergence names fewer of them.
    async fn subscribers_with_long_filters_fit(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        let ids: Vec<String> = (0..850).map(|number| format!("{}-{number:03}", "x".repeat(59))).collect();
        let filter: Vec<&str> = ids.iter().map(String::as_str).chain(["p"]).collect();
        let mut streams = Vec::new();
        for number in 0..45 {
            let request = watch_request(&format!("shop-{number:02}"), &filter);
            streams.push(client.watch_active(request).await.expect("a watch"));
        }
        let request = pb::ListSubscribersRequest { parent: NAMESPACE.to_owned(), page_size: 1_000, ..Default::default() };
        eventually("all are listed", async || {
            let (items, pages) = read!(client.list_subscribers, subscribers, request.clone());
            items == 45 && pages > 1
        })
        .await;
        publish(&client, "p", "a: 2").await;
        let revision = activate(&client, "p", 2).await;
        let found = convergence(&client, at(revision), std::time::Duration::ZERO).await.expect("an answer");
        check(&found);
        assert_eq!(found.pending, 45);
        assert!((5..20).contains(&found.pending_subscribers.len()), "{}", found.pending_subscribers.len());
    }
}
