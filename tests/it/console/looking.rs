//! The pages that show what changed, who runs what, and who may what.

use policyhub::client::pb;

use super::browser::{Browser, between};
use crate::harness::callers::{grant, namespace};
use crate::harness::calls::{draft, head, publish, release, version};
use crate::harness::guardrails::set_guardrails;
use crate::harness::hub::binary;
use crate::harness::on_both_databases;
use crate::harness::subscribing::{applied, eventually, rejected, subscribe};

on_both_databases! {
    /// Given two versions, their fields have both values, and the active one is the base unless another is named.
    async fn a_difference_is_shown_field_by_field(hub: Hub) {
        let admin = hub.client().await;
        release(&admin, "shop", "tokens: 1000\nmodel: small\n").await;
        draft(&admin, "shop", "tokens: 5000\nmodel: small\n").await;
        draft(&admin, "shop", "tokens: 7\nmodel: small\n").await;
        let browser = Browser::signed_in(&hub, &hub.token());
        let page = browser.get("/namespaces/default/policies/shop/diff?other=2");
        assert_eq!(page.status, 200, "{page:?}");
        let row = between(&page.body, "<code>/tokens</code>", "</tr>");
        assert!(row.contains("<code>1000</code>") && row.contains("<code>5000</code>"), "{row}");
        assert!(page.body.contains("policyhub diff shop 1 2 -n default"), "{page:?}");
        let latest = browser.get("/namespaces/default/policies/shop/diff").body;
        assert!(latest.contains("<code>7</code>"), "the latest without a name: {latest}");
        let same = browser.get("/namespaces/default/policies/shop/diff?base=2&other=2").body;
        assert!(same.contains("No field differs") && same.contains("The contents are the same"), "{same}");
        let unknown = browser.get("/namespaces/default/policies/shop/diff?base=9");
        assert_eq!((unknown.status, unknown.reason()), (404, "VERSION_NOT_FOUND"));
    }

    /// Given some events, the log has them newest first with who and why, filtered by the words of the RPC.
    async fn the_log_is_read_and_filtered(hub: Hub) {
        let admin = hub.client().await;
        release(&admin, "shop", "a: 1\n").await;
        let browser = Browser::signed_in(&hub, &hub.token());
        let page = browser.get("/namespaces/default/log").body;
        let [activated, drafted] = ["<td>ACTIVATE</td>", "<td>DRAFT</td>"].map(|kind| page.find(kind));
        assert!(activated.is_some() && activated < drafted, "{page}");
        assert!(page.contains("href=\"/namespaces/default/policies/shop/versions/1\">shop@1"), "{page}");
        assert!(page.contains("a test"), "the reason: {page}");
        let filtered = browser.get("/namespaces/default/log?filter=kind+%3D+ACTIVATE").body;
        assert!(filtered.contains("<td>ACTIVATE</td>") && !filtered.contains("<td>DRAFT</td>"), "{filtered}");
        let by_fields = browser.get("/namespaces/default/log?policy=shop&actor=local%3Aadmin&kind=PUBLISH&filter=revision+%3E+1").body;
        assert!(by_fields.contains("<td>PUBLISH</td>") && !by_fields.contains("<td>ACTIVATE</td>"), "{by_fields}");
        let other = browser.get("/namespaces/default/log?policy=shop&actor=nobody1").body;
        assert!(other.contains("No event matches") && other.contains("value=\"nobody1\""), "{other}");
        let absent = browser.get("/namespaces/default/log?policy=absent-policy");
        assert_eq!((absent.status, absent.reason()), (404, "POLICY_NOT_FOUND"), "{absent:?}");
        let bad = browser.get("/namespaces/default/log?kind=NO_SUCH_KIND");
        assert_eq!((bad.status, bad.reason()), (400, "INVALID_ARGUMENT"), "{bad:?}");
        let bad = browser.get("/namespaces/default/log?filter=%28");
        assert_eq!((bad.status, bad.reason()), (400, "INVALID_ARGUMENT"), "{bad:?}");
        let revision = between(&page, "<a href=\"activations/", "\"");
        let activation = browser.get(&format!("/namespaces/default/activations/{revision}")).body;
        assert!(activation.contains("shop: nothing → version 1") && activation.contains("0 of 0"), "{activation}");
        let none = browser.get("/namespaces/default/activations/1");
        assert_eq!((none.status, none.reason()), (400, "INVALID_ARGUMENT"), "{none:?}");
    }

    /// Given a role and guardrails, the log says which each of their events is about, with a link to where they are listed.
    async fn the_log_says_what_each_event_is_about(hub: Hub) {
        let admin = hub.client().await;
        grant(&admin, "ann", pb::Role::Approver, "namespaces/default").await;
        set_guardrails(&admin, "namespaces/default/guardrails", &[("small", "true")]).await;
        let browser = Browser::signed_in(&hub, &hub.token());
        let page = browser.get("/namespaces/default/log").body;
        let row = |kind: &str| between(&page, &format!("<td>{kind}</td>"), "</tr>").to_owned();
        let role = row("CREATE_ROLE_BINDING");
        assert!(role.contains("href=\"/namespaces/default/roles\">APPROVER for local:ann</a>"), "{page}");
        let guardrails = row("UPDATE_GUARDRAILS");
        assert!(guardrails.contains("href=\"/namespaces/default/guardrails\">guardrails: small set</a>"), "{page}");
    }

    /// Given a page of a namespace, its menu says where it stands and leads to the namespaces, whose rows lead to the same page.
    async fn another_namespace_is_reached_from_each_page(hub: Hub) {
        let admin = hub.client().await;
        namespace(&admin, "second").await;
        publish(&admin, "shop", "a: 1\n").await;
        let browser = Browser::signed_in(&hub, &hub.token());
        for (path, page) in [("", ""), ("/log", "log"), ("/fleet", "fleet"), ("/policies/shop", "")] {
            let shown = browser.get(&format!("/namespaces/default{path}")).body;
            let menu = between(&shown, "<nav class=\"menu\"", "</nav>");
            assert!(menu.contains(&format!("href=\"/?page={page}\"")), "{path}: {menu}");
            let end = if page.is_empty() { String::new() } else { format!("/{page}") };
            assert!(menu.contains(&format!("href=\"/namespaces/default{end}\" aria-current")), "{path}: {menu}");
            let list = browser.get(&format!("/?page={page}")).body;
            assert!(list.contains(&format!("<a href=\"/namespaces/second{end}\">second</a>")), "{path}: {list}");
        }
        let hostile = browser.get("/?page=..%2F..%2Fkeys").body;
        assert!(hostile.contains("<a href=\"/namespaces/second\">second</a>"), "{hostile}");
    }

    /// Given a time, the page has what was active then.
    async fn what_was_active_is_looked_up(hub: Hub) {
        let admin = hub.client().await;
        release(&admin, "shop", "a: 1\n").await;
        let browser = Browser::signed_in(&hub, &hub.token());
        let now = browser.get("/namespaces/default/active").body;
        assert!(now.contains("This is active now") && now.contains("/policies/shop/versions/1\""), "{now}");
        let long_ago = browser.get("/namespaces/default/active?at=2020-01-01T00%3A00").body;
        assert!(long_ago.contains("Nothing was active") && !long_ago.contains("/policies/shop/"), "{long_ago}");
        for bad in ["yesterday", "2999-01-01T00%3A00"] {
            let answer = browser.get(&format!("/namespaces/default/active?at={bad}"));
            assert_eq!((answer.status, answer.reason()), (400, "INVALID_ARGUMENT"), "{bad}: {answer:?}");
        }
    }

    /// Given a version that is staged under a rule of two approvals, it waits with one of two, and its difference to what is active.
    async fn what_is_staged_waits_for_approvals(hub: Hub) {
        let admin = hub.client().await;
        let settings = pb::PolicySettings { required_approvals: 2, ..Default::default() };
        crate::harness::calls::create(&admin, "shop", pb::PolicyKind::Yaml, settings).await;
        let drafted = draft(&admin, "shop", "a: 1\n").await;
        let staged = admin.stage(pb::StageRequest { name: drafted.name.clone(), ..Default::default() }).await;
        let staged = staged.expect("staged").version.expect("a version");
        let browser = Browser::signed_in(&hub, &hub.token());
        let waiting = browser.get("/namespaces/default/approvals").body;
        assert!(waiting.contains("shop 1</a>") && waiting.contains("0 of 2"), "{waiting}");
        assert!(waiting.contains(">you</span>"), "who drafted it may not approve it: {waiting}");
        grant(&admin, "ann", pb::Role::Approver, "namespaces/default").await;
        let ann = crate::harness::callers::caller(&hub, "ann").await;
        let request = pb::ApproveVersionRequest {
            name: version("shop", 1),
            digest: staged.digest,
            reason: "<b>good</b>".to_owned(),
            ..Default::default()
        };
        ann.approve_version(request).await.expect("an approval");
        assert!(browser.get("/namespaces/default/approvals").body.contains("1 of 2"));
        let version = browser.get("/namespaces/default/policies/shop/versions/1").body;
        assert!(version.contains("local:ann") && version.contains("&#60;b&#62;good&#60;/b&#62;"), "{version}");
    }

    /// Given two runtimes of which one rejects what is active, its reason is on the page of the activation and of the fleet, and the
    /// namespace says it first.
    async fn a_rejected_activation_is_seen_everywhere(hub: Hub) {
        let admin = hub.client().await;
        release(&admin, "shop", "a: 1\n").await;
        let revision = head(&admin).await;
        let _streams = [subscribe(&admin, "good").await, subscribe(&admin, "bad").await];
        admin.report_status(applied(&admin, "good", revision).await).await.expect("a report");
        let reason = "no <i>model</i>\u{202e}";
        admin.report_status(rejected(&admin, "bad", revision, reason).await).await.expect("a report");
        let browser = Browser::signed_in(&hub, &hub.token());
        eventually("both count", async || {
            browser.get("/namespaces/default").body.contains("shop: 1 of 2 runtimes reject what is active.")
        })
        .await;
        let namespace = browser.get("/namespaces/default").body;
        assert!(namespace.find("role=\"alert\"") < namespace.find("<table>"), "alarms come first: {namespace}");
        let alarm = between(&namespace, "role=\"alert\"", "</p>");
        assert!(alarm.contains(&format!("href=\"/namespaces/default/activations/{revision}\"")), "{alarm}");
        assert!(namespace.contains("1 of 2</td>") && namespace.contains("2 runtimes live"), "{namespace}");
        let activation = browser.get(&format!("/namespaces/default/activations/{revision}")).body;
        let fleet = browser.get("/namespaces/default/fleet").body;
        for page in [&activation, &fleet] {
            let row = between(page, "<td>bad</td>", "</tr>");
            assert!(row.contains("no &#60;i&#62;model&#60;/i&#62;⟨U+202E⟩"), "{page}");
        }
        assert!(activation.contains("1 reject it."), "{activation}");
        let found = browser.get("/namespaces/default/fleet?filter=rejected.revision+%3E+0").body;
        assert!(found.contains("<td>bad</td>") && !found.contains("<td>good</td>"), "{found}");
    }

    /// Given roles and keys, they are listed with who gave them and where they stand.
    async fn roles_and_keys_are_listed(hub: Hub) {
        let admin = hub.client().await;
        grant(&admin, "ann", pb::Role::Approver, "namespaces/default").await;
        let browser = Browser::signed_in(&hub, &hub.token());
        let roles = browser.get("/namespaces/default/roles").body;
        let row = between(&roles, "<td>local:ann</td>", "</tr>");
        assert!(row.contains("APPROVER") && row.contains("local:admin"), "{roles}");
        let keys = browser.get("/keys").body;
        assert!(keys.contains("<td>active</td>") && keys.contains("<td>events</td>"), "{keys}");
    }

    /// Given every page, each command on it is one of the binary.
    async fn every_command_on_a_page_is_a_command(hub: Hub) {
        let admin = hub.client().await;
        release(&admin, "shop", "a: 1\n").await;
        let browser = Browser::signed_in(&hub, &hub.token());
        let mut seen = 0;
        for route in policyhub::http::console::ROUTES {
            let path = route.path.replace("{namespace}", "default").replace("{policy}", "shop");
            let page = browser.get(&path.replace("{version}", "1").replace("{revision}", "4")).body;
            for part in page.split("data-copy>").skip(1) {
                let command = part.split('<').next().unwrap_or_default();
                let words = command.strip_prefix("policyhub ").unwrap_or_else(|| panic!("{command} on {path}"));
                let known = binary().args(words.split(' ')).arg("--help").output().expect("the binary runs");
                assert!(known.status.success(), "{command} on {path}: {}", String::from_utf8_lossy(&known.stderr));
                seen += 1;
            }
        }
        assert!(seen >= 10, "{seen} commands");
    }
}

on_both_databases! {
    with &["--audit-interval-ms", "100"];

    /// Given checks of logs in the background, the page says up to where this server verified the log, and what it found.
    async fn the_log_says_what_checks_of_it_found(hub: Hub) {
        let admin = hub.client().await;
        release(&admin, "shop", "a: 1\n").await;
        let browser = Browser::signed_in(&hub, &hub.token());
        let page = || browser.get("/namespaces/default/log").body;
        let revision = head(&admin).await;
        let verified = format!("up to revision {revision}: they hold");
        eventually("it is verified", async || page().contains(&verified)).await;
        hub.tamper("UPDATE policies SET description = 'x' WHERE namespace = 'default'");
        eventually("it is found", async || page().contains("1 finding")).await;
        assert!(page().contains("policies shop") || page().contains("shop"), "{}", page());
    }
}
