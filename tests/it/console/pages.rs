//! What each page shows of a namespace that lives.

use policyhub::client::pb;

use super::browser::{Browser, between};
use crate::harness::calls::{activate, draft, draft_request, get_version, policy, publish, release, targets, version};
use crate::harness::{Database, Hub, on_both_databases};
use crate::templates::{refunds, release_template, request};

on_both_databases! {
    /// Given a new server, each page that is empty says the first command.
    async fn an_empty_page_says_the_first_command(hub: Hub) {
        let browser = Browser::signed_in(&hub, &hub.token());
        let all = browser.get("/");
        assert!(all.body.contains("href=\"/namespaces/default\""), "{all:?}");
        let empty = browser.get("/namespaces/default");
        assert_eq!(empty.status, 200, "{empty:?}");
        assert!(empty.body.contains("policyhub draft my-policy my-policy.yaml --create -n default"), "{empty:?}");
        assert!(empty.body.contains("policyhub active -n default"), "the command that shows the same: {empty:?}");
        assert!(empty.body.contains("local:admin"), "who is signed in: {empty:?}");
    }

    /// Given a policy that was released twice, its namespace says what is active since when and by whom; its page has a step for each
    /// version, the active one marked; and the page of a version has its content, its report and its exact bytes.
    async fn a_policy_is_followed_from_its_namespace_to_its_bytes(hub: Hub) {
        let admin = hub.client().await;
        release(&admin, "shop", "tokens: 1000\n").await;
        let second = release(&admin, "shop", "tokens: 5000\nmodel: small\n").await;
        draft(&admin, "shop", "tokens: 9\n").await;
        let browser = Browser::signed_in(&hub, &hub.token());

        let namespace = browser.get("/namespaces/default").body;
        let row = between(&namespace, "/policies/shop\"", "</tr>");
        assert!(row.contains("/namespaces/default/policies/shop/versions/2"), "{row}");
        assert!(row.contains("<td>local:admin</td>") && row.contains("0 of 0"), "{row}");
        assert!(row.contains("<time datetime=\"20"), "the exact time: {row}");

        let policy = browser.get("/namespaces/default/policies/shop").body;
        let steps: Vec<&str> = between(&policy, "data-rail>", "</ol>").split_inclusive("</li>").take(3).collect();
        assert_eq!(steps.len(), 3, "{policy}");
        let (newest, active) = (steps[0], steps[1]);
        assert!(newest.contains("state draft") && newest.contains(">3</a>"), "the newest is on top: {newest}");
        assert!(active.contains("is-active") && active.contains("state active"), "{active}");
        assert!(steps[2].contains("state published"), "{}", steps[2]);
        assert!(active.contains(&second.digest), "the whole digest: {active}");
        assert!(policy.contains("ACTIVATE"), "how the pointer moved: {policy}");

        let version = browser.get("/namespaces/default/policies/shop/versions/2").body;
        assert!(version.contains("data-line=\"2\">model: small</span>"), "{version}");
        assert!(version.contains("parse: passed"), "{version}");
        let key = between(&version, "<dt>Signed with</dt><dd><code>", "<");
        assert!(!key.is_empty(), "{version}");
        let bytes = browser.get("/namespaces/default/policies/shop/versions/2/content");
        assert_eq!(bytes.body, "tokens: 5000\nmodel: small\n");
        assert_eq!(bytes.header("content-type"), "application/octet-stream");
        assert_eq!(bytes.header("content-disposition"), "attachment; filename=\"shop-2\"");
    }

    /// Given a version that was made from a template, its page leads there, and shows the parameters and the annotations, as text.
    async fn a_version_says_what_it_was_made_from(hub: Hub) {
        let admin = hub.client().await;
        release_template(&admin, "refunds", &refunds()).await;
        let annotations = [("ticket".to_owned(), "<b>T-1</b>".to_owned())].into();
        let made = request(policy("refunds"), serde_json::json!({"region": "eu"}));
        admin.draft(pb::DraftRequest { annotations, ..made }).await.expect("a draft");
        let browser = Browser::signed_in(&hub, &hub.token());
        let page = browser.get("/namespaces/default/policies/p/versions/1").body;
        let link = "template <a href=\"/namespaces/default/policies/refunds/versions/1\">refunds@1</a>";
        assert!(page.contains(link), "{page}");
        assert!(page.contains("<dt><code>ticket</code></dt>") && !page.contains("<b>T-1"), "{page}");
        let parameters = between(&page, link, "</dd>");
        assert!(parameters.contains("region") && parameters.contains("eu"), "{page}");
        let template = browser.get("/namespaces/default/policies/refunds/versions/1").body;
        assert!(!template.contains("Made from"), "{template}");
    }

    /// Given a version that was adopted, its page says who wrote it and when, beside who brought it here.
    async fn an_adopted_version_says_who_wrote_it(hub: Hub) {
        let admin = hub.client().await;
        let first_of_march = prost_types::Timestamp { seconds: 1_709_251_200, nanos: 0 };
        let adopted = pb::Adopted { author: "<b>ann".to_owned(), create_time: Some(first_of_march) };
        let request = draft_request("p", "a: 1\n");
        let adoption = pb::DraftRequest { label: "1.0.0".to_owned(), adopted: Some(adopted), ..request };
        admin.draft(adoption).await.expect("a draft");
        draft(&admin, "p", "a: 2\n").await;
        let browser = Browser::signed_in(&hub, &hub.token());
        let page = browser.get("/namespaces/default/policies/p/versions/1").body;
        let written = between(&page, "<dt>Written</dt><dd>", "</dd>");
        assert!(written.starts_with("by &#60;b&#62;ann at 2024-03-01T00:00:00"), "{page}");
        assert!(page.contains("local:admin"), "{page}");
        let other = browser.get("/namespaces/default/policies/p/versions/2").body;
        assert!(!other.contains("<dt>Written</dt>"), "{other}");
    }

    /// Given a version that fails its checks, what was found is at its line.
    async fn findings_are_at_their_lines(hub: Hub) {
        let admin = hub.client().await;
        let settings = pb::PolicySettings {
            json_schema: r#"{"properties":{"tokens":{"type":"integer"}}}"#.to_owned(),
            ..Default::default()
        };
        crate::harness::calls::create(&admin, "shop", pb::PolicyKind::Yaml, settings).await;
        let drafted = draft(&admin, "shop", "a: 1\ntokens: many\n").await;
        let staged = admin.stage(pb::StageRequest { name: drafted.name.clone(), ..Default::default() }).await;
        staged.expect_err("the content has a text where the schema wants a number");
        let page = Browser::signed_in(&hub, &hub.token()).get("/namespaces/default/policies/shop/versions/1").body;
        let line = between(&page, "data-line=\"2\">", "</pre>");
        assert!(line.starts_with("tokens: many</span><span class=\"finding\">error, json-schema: "), "{page}");
    }

    /// Given names that lead nowhere, the answer is the status and the reason of the RPC.
    async fn what_is_not_there_is_a_page_with_its_reason(hub: Hub) {
        let admin = hub.client().await;
        publish(&admin, "shop", "a: 1\n").await;
        let browser = Browser::signed_in(&hub, &hub.token());
        for (path, status, reason, next) in [
            ("/namespaces/nowhere", 404, "NAMESPACE_NOT_FOUND", "/"),
            ("/namespaces/default/policies/nothing", 404, "POLICY_NOT_FOUND", "/namespaces/default"),
            ("/namespaces/default/policies/shop/versions/7", 404, "VERSION_NOT_FOUND", "/namespaces/default/policies/shop"),
            ("/namespaces/default/policies/shop/versions/active", 409, "NO_ACTIVE_VERSION", "/namespaces/default/policies/shop"),
            ("/namespaces/default/policies/shop/versions/x", 400, "INVALID_ARGUMENT", "/namespaces/default/policies/shop"),
            ("/namespaces/default/policies/Shop", 400, "INVALID_ARGUMENT", "/namespaces/default"),
            ("/?page_token=x", 400, "INVALID_PAGE_TOKEN", ""),
        ] {
            let answer = browser.get(path);
            assert_eq!((answer.status, answer.reason()), (status, reason), "{path}: {answer:?}");
            assert_eq!(answer.next().1, next, "{path}: {answer:?}");
            assert!(next.is_empty() || browser.get(next).status == 200, "{path} leads to {next}");
        }
        assert_eq!(browser.get("/nothing").status, 404);
        activate(&admin, "shop", 1).await;
        let active = browser.get("/namespaces/default/policies/shop/versions/active");
        assert_eq!(active.status, 200, "{active:?}");
        assert_eq!(get_version(&admin, "shop", "active").await.version, 1);
    }

    /// Given 60 versions and a search, long lists have a further page and a search finds by name.
    async fn lists_have_pages_and_a_search(hub: Hub) {
        let admin = hub.client().await;
        for number in 0..60 {
            draft(&admin, "shop", &format!("a: {number}\n")).await;
        }
        admin.draft(draft_request("other", "b: 1\n")).await.expect("a draft");
        let browser = Browser::signed_in(&hub, &hub.token());
        let first = browser.get("/namespaces/default/policies/shop").body;
        assert!(first.contains("/versions/60\"") && !first.contains("/versions/1\""), "{first}");
        let older = between(&first, "<p><a href=\"", "\">Older");
        let older = between(&format!("{older}\""), "?", "\"").to_owned();
        let second = browser.get(&format!("/namespaces/default/policies/shop?{older}")).body;
        assert!(second.contains("/versions/1\"") && !second.contains("/versions/60\""), "{older}: {second}");
        let found = browser.get("/namespaces/default?q=sho").body;
        assert!(found.contains("/policies/shop\"") && !found.contains("/policies/other\""), "{found}");
    }
}

/// Given more active policies than a page of ListActive has, the page says what is active of each, and by whom; an event
/// that moved a hundred of them makes no large page of the log.
#[tokio::test]
async fn what_is_active_is_shown_however_many_are() {
    let hub = Hub::start(Database::Sqlite).await;
    let admin = hub.client().await;
    let browser = Browser::signed_in(&hub, &hub.token());
    // From here on the server follows the log, and reads no large set at once.
    assert_eq!(browser.get("/namespaces/default").status, 200);
    let names: Vec<String> = (0..1_010).map(|number| format!("p{number:04}")).collect();
    for names in names.chunks(100) {
        for name in names {
            draft(&admin, name, "a: 1\n").await;
        }
        let versions = names.iter().map(|name| pb::VersionToPublish { name: version(name, 1), ..Default::default() });
        let request = pb::PublishVersionsRequest {
            parent: "namespaces/default".to_owned(),
            versions: versions.collect(),
            ..Default::default()
        };
        admin.publish_versions(request).await.expect("publications");
        let moved: Vec<(&str, i64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
        admin.activate(targets(&moved)).await.expect("an activation");
    }
    let page = browser.get("/namespaces/default?q=p1009").body;
    let row = between(&page, "data-row=\"p1009\"", "</tr>");
    assert!(row.contains("/policies/p1009/versions/1\">1</a>") && row.contains("<td>local:admin</td>"), "{page}");
    let first = browser.get("/namespaces/default").body;
    let shown = first.matches("data-row=").count();
    assert!(shown == 50 && first.matches("/versions/1\">1</a>").count() == shown, "{first}");
    let log = browser.get("/namespaces/default/log").body;
    assert!(log.contains("and 95 more") && log.len() < 100 * 1024, "{} bytes: {log}", log.len());
}
