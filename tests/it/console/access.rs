//! Who may see which page: every page with every role, without a session, and by a caller of another namespace.
//!
//! It walks the table of routes: a route that is missing here fails the test.

use policyhub::client::pb;
use policyhub::http::console::{Handler, ROUTES};

use super::browser::{Answer, Browser};
use crate::access::ROLES;
use crate::harness::callers::{grant, issue, namespace};
use crate::harness::calls::{head, release};
use crate::harness::{Hub, on_both_databases};

const READERS: &str = "viewer author approver publisher activator guardrail-admin admin";

/// Which roles see or do what; "*" means any caller.
const TABLE: &[(&str, &str)] = &[
    ("namespaces", "*"),
    ("namespace", READERS),
    ("policy", READERS),
    ("version", READERS),
    ("content", READERS),
    ("diff", READERS),
    ("log", READERS),
    ("archive", READERS),
    ("active", READERS),
    ("fleet", READERS),
    ("activation", READERS),
    ("approvals", READERS),
    ("runs", READERS),
    ("roles", READERS),
    ("keys", "*"),
    ("guardrails", READERS),
    ("schedules", READERS),
    ("draft", READERS),
    ("write-draft", "author admin"),
    ("stage", "author admin"),
    ("abandon", "author admin"),
    ("approve", "approver admin"),
    ("reject", "approver admin"),
    ("publish", "publisher admin"),
    ("activate", "activator admin"),
    ("roll-back", "activator admin"),
    ("deactivate", "activator admin"),
    ("set-guardrail", "guardrail-admin admin"),
    ("delete-guardrail", "guardrail-admin admin"),
    ("create-schedule", "activator admin"),
    ("cancel-schedule", "activator admin"),
    ("resume-schedule", "activator admin"),
    ("grant", "admin"),
    ("revoke", "admin"),
    // These need a role in all namespaces, which the first admin has.
    ("prepare-key", "admin"),
    ("activate-key", "admin"),
    ("revoke-key", "admin"),
];

/// Fields that are well-formed, so that an action is refused for its state at most.
pub const FIELDS: [(&str, &str); 18] = [
    ("version", "1"),
    ("expected_active", "7"),
    ("reason", "x"),
    ("base_version", "1"),
    ("text", "a: 2"),
    ("do", "check"),
    ("request_id", "x"),
    ("etag", "x"),
    ("id", "x"),
    ("expression", "true"),
    ("severity", "warn"),
    ("target", "shop@1"),
    ("time", "2031-01-01T00:00"),
    ("time_zone", "UTC"),
    ("role", "viewer"),
    ("member", "local:x"),
    ("algorithm", "EdDSA"),
    ("digest", "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
];

/// A key that is not there.
const KEY: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// Returns a path of a route, in a namespace with an activation at a revision.
pub fn path_of(pattern: &str, namespace: &str, revision: i64) -> String {
    let revision = revision.to_string();
    let parts = [
        ("{namespace}", namespace),
        ("{policy}", "shop"),
        ("{version}", "1"),
        ("{revision}", &revision),
        ("{schedule}", "launch"),
        ("{binding}", "0"),
        ("{key}", KEY),
    ];
    parts.iter().fold(pattern.to_owned(), |path, (part, value)| path.replace(part, value))
}

fn token(hub: &Hub, subject: &str) -> String {
    issue(hub, &["--subject", subject, "--ttl", "1h"])
}

on_both_databases! {
    /// Given every role, each does the actions of the table, as far as their state allows, and no other.
    async fn every_action_is_for_its_roles(hub: Hub) {
        let admin = hub.client().await;
        release(&admin, "shop", "a: 1\n").await;
        for (name, role) in ROLES {
            grant(&admin, name, role, "namespaces/default").await;
            let mut browser = Browser::signed_in(&hub, &token(&hub, name));
            let form_token = browser.get("/").form_token();
            for route in ROUTES.iter().filter(|route| matches!(route.handler, Handler::Action(_))) {
                let row = TABLE.iter().find(|(named, _)| *named == route.name);
                let (_, roles) = row.unwrap_or_else(|| panic!("{} is not in TABLE", route.name));
                let fields = [&[("form_token", form_token.as_str())], &FIELDS[..]].concat();
                let answer = browser.post(&path_of(route.path, "default", 1), &fields);
                let is_refused = (answer.status, answer.reason()) == (403, "PERMISSION_DENIED");
                assert_eq!(is_refused, !roles.split(' ').any(|each| each == name), "{name} {}: {answer:?}", route.name);
                assert!(!is_refused || answer.next().0.starts_with("Ask an admin"), "{name} {}: {answer:?}", route.name);
                assert!([200, 303, 403, 404, 409].contains(&answer.status), "{name} {}: {answer:?}", route.name);
            }
        }
    }

    /// Given every role, each sees the pages of the table and no other.
    async fn every_page_is_for_its_roles(hub: Hub) {
        let admin = hub.client().await;
        release(&admin, "shop", "a: 1\n").await;
        let revision = head(&admin).await;
        for (name, role) in ROLES {
            grant(&admin, name, role, "namespaces/default").await;
            let browser = Browser::signed_in(&hub, &token(&hub, name));
            for route in ROUTES.iter().filter(|route| matches!(route.handler, Handler::Page(_))) {
                let row = TABLE.iter().find(|(named, _)| *named == route.name);
                let (_, roles) = row.unwrap_or_else(|| panic!("{} is not in TABLE", route.name));
                let may = *roles == "*" || roles.split(' ').any(|each| each == name);
                let answer = browser.get(&path_of(route.path, "default", revision));
                let expected = if may { 200 } else { 403 };
                assert_eq!(answer.status, expected, "{name} {}: {answer:?}", route.name);
                assert!(may || answer.reason() == "PERMISSION_DENIED", "{name} {}: {answer:?}", route.name);
            }
        }
        assert_eq!(TABLE.len(), ROUTES.len(), "a row without a route");
    }

    /// Given nobody, or somebody without a role here, a namespace that is there looks like one that is not.
    async fn what_is_hidden_is_absent(hub: Hub) {
        let admin = hub.client().await;
        release(&admin, "shop", "a: 1\n").await;
        namespace(&admin, "theirs").await;
        grant(&admin, "stranger", pb::Role::Admin, "namespaces/theirs").await;
        let stranger = Browser::signed_in(&hub, &token(&hub, "stranger"));
        let nobody = Browser::new(&hub);
        let form_token = stranger.get("/").form_token();
        for route in ROUTES.iter().filter(|route| route.path.contains("{namespace}")) {
            let fields = [&[("form_token", form_token.as_str())], &FIELDS[..]].concat();
            let ask = |browser: &Browser, namespace: &str| match route.handler {
                Handler::Page(_) => browser.get(&path_of(route.path, namespace, 1)),
                Handler::Action(_) => browser.clone().post(&path_of(route.path, namespace, 1), &fields),
            };
            let [hidden, absent] = ["default", "absent1"].map(|namespace| ask(&stranger, namespace));
            assert_eq!((hidden.status, hidden.reason()), (404, "NAMESPACE_NOT_FOUND"), "{}: {hidden:?}", route.name);
            let without = |answer: &Answer, namespace: &str| {
                answer.body.replace(namespace, "NAMESPACE").replace(&form_token, "TOKEN")
            };
            assert_eq!(without(&hidden, "default"), without(&absent, "absent1"), "{}", route.name);
            let [hidden, absent] = ["default", "absent1"].map(|namespace| ask(&nobody, namespace));
            assert_eq!((hidden.status, absent.status), (401, 401), "{}", route.name);
            assert_eq!(hidden.body.replace("default", "X"), absent.body.replace("absent1", "X"), "{}", route.name);
        }
        let listed = stranger.get("/").body;
        assert!(listed.contains("/namespaces/theirs") && !listed.contains("default"), "{listed}");
    }

    /// Given somebody who was refused a page, the denial is kept as that of a call is.
    async fn a_refused_page_is_among_the_denials(hub: Hub) {
        let admin = hub.client().await;
        grant(&admin, "runtime", pb::Role::Subscriber, "namespaces/default").await;
        let browser = Browser::signed_in(&hub, &token(&hub, "runtime"));
        assert_eq!(browser.get("/namespaces/default").status, 403);
        let log = hub.log.clone();
        let is_logged = || {
            let log = log.lock().expect("the log");
            log.lines().any(|line| line.contains("policyhub::denied") && line.contains("local:runtime"))
        };
        let mut waited = 0;
        while !is_logged() {
            waited += 1;
            assert!(waited < 10_000, "no line says who was refused");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let request = pb::ListDenialsRequest { parent: "namespaces/default".to_owned(), ..Default::default() };
        loop {
            let denials = admin.list_denials(request.clone()).await.expect("denials").denials;
            if let Some(denial) = denials.first() {
                assert_eq!(denial.principal, "local:runtime");
                break;
            }
            waited += 1;
            assert!(waited < 10_000, "the denial was not written");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let requests = crate::harness::http::metric(&hub.http, "policyhub_console_requests_total{route=\"namespace\",status=\"403\"}");
        assert_eq!(requests, Some(1.0));
    }
}

on_both_databases! {
    with &["--principal-reads-per-second", "1"];

    /// Given a rate for each principal, pages count as the calls that they make.
    async fn pages_count_against_the_rate_of_their_caller(hub: Hub) {
        let browser = Browser::signed_in(&hub, &hub.token());
        let refused = (0..100).map(|_| browser.get("/namespaces/default")).find(|answer| answer.status != 200);
        let refused = refused.expect("a rate");
        assert_eq!((refused.status, refused.reason()), (429, "RATE_LIMITED"), "{refused:?}");
        assert!(!refused.header("retry-after").is_empty(), "{refused:?}");
    }
}
