//! Calls with one answer, and what a hub refuses.

use policyhub_client::internal::now_seconds;
use policyhub_client::internal::{Client, Code, Cursor, ListedOptions, ListedSet, pb, signing};
use policyhub_client::testing::{TestHub, TestHubError};

use super::{hub, policies};

async fn pages(client: &Client, asked: pb::ListActiveRequest) -> Vec<pb::ListActiveResponse> {
    let (mut asked, mut pages) = (asked, Vec::new());
    loop {
        let page = client.list_active(asked.clone()).await.expect("a page");
        asked.page_token.clone_from(&page.next_page_token);
        pages.push(page);
        if asked.page_token.is_empty() {
            return pages;
        }
    }
}

fn listed(hub: &TestHub, filter: &[&str]) -> ListedSet {
    let options = ListedOptions { policies: policies(filter), has_content: true, is_past: false };
    ListedSet::new(hub.namespace(), hub.keys(), options)
}

#[tokio::test]
async fn a_listed_set_verifies_page_by_page() {
    let hub = hub().await;
    hub.activate(["a", "b", "c", "d", "e"].map(|id| (id, "1"))).await.expect("activated");
    let client = Client::connect(&hub.endpoint(), None, None).await.expect("a connection");
    let all = pb::ListActiveRequest { parent: hub.namespace().name(), page_size: 2, ..Default::default() };
    let filtered = pb::ListActiveRequest { policies: vec!["b".to_owned(), "x".to_owned()], ..all.clone() };
    for (asked, filter, counts) in [(all, &[][..], vec![2, 2, 1]), (filtered, &["b", "x"][..], vec![1])] {
        let pages = pages(&client, asked).await;
        assert_eq!(pages.iter().map(|page| page.bundles.len()).collect::<Vec<_>>(), counts);
        let mut set = listed(&hub, filter);
        for page in &pages {
            set.take(page, now_seconds()).expect("verified");
        }
        assert!(!set.is_stale(now_seconds()), "the last page proves that the set is whole and the newest");
        let mut set = listed(&hub, filter);
        let outcomes = pages.into_iter().map(|mut page| {
            page.bundles.pop();
            set.take(&page, now_seconds())
        });
        assert!(outcomes.last().is_some_and(|last| last.is_err()), "a set that lacks a policy verifies for nobody");
    }
}

#[tokio::test]
async fn pages_are_of_the_state_of_the_first_one() {
    let hub = hub().await;
    hub.activate([("a", "1"), ("b", "1")]).await.expect("activated");
    let client = Client::connect(&hub.endpoint(), None, None).await.expect("a connection");
    let asked = pb::ListActiveRequest { parent: hub.namespace().name(), page_size: 1, ..Default::default() };
    let first = client.list_active(asked.clone()).await.expect("a page");
    hub.activate([("b", "2")]).await.expect("activated");
    let token = first.next_page_token.clone();
    let second = client.list_active(pb::ListActiveRequest { page_token: token, ..asked }).await.expect("a page");
    let mut set = listed(&hub, &[]);
    for page in [&first, &second] {
        set.take(page, now_seconds()).expect("verified");
    }
    assert_eq!(second.bundles.iter().map(|bundle| bundle.version).collect::<Vec<_>>(), [1]);
}

#[tokio::test]
async fn a_policy_is_answered_now_and_as_it_was() {
    let hub = hub().await;
    let before = hub.cursor();
    let first = hub.activate([("a", "1")]).await.expect("activated");
    hub.activate([("a", "2")]).await.expect("activated");
    let client = Client::connect(&hub.endpoint(), None, None).await.expect("a connection");
    let asked =
        |id: &str| pb::GetActiveRequest { name: format!("namespaces/default/policies/{id}"), ..Default::default() };
    let at = |cursor: Cursor| Some(pb::get_active_request::At::Cursor(cursor.into()));
    let newest = client.get_active(asked("a")).await.expect("active");
    let bundle = newest.bundle.expect("a bundle");
    let manifest = signing::verify_bundle(&bundle.manifest, &bundle.content, &hub.keys()).expect("signed");
    let statement = signing::verify_statement(&newest.statement, &hub.keys()).expect("signed");
    assert_eq!((manifest.version, statement.revision, &bundle.content[..]), (2, hub.cursor().revision, &b"2"[..]));

    let older = client.get_active(pb::GetActiveRequest { at: at(first), ..asked("a") }).await.expect("was active");
    assert_eq!(older.bundle.map(|bundle| bundle.version), Some(1));
    let same =
        client.get_active(pb::GetActiveRequest { if_digest: bundle.digest, ..asked("a") }).await.expect("active");
    assert!(same.not_modified && same.bundle.is_none() && same.statement.is_empty());
    let beyond = Cursor { revision: 99, ..first };
    for (request, reason) in [
        (pb::GetActiveRequest { at: at(before), ..asked("a") }, "NO_ACTIVE_VERSION"),
        (pb::GetActiveRequest { at: at(beyond), ..asked("a") }, "INVALID_ARGUMENT"),
        (asked("b"), "POLICY_NOT_FOUND"),
        (
            pb::GetActiveRequest { name: "namespaces/x/policies/a".to_owned(), ..Default::default() },
            "NAMESPACE_NOT_FOUND",
        ),
    ] {
        assert_eq!(client.get_active(request).await.expect_err("refused").reason(), reason);
    }
}

#[tokio::test]
async fn the_key_statement_leads_on_from_the_pinned_keys() {
    let hub = hub().await;
    let client = Client::connect(&hub.endpoint(), None, None).await.expect("a connection");
    let answer = client.list_signing_keys(Default::default()).await.expect("keys");
    assert_eq!(policyhub_client::internal::trusted_keys(&answer).expect("keys"), hub.keys());
    let mut pins = signing::PinnedKeys::new(hub.keys());
    let taken: Vec<_> =
        answer.key_statements.iter().map(|statement| pins.take(statement, Some(&answer.store))).collect();
    assert_eq!(taken, [Ok(true)]);
}

#[tokio::test]
async fn a_call_that_the_hub_does_not_have_says_so() {
    let hub = hub().await;
    let client = Client::connect(&hub.endpoint(), None, None).await.expect("a connection");
    let name = "namespaces/default".to_owned();
    let errors = [
        client.draft(Default::default()).await.map(drop),
        client.get_namespace(pb::GetNamespaceRequest { name: name.clone() }).await.map(drop),
        client.list_subscribers(pb::ListSubscribersRequest { parent: name, ..Default::default() }).await.map(drop),
    ];
    for (error, call) in errors.into_iter().zip(["Draft", "GetNamespace", "ListSubscribers"]) {
        let error = error.expect_err("no such call");
        assert_eq!(error.code(), Code::Unimplemented);
        let message = error.message();
        assert!(
            message.contains("the testing hub has no call") && message.ends_with(&format!("Service/{call}")),
            "{message}"
        );
    }
}

#[tokio::test]
async fn what_can_not_be_taken_is_an_error_and_changes_nothing() {
    let hub = hub().await;
    let before = hub.activate([("a", "1")]).await.expect("activated");
    let many: Vec<(String, &str)> = (0..101).map(|index| (format!("p{index}"), "1")).collect();
    let refused = [
        hub.activate([("a", "2"), ("Not An Id", "1")]).await,
        hub.activate([("a", "2"), ("a", "3")]).await,
        hub.activate([("a", "2"), ("b", "")]).await,
        hub.activate([("a", vec![b'x'; 1024 * 1024 + 1])]).await,
        hub.activate(Vec::<(&str, &str)>::new()).await,
        hub.activate(many).await,
        hub.deactivate(&["a", "B"]).await,
        hub.deactivate(&[]).await,
        hub.activate_version("..", 1).await,
        hub.in_namespace("No Id").map(|_| Cursor::NONE),
        TestHub::builder().namespace("No Id").start().await.map(|_| Cursor::NONE),
        TestHub::builder().checkpoint_lifetime(std::time::Duration::from_secs(1)).start().await.map(|_| Cursor::NONE),
    ];
    for (index, outcome) in refused.into_iter().enumerate() {
        assert!(matches!(outcome, Err(TestHubError::InvalidArgument(_))), "{index}: {outcome:?}");
    }
    for version in [0, -1, 2, i64::MAX] {
        let outcome = hub.activate_version("a", version).await;
        assert!(matches!(outcome, Err(TestHubError::UnknownVersion { .. })), "{outcome:?}");
    }
    assert!(matches!(hub.activate_version("b", 1).await, Err(TestHubError::UnknownVersion { .. })));
    assert!(matches!(hub.deactivate(&["a", "b"]).await, Err(TestHubError::NotActive(_))));
    assert_eq!(hub.cursor(), before);
    let next = hub.activate([("a", "2")]).await.expect("activated");
    assert_eq!(next.revision, before.revision + 1);
    let client = Client::connect(&hub.endpoint(), None, None).await.expect("a connection");
    let name = "namespaces/default/policies/a".to_owned();
    let active = client.get_active(pb::GetActiveRequest { name, ..Default::default() }).await.expect("active");
    assert_eq!(active.bundle.map(|bundle| bundle.version), Some(2), "no number was used by what was refused");
}
