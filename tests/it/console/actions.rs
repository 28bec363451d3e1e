//! The life of a version by forms alone, without a script.

use policyhub::client::pb;

use super::browser::{Answer, Browser, between};
use crate::harness::callers::{grant, issue};
use crate::harness::calls::{
    activate, active, draft, draft_of_its_kind, events, get_version, head, publish, release, set,
};
use crate::harness::on_both_databases;

const POLICY: &str = "/namespaces/default/policies/shop";

/// Returns a form of a page by its action, with the values of its fields.
fn form<'a>(page: &'a Answer, action: &str) -> Vec<(&'a str, &'a str)> {
    let text = between(&page.body, &format!("action=\"{action}\""), "</form>");
    assert!(!text.is_empty(), "no form {action}: {}", page.body);
    let inputs = text.split("<input ").skip(1);
    inputs.map(|input| (between(input, "name=\"", "\""), between(input, "value=\"", "\""))).collect()
}

/// Sends a form of a page as it was shown, with the reason filled in.
fn send(browser: &mut Browser, page: &str, action: &str) -> Answer {
    let shown = browser.get(page);
    let mut fields = form(&shown, action);
    fields.iter_mut().filter(|(name, _)| *name == "reason").for_each(|field| field.1 = "because");
    browser.post(action, &fields)
}

on_both_databases! {
    /// Given a draft, its forms take it from stage to activation, another person approves it, and its older version comes back.
    async fn a_version_lives_by_forms(hub: Hub) {
        let admin = hub.client().await;
        release(&admin, "shop", "a: 1\n").await;
        set(&admin, "shop", pb::PolicySettings { required_approvals: 1, ..Default::default() }).await;
        admin.draft(draft_of_its_kind("shop", "a: 2\n")).await.expect("a draft");
        grant(&admin, "boss", pb::Role::Approver, "namespaces/default").await;
        let mut author = Browser::signed_in(&hub, &hub.token());
        let mut boss = Browser::signed_in(&hub, &issue(&hub, &["--subject", "boss", "--ttl", "1h"]));
        let page = format!("{POLICY}/versions/2");
        let done = |browser: &mut Browser, page: &str, action: &str, said: &str| {
            let answer = send(browser, page, action);
            assert_eq!((answer.status, answer.next_page()), (303, page), "{action}: {answer:?}");
            assert_eq!(browser.get(answer.header("location")).done(), said, "{action}");
        };
        done(&mut author, &page, &format!("{page}/stage"), "shop@2 was staged: its checks passed, and it is locked.");
        let refused = send(&mut author, &page, &format!("{page}/publish"));
        assert_eq!((refused.status, refused.reason()), (409, "APPROVALS_MISSING"), "{refused:?}");
        assert!(refused.body.contains(&format!("href=\"{page}\"")), "the way back: {refused:?}");
        assert_eq!(refused.next(), ("Ask an approver to read it. It waits among the approvals.", "/namespaces/default/approvals"));
        let own = send(&mut author, &page, &format!("{page}/approve"));
        assert_eq!((own.status, own.reason()), (409, "SELF_APPROVAL"), "{own:?}");
        let seen = boss.get(&page).body;
        assert!(seen.contains("0 of 1 required approvals") && !seen.contains("/publish\""), "only what they may: {seen}");
        done(&mut boss, &page, &format!("{page}/approve"), "You approved shop@2.");
        done(&mut author, &page, &format!("{page}/publish"), "shop@2 was published. Nothing runs it until it is activated.");
        let published = author.get(&page).body;
        assert!(published.contains("shop: 1 → 2, for 0 live runtimes"), "{published}");
        assert!(published.contains("policyhub activate shop@2 --expected shop=1 --reason … -n default"), "{published}");
        let moved = async |browser: &mut Browser, page: &str, action: &str, to: i64| {
            let answer = send(browser, page, action);
            let next = format!("/namespaces/default/activations/{}", head(&admin).await);
            assert_eq!((answer.status, answer.header("location")), (303, next.as_str()), "{action}: {answer:?}");
            assert_eq!((browser.get(&next).status, active(&admin, "shop").await), (200, to), "{action}");
        };
        moved(&mut author, &page, &format!("{POLICY}/activate"), 2).await;
        moved(&mut author, &format!("{POLICY}/versions/1"), &format!("{POLICY}/roll-back"), 1).await;
        moved(&mut author, &format!("{POLICY}/versions/1"), &format!("{POLICY}/deactivate"), 0).await;
        let reasons: Vec<serde_json::Value> = events(&admin, "namespaces/default", 0).await.iter()
            .map(|event| serde_json::from_slice::<serde_json::Value>(&event.payload).expect("JSON")["reason"].clone())
            .collect();
        assert_eq!(reasons.iter().filter(|reason| *reason == "because").count(), 4, "{reasons:?}");
    }

    /// Given a form that is sent twice, it has one effect; sent after the pointer moved, none.
    async fn a_form_has_one_effect_on_what_it_showed(hub: Hub) {
        let admin = hub.client().await;
        for content in ["a: 1\n", "a: 2\n", "a: 3\n"] {
            publish(&admin, "shop", content).await;
        }
        let mut browser = Browser::signed_in(&hub, &hub.token());
        let action = format!("{POLICY}/activate");
        let [second, third] = [2, 3].map(|number| browser.get(&format!("{POLICY}/versions/{number}")));
        let filled = |page| -> Vec<(&str, &str)> {
            let fields = form(page, &action).into_iter();
            fields.map(|(name, value)| (name, if name == "reason" { "x" } else { value })).collect()
        };
        let before = head(&admin).await;
        for _ in 0..2 {
            assert_eq!(browser.post(&action, &filled(&second)).status, 303);
        }
        assert_eq!((head(&admin).await, active(&admin, "shop").await), (before + 1, 2));
        let late = browser.post(&action, &filled(&third));
        assert_eq!((late.status, late.reason()), (409, "EXPECTED_ACTIVE_MISMATCH"), "{late:?}");
        assert!(late.body.contains("local:admin"), "who moved it: {late:?}");
        let next = ("Somebody was faster. Look at what they changed, then decide again.", POLICY);
        assert_eq!((late.next(), browser.get(next.1).status), (next, 200), "{late:?}");
        activate(&admin, "shop", 3).await;
        assert_eq!(head(&admin).await, before + 2);
    }

    /// Given a code in an address that is not one of its page, or that a link of another site brings, the page says nothing of it.
    async fn what_was_done_is_said_after_a_form_alone(hub: Hub) {
        let admin = hub.client().await;
        release(&admin, "shop", "a: 1\n").await;
        let browser = Browser::signed_in(&hub, &hub.token());
        let page = format!("{POLICY}/versions/1");
        let said = |path: &str, site: &[(&str, &str)]| {
            let answer = browser.send("GET", path, site, "");
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            answer.done().to_owned()
        };
        let published = format!("{page}?done=published");
        for site in [&[][..], &[("sec-fetch-site", "same-origin")]] {
            assert!(said(&published, site).starts_with("shop@1 was published."), "{site:?}");
        }
        for site in ["cross-site", "same-site", "none"] {
            assert_eq!(said(&published, &[("sec-fetch-site", site)]), "", "{site}");
        }
        for path in [&page, &format!("{page}?done=granted"), &format!("{page}?done=%3Cb%3Ex"), &format!("{POLICY}?done=published"), "/?done=revoked"] {
            assert_eq!(said(path, &[]), "", "{path}");
        }
        let refused = browser.get(&format!("{POLICY}/versions/9?done=published"));
        assert_eq!((refused.status, refused.done()), (404, ""), "{refused:?}");
    }

    /// Given the forms of a version, each sent twice, as by a double click, has one effect and goes on to the same page.
    async fn a_double_click_on_a_version_is_one_step(hub: Hub) {
        let admin = hub.client().await;
        release(&admin, "shop", "a: 1\n").await;
        let mut browser = Browser::signed_in(&hub, &hub.token());
        for (number, steps) in [(2, &["stage", "publish"][..]), (3, &["stage", "abandon"]), (4, &["abandon"])] {
            draft(&admin, "shop", &format!("a: {number}\n")).await;
            let page = format!("{POLICY}/versions/{number}");
            for step in steps {
                let (before, shown, action) = (head(&admin).await, browser.get(&page), format!("{page}/{step}"));
                let sent = form(&shown, &action);
                let next = browser.post(&action, &sent).header("location").to_owned();
                assert!(next.starts_with(&page), "{step}: {next}");
                let again = browser.post(&action, &sent);
                assert_eq!((again.status, again.header("location")), (303, next.as_str()), "{step}: {again:?}");
                assert_eq!(head(&admin).await, before + 1, "{step}");
            }
        }
    }

    /// Given a version that goes on meanwhile, a form of its older page is refused, says where to look, and changes nothing.
    async fn a_form_of_an_older_page_changes_nothing(hub: Hub) {
        let admin = hub.client().await;
        release(&admin, "shop", "a: 1\n").await;
        let drafted = draft(&admin, "shop", "a: 2\n").await;
        let mut browser = Browser::signed_in(&hub, &hub.token());
        let page = format!("{POLICY}/versions/2");
        let drafted_page = browser.get(&page);
        admin.stage(pb::StageRequest { name: drafted.name.clone(), ..Default::default() }).await.expect("staged");
        let before = head(&admin).await;
        let late = |browser: &mut Browser, shown: &Answer, action: &str| {
            let action = format!("{page}/{action}");
            let refused = browser.post(&action, &form(shown, &action));
            assert_eq!((refused.status, refused.reason(), refused.next().1), (409, "ETAG_MISMATCH", page.as_str()), "{refused:?}");
        };
        late(&mut browser, &drafted_page, "abandon");
        let staged_page = browser.get(&page);
        assert_eq!(head(&admin).await, before);
        admin.abandon_draft(pb::AbandonDraftRequest { name: drafted.name, ..Default::default() }).await.expect("abandoned");
        for (shown, action) in [(&drafted_page, "stage"), (&staged_page, "publish"), (&staged_page, "abandon")] {
            let action = format!("{page}/{action}");
            let refused = browser.post(&action, &form(shown, &action));
            assert_eq!((refused.status, refused.next().1), (409, page.as_str()), "{refused:?}");
        }
        assert_eq!((head(&admin).await, get_version(&admin, "shop", 2).await.state()), (before + 1, pb::VersionState::Abandoned));
    }

    /// Given a version that fails its checks, the form that stages it says why, and its page has the finding.
    async fn a_stage_that_fails_says_why(hub: Hub) {
        let admin = hub.client().await;
        release(&admin, "shop", "a: 1\n").await;
        set(&admin, "shop", pb::PolicySettings { json_schema: r#"{"required":["owner"]}"#.to_owned(), ..Default::default() }).await;
        admin.draft(draft_of_its_kind("shop", "a: 2\n")).await.expect("a draft");
        let mut browser = Browser::signed_in(&hub, &hub.token());
        let page = format!("{POLICY}/versions/2");
        let refused = send(&mut browser, &page, &format!("{page}/stage"));
        assert_eq!((refused.status, refused.reason()), (409, "VALIDATION_FAILED"), "{refused:?}");
        let next = ("Correct it in a new draft. The report of the version has every finding.", page.as_str());
        assert_eq!(refused.next(), next, "{refused:?}");
        assert!(browser.get(&page).body.contains("owner"), "the report is on the page");
        assert_eq!(send(&mut browser, &page, &format!("{page}/abandon")).status, 303);
        assert_eq!(get_version(&admin, "shop", 2).await.state(), pb::VersionState::Abandoned);
        assert!(!browser.get(&page).body.contains("What you can do"), "nothing is left to do");
    }
}
