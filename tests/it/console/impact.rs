//! What the forms say that they change: from which version to which, and for which runtimes; and the forms of a policy's page.

use policyhub::client::pb;

use super::browser::{Browser, between};
use super::shown_form::fill_and_send;
use crate::harness::calls::{active, draft, head, publish, release};
use crate::harness::on_both_databases;
use crate::harness::subscribing::{applied, eventually, rejected, subscribe, watch_request};

const POLICY: &str = "/namespaces/default/policies/shop";

on_both_databases! {
    /// Given runtimes with attributes, a form says how many watch the policy and what most of them are; host names are not listed.
    async fn a_form_names_the_runtimes_that_it_concerns(hub: Hub) {
        let admin = hub.client().await;
        release(&admin, "shop", "a: 1\n").await;
        release(&admin, "other", "a: 1\n").await;
        publish(&admin, "shop", "a: 2\n").await;
        let mut streams = Vec::new();
        for (id, env, policies) in
            [("r1", "prod", &[][..]), ("r2", "prod", &["shop"]), ("r3", "te<b>\u{202e}st", &[]), ("r4", "prod", &["other"])]
        {
            let attributes = [("env", env), ("host", id)].map(|(name, value)| (name.to_owned(), value.to_owned()));
            let request = pb::WatchActiveRequest { attributes: attributes.into(), ..watch_request(id, policies) };
            streams.push(admin.watch_active(request).await.expect("a watch"));
        }
        let browser = Browser::signed_in(&hub, &hub.token());
        let said = "shop: 1 → 2, for 3 live runtimes that watch it (env=prod: 2, env=te&#60;b&#62;⟨U+202E⟩st: 1). None of them runs it yet.";
        for page in [format!("{POLICY}/versions/2"), POLICY.to_owned()] {
            eventually("three are counted", async || browser.get(&page).body.contains("for 3 live runtimes")).await;
            let page = browser.get(&page).body;
            assert!(page.contains(said), "{page}");
        }
        drop(streams);
    }

    /// Given runtimes of which one rejected the second version, the form that rolls back says that this one runs the first already.
    async fn a_form_says_how_many_run_the_version_already(hub: Hub) {
        let admin = hub.client().await;
        let mut streams = Vec::new();
        release(&admin, "shop", "a: 1\n").await;
        let first = head(&admin).await;
        release(&admin, "shop", "a: 2\n").await;
        let second = head(&admin).await;
        for id in ["r1", "r2", "r3"] {
            streams.push(subscribe(&admin, id).await);
            admin.report_status(applied(&admin, id, first).await).await.expect("a report");
        }
        admin.report_status(applied(&admin, "r1", second).await).await.expect("a report");
        admin.report_status(rejected(&admin, "r2", second, "no").await).await.expect("a report");
        let browser = Browser::signed_in(&hub, &hub.token());
        let page = format!("{POLICY}/versions/1");
        let said = "shop: 2 → 1, for 3 live runtimes that watch it. 2 of them run it already.";
        eventually("two run the first", async || browser.get(&page).body.contains(said)).await;
        admin.report_status(applied(&admin, "r3", second).await).await.expect("a report");
        eventually("one does", async || browser.get(&page).body.contains("1 of them runs it already.")).await;
        let nothing = between(&browser.get(&format!("{POLICY}/versions/2")).body, "shop: 2 → nothing", "</p>").to_owned();
        assert_eq!(nothing, ", for 3 live runtimes that watch it.", "nobody runs nothing");
        drop(streams);
    }

    /// Given a policy, its page has the forms of the newest version, of the one before, and of the active one; each does what it says.
    async fn the_page_of_a_policy_has_its_forms(hub: Hub) {
        let admin = hub.client().await;
        release(&admin, "shop", "a: 1\n").await;
        release(&admin, "shop", "a: 2\n").await;
        draft(&admin, "shop", "a: 3\n").await;
        let mut browser = Browser::signed_in(&hub, &hub.token());
        let page = browser.get(POLICY).body;
        let groups: Vec<&str> = page.split("<h3>").skip(1).map(|part| between(part, "Version ", "</h3>")).collect();
        assert_eq!(groups, ["3", "1", "2"], "the newest, the one before, the active one: {page}");
        assert!(page.contains("shop: 2 → 1, for 0 live runtimes") && page.contains("shop: 2 → nothing"), "{page}");
        let answer = fill_and_send(&mut browser, POLICY, &format!("{POLICY}/versions/3/stage"), &[]);
        assert_eq!(answer.status, 303, "{answer:?}");
        let answer = fill_and_send(&mut browser, POLICY, &format!("{POLICY}/roll-back"), &[("reason", "x")]);
        assert_eq!((answer.status, active(&admin, "shop").await), (303, 1), "{answer:?}");
        let page = browser.get(POLICY).body;
        assert!(!page.contains("/roll-back\""), "what was rolled back from is no version to return to: {page}");
        let answer = fill_and_send(&mut browser, POLICY, &format!("{POLICY}/deactivate"), &[("reason", "x")]);
        assert_eq!((answer.status, active(&admin, "shop").await), (303, 0), "{answer:?}");
    }
}
