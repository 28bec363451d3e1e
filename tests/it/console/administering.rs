//! Guardrails, schedules, roles and keys by forms alone, without a script.

use policyhub::client::pb;

use super::browser::{Answer, Browser, between};
use super::hostile::HOSTILE;
use super::shown_form::{fill, fill_and_send, send};
use crate::harness::callers::{grant, issue};
use crate::harness::calls::{activate, active, head, publish, release};
use crate::harness::keys::{AT_ONCE, signing, states};
use crate::harness::on_both_databases;
use crate::harness::schedules::{create_schedule, get_schedule, once, until_state};

const GUARDRAILS: &str = "/namespaces/default/guardrails";
const SCHEDULES: &str = "/namespaces/default/schedules";
const ROLES: &str = "/namespaces/default/roles";

/// Checks that an action was done and led to a page that is there.
#[track_caller]
fn done(browser: &Browser, answer: &Answer, next: &str) -> String {
    assert_eq!((answer.status, answer.next_page()), (303, next), "{answer:?}");
    let page = browser.get(answer.header("location"));
    assert!(page.status == 200 && page.done().ends_with('.'), "it says what was done: {page:?}");
    page.body
}

#[track_caller]
fn refused(answer: &Answer, status: u16, reason: &str) {
    assert_eq!((answer.status, answer.reason()), (status, reason), "{answer:?}");
}

async fn guardrails(client: &policyhub::client::Client) -> Vec<pb::Guardrail> {
    let request = pb::GetGuardrailsRequest { name: "namespaces/default/guardrails".to_owned() };
    client.get_guardrails(request).await.expect("guardrails").guardrails.expect("a set").guardrails
}

on_both_databases! {
    /// Given the forms of the guardrails, one is added, changed and deleted; each form is good for the set that it was shown with.
    async fn guardrails_by_forms(hub: Hub) {
        let admin = hub.client().await;
        let mut browser = Browser::signed_in(&hub, &hub.token());
        let (set, delete) = (format!("{GUARDRAILS}/set"), format!("{GUARDRAILS}/delete"));
        assert!(browser.get(GUARDRAILS).body.contains("policyhub guardrail set ID --expression CEL -n default"));
        let rule = [
            ("id", "cap"),
            ("expression", "content.tokens\r\n  <= 5000"),
            ("severity", "deny"),
            ("message", "too many: {content.tokens}"),
            ("reason", "the budget"),
        ];
        let stale = fill(&browser.get(GUARDRAILS), &set, &rule);
        let before = head(&admin).await;
        for _ in 0..2 {
            let answer = send(&mut browser, &set, &stale);
            let page = done(&browser, &answer, GUARDRAILS);
            assert!(page.contains("too many: {content.tokens}") && page.contains("Delete cap"), "{page}");
        }
        assert_eq!(head(&admin).await, before + 1, "a double click is one change");
        let kept = guardrails(&admin).await;
        assert_eq!((kept[0].id.as_str(), kept[0].expression.as_str()), ("cap", "content.tokens\n  <= 5000"), "{kept:?}");

        let mut late = stale.clone();
        late.iter_mut().filter(|(name, _)| name == "request_id").for_each(|each| each.1 = "late".to_owned());
        let answer = send(&mut browser, &set, &late);
        refused(&answer, 409, "ETAG_MISMATCH");
        assert!(answer.body.contains(&format!("href=\"{GUARDRAILS}\"")), "the way back: {answer:?}");
        for (field, value) in [("expression", "content.tokens <="), ("id", "1 2"), ("severity", "shout")] {
            let mut wrong = fill(&browser.get(GUARDRAILS), &set, &[]);
            wrong.extend([("id", "b"), ("expression", "true"), ("severity", "warn")].map(|(n, v)| (n.to_owned(), v.to_owned())));
            wrong.iter_mut().filter(|(name, _)| name == field).for_each(|each| each.1 = value.to_owned());
            // Two forms of the page send to this path: the first one names what it changes.
            let mut seen = std::collections::BTreeSet::new();
            wrong.reverse();
            wrong.retain(|(name, _)| seen.insert(name.clone()));
            refused(&send(&mut browser, &set, &wrong), 400, "INVALID_ARGUMENT");
        }
        assert_eq!(head(&admin).await, before + 1, "a refusal changes nothing");

        let changed = [("expression", "content.tokens <= 9"), ("severity", "warn"), ("reason", "softer")];
        let answer = fill_and_send(&mut browser, GUARDRAILS, &set, &changed);
        done(&browser, &answer, GUARDRAILS);
        let kept = guardrails(&admin).await;
        assert_eq!((kept.len(), kept[0].severity()), (1, pb::GuardrailSeverity::Warn), "{kept:?}");
        let fields = fill(&browser.get(GUARDRAILS), &delete, &[("reason", "not needed")]);
        for _ in 0..2 {
            let answer = send(&mut browser, &delete, &fields);
            done(&browser, &answer, GUARDRAILS);
        }
        assert_eq!((guardrails(&admin).await.len(), head(&admin).await), (0, before + 3));
    }

    /// Given versions that a new guardrail would refuse, a trial names them and changes nothing; its form sets the guardrail, and the page that
    /// follows names what the active versions fail.
    async fn a_guardrail_is_tried_and_then_set(hub: Hub) {
        let admin = hub.client().await;
        release(&admin, "shop", "tokens: 10\n").await;
        publish(&admin, "shop", "tokens: 9\n").await;
        release(&admin, "fine", "tokens: 1\n").await;
        let mut browser = Browser::signed_in(&hub, &hub.token());
        let set = format!("{GUARDRAILS}/set");
        let rule = [("id", "cap"), ("expression", "content.tokens <= 5"), ("severity", "deny"), ("message", "<b>too many"), ("try", "yes")];
        let before = head(&admin).await;
        let tried = fill_and_send(&mut browser, GUARDRAILS, &set, &rule);
        assert_eq!(tried.status, 200, "{tried:?}");
        assert!(tried.body.contains("Nothing was changed. Tried on 3 published versions."), "{tried:?}");
        let (active, others) = tried.body.split_once("Other published versions that fail").expect("both kinds");
        let link = |version| format!("href=\"/namespaces/default/policies/shop/versions/{version}\">shop@{version}</a>");
        assert!(active.contains("Active versions that fail") && active.contains(&link(1)) && !active.contains(&link(2)), "{active}");
        assert!(others.contains(&link(2)) && others.contains("&#60;b&#62;too many") && !tried.body.contains("fine@"), "{others}");
        assert_eq!((guardrails(&admin).await.len(), head(&admin).await), (0, before), "a trial changes nothing");

        let fields = fill(&tried, &set, &[("expression", "content.tokens <= 5"), ("severity", "deny"), ("id", "cap")]);
        assert!(tried.body.contains("name=\"id\" value=\"cap\"") && tried.body.contains("content.tokens &#60;= 5</textarea>"), "{tried:?}");
        for _ in 0..2 {
            let answer = send(&mut browser, &set, &fields);
            assert!(answer.status == 200 && answer.body.contains("The guardrail holds from now on."), "{answer:?}");
            assert!(answer.body.contains("Active versions that fail") && answer.body.contains(&link(1)), "{answer:?}");
        }
        assert_eq!((guardrails(&admin).await.len(), head(&admin).await), (1, before + 1), "a double click is one change");
        let softer = [("expression", "content.tokens <= 50"), ("severity", "deny"), ("reason", "softer")];
        let answer = fill_and_send(&mut browser, GUARDRAILS, &set, &softer);
        assert!(done(&browser, &answer, GUARDRAILS).contains("Every published version satisfies it"), "{answer:?}");
        let delete = format!("{GUARDRAILS}/delete");
        let answer = fill_and_send(&mut browser, GUARDRAILS, &delete, &[("reason", "not needed")]);
        done(&browser, &answer, GUARDRAILS);
        let log = browser.get("/namespaces/default/log?kind=UPDATE_GUARDRAILS").body;
        for said in ["guardrails: cap set</a>", "guardrails: cap deleted</a>"] {
            assert!(log.contains(said), "{said}: {log}");
        }
    }

    /// Given texts that would act on a page in every field of the forms, they are refused or shown as text.
    async fn hostile_fields_are_text(hub: Hub) {
        let mut browser = Browser::signed_in(&hub, &hub.token());
        for &text in HOSTILE {
            let quoted = text.replace(['\\', '\0', '\u{1b}'], "").replace('"', "'");
            let expression = format!("\"{quoted}\" == \"\"");
            let forms = [
                (GUARDRAILS, format!("{GUARDRAILS}/set"), vec![("id", text), ("expression", "true"), ("severity", "deny")]),
                (GUARDRAILS, format!("{GUARDRAILS}/set"), vec![("id", "a"), ("expression", expression.as_str()), ("severity", "deny"), ("message", text), ("reason", text)]),
                (SCHEDULES, format!("{SCHEDULES}/create"), vec![("id", text), ("target", text), ("time", text), ("time_zone", text), ("reason", text)]),
                (SCHEDULES, format!("{SCHEDULES}/create"), vec![("id", "a"), ("target", text), ("time", "2030-01-01T00:00"), ("time_zone", "UTC"), ("reason", text)]),
                (ROLES, format!("{ROLES}/grant"), vec![("role", text), ("member", text), ("reason", text)]),
                ("/keys", "/keys/prepare".to_owned(), vec![("algorithm", text)]),
            ];
            for (page, action, given) in forms {
                let mut fields = fill(&browser.get(page), &action, &[]);
                for (name, value) in given {
                    fields.retain(|(known, _)| known != name);
                    fields.push((name.to_owned(), value.to_owned()));
                }
                let answer = send(&mut browser, &action, &fields);
                assert!([303, 400, 404, 409].contains(&answer.status), "{action} {text}: {answer:?}");
                for shown in [answer, browser.get(page)] {
                    for bad in ["<script>alert", "<img", "<svg", "\u{202e}", "\u{2066}", "\0", "\u{1b}", "\u{200b}"] {
                        // A field that can be changed holds the text as it is, with its markup escaped.
                        let visible = shown.body.split("<textarea").map(|part| part.split_once("</textarea>").map_or(part, |(_, rest)| rest));
                        let visible: String = visible.map(|part| part.split(" value=\"").map(|each| each.split_once('"').map_or(each, |(_, rest)| rest)).collect::<String>()).collect();
                        let looked_at = if bad.starts_with('<') { &shown.body } else { &visible };
                        assert!(!looked_at.contains(bad), "{bad:?} in {}", shown.body);
                    }
                }
            }
        }
    }

    /// Given the form of a schedule, the local time is that of its time zone, and the version is in force then; it is cancelled by a form.
    async fn schedules_by_forms(hub: Hub) {
        let admin = hub.client().await;
        release(&admin, "shop", "a: 1\n").await;
        publish(&admin, "shop", "a: 2\n").await;
        let mut browser = Browser::signed_in(&hub, &hub.token());
        let create = format!("{SCHEDULES}/create");
        let plan = [
            ("id", "launch"),
            ("target", "shop@2"),
            ("time", "2031-07-01T09:30"),
            ("time_zone", "Europe/Berlin"),
            ("reason", "the season"),
        ];
        let fields = fill(&browser.get(SCHEDULES), &create, &plan);
        let before = head(&admin).await;
        for _ in 0..2 {
            let answer = send(&mut browser, &create, &fields);
            let page = done(&browser, &answer, SCHEDULES);
            assert!(page.contains("once, at 2031-07-01T09:30:00 Europe/Berlin (2031-07-01T07:30:00Z): shop@2"), "{page}");
            assert!(page.contains("policyhub schedule cancel launch --reason … -n default"), "{page}");
        }
        assert_eq!(head(&admin).await, before + 1, "a double click is one schedule");
        let kept = get_schedule(&admin, "launch").await;
        assert_eq!((kept.reason.as_str(), kept.next_time.map(|at| at.seconds)), ("the season", Some(1_940_657_400)));
        for (field, value, status, reason) in [
            ("id", "Launch", 400, "INVALID_ARGUMENT"),
            ("id", "launch", 409, "SCHEDULE_EXISTS"),
            ("target", "shop", 400, "INVALID_ARGUMENT"),
            ("target", "shop@7", 404, "VERSION_NOT_FOUND"),
            ("time", "2031-07-01", 400, "INVALID_ARGUMENT"),
            ("time", "2031-13-01T00:00", 400, "INVALID_ARGUMENT"),
            ("time", "1999-01-01T00:00", 400, "INVALID_ARGUMENT"),
            ("time_zone", "Berlin", 400, "INVALID_ARGUMENT"),
            ("time_zone", "", 400, "INVALID_ARGUMENT"),
            ("reason", "", 400, "INVALID_ARGUMENT"),
        ] {
            let wrong: Vec<(&str, &str)> = plan
                .iter()
                .map(|(name, known)| match *name {
                    _ if *name == field => (*name, value),
                    "id" => (*name, "other"),
                    _ => (*name, *known),
                })
                .collect();
            let answer = fill_and_send(&mut browser, SCHEDULES, &create, &wrong);
            assert_eq!((answer.status, answer.reason()), (status, reason), "{field}={value}: {answer:?}");
        }
        let shop = "/namespaces/default/policies/shop";
        for (page, is_there) in [(shop.to_owned(), true), (format!("{shop}/versions/2"), true), (format!("{shop}/versions/1"), false)] {
            let page = browser.get(&page).body;
            assert_eq!(page.contains(&format!("href=\"{SCHEDULES}#schedule-launch\">launch</a> pending")), is_there, "{page}");
        }
        let cancel = format!("{SCHEDULES}/launch/cancel");
        let answer = fill_and_send(&mut browser, SCHEDULES, &cancel, &[("reason", "no season")]);
        let page = done(&browser, &answer, SCHEDULES);
        assert!(page.contains("cancelled") && !page.contains("/launch/cancel"), "{page}");
        assert_eq!(head(&admin).await, before + 2);
    }

    /// Given a schedule that stands still because somebody moved the pointer, its page says why, and a form lets it run.
    async fn a_suspended_schedule_is_resumed_by_a_form(hub: Hub) {
        let admin = hub.client().await;
        release(&admin, "shop", "a: 1\n").await;
        publish(&admin, "shop", "a: 2\n").await;
        create_schedule(&admin, "launch", "", vec![once(&[("shop", 2)], 2)]).await;
        publish(&admin, "shop", "a: 3\n").await;
        activate(&admin, "shop", 3).await;
        until_state(&admin, "launch", pb::ScheduleState::Suspended).await;
        let mut browser = Browser::signed_in(&hub, &hub.token());
        let page = browser.get(SCHEDULES).body;
        assert!(page.contains("EXPECTED_ACTIVE_MISMATCH"), "{page}");
        let alarm = browser.get("/namespaces/default").body;
        let alarm = between(&alarm, "role=\"alert\"", "</p>").to_owned();
        assert!(alarm.contains("launch is suspended") && alarm.contains(&format!("href=\"{SCHEDULES}\"")), "{alarm}");
        let log = browser.get("/namespaces/default/log?kind=SUSPEND_SCHEDULE").body;
        assert!(log.contains(&format!("href=\"{SCHEDULES}\">schedule launch</a>")), "{log}");
        let answer = fill_and_send(&mut browser, SCHEDULES, &format!("{SCHEDULES}/launch/resume"), &[("reason", "on purpose")]);
        done(&browser, &answer, SCHEDULES);
        until_state(&admin, "launch", pb::ScheduleState::Done).await;
        assert_eq!(active(&admin, "shop").await, 2);
    }

    /// Given the forms of the roles, a role is granted and taken away, and the member may do by the next page what it says.
    async fn roles_by_forms(hub: Hub) {
        let admin = hub.client().await;
        release(&admin, "shop", "a: 1\n").await;
        let mut browser = Browser::signed_in(&hub, &hub.token());
        let ann = Browser::signed_in(&hub, &issue(&hub, &["--subject", "ann", "--ttl", "1h"]));
        assert_eq!(ann.get("/namespaces/default").status, 403);
        let action = format!("{ROLES}/grant");
        let before = head(&admin).await;
        let fields = fill(&browser.get(ROLES), &action, &[("role", "viewer"), ("member", " local:ann "), ("reason", "new here")]);
        for _ in 0..2 {
            let answer = send(&mut browser, &action, &fields);
            let page = done(&browser, &answer, ROLES);
            assert!(page.contains("local:ann") && page.contains("/revoke\""), "{page}");
        }
        assert_eq!(head(&admin).await, before + 1, "a double click is one grant");
        let seen = ann.get(ROLES);
        assert_eq!(seen.status, 200);
        assert!(!seen.body.contains("Revoke") && !seen.body.contains("Grant a role"), "only what they may: {seen:?}");
        refused(&fill_and_send(&mut browser, ROLES, &action, &[("role", "viewer"), ("member", "local:ann")]), 409, "BINDING_EXISTS");
        for (role, member) in [("viewer", "ann"), ("owner", "local:ann"), ("", "local:ann"), ("viewer", "")] {
            refused(&fill_and_send(&mut browser, ROLES, &action, &[("role", role), ("member", member)]), 400, "INVALID_ARGUMENT");
        }
        let page = browser.get(ROLES);
        let revoke = format!("{ROLES}/{}/revoke", between(&page.body, &format!("action=\"{ROLES}/"), "/"));
        let fields = fill(&page, &revoke, &[("reason", "left")]);
        for _ in 0..2 {
            let answer = send(&mut browser, &revoke, &fields);
            done(&browser, &answer, ROLES);
        }
        assert_eq!((head(&admin).await, ann.get(ROLES).status), (before + 2, 403));
    }

    /// Given roles, the forms of the pages are shown to who may do what they do.
    async fn forms_are_for_who_may(hub: Hub) {
        let admin = hub.client().await;
        release(&admin, "shop", "a: 1\n").await;
        create_schedule(&admin, "launch", "", vec![once(&[("shop", 1)], 9_000)]).await;
        let forms = [(GUARDRAILS, "/set\""), (SCHEDULES, "/create\""), (SCHEDULES, "/cancel\""), (ROLES, "/grant\""), (ROLES, "/revoke\""), ("/keys", "/keys/prepare\"")];
        for (name, role, shown) in [
            ("viewer", pb::Role::Viewer, &[][..]),
            ("author", pb::Role::Author, &[]),
            ("guard", pb::Role::GuardrailAdmin, &[GUARDRAILS]),
            ("activator", pb::Role::Activator, &[SCHEDULES]),
            ("boss", pb::Role::Admin, &[GUARDRAILS, SCHEDULES, ROLES]),
        ] {
            grant(&admin, name, role, "namespaces/default").await;
            let browser = Browser::signed_in(&hub, &issue(&hub, &["--subject", name, "--ttl", "1h"]));
            for (page, form) in forms {
                assert_eq!(browser.get(page).body.contains(form), shown.contains(&page), "{name}: {form} on {page}");
            }
        }
        grant(&admin, "root", pb::Role::Admin, "namespaces/-").await;
        let root = Browser::signed_in(&hub, &issue(&hub, &["--subject", "root", "--ttl", "1h"]));
        assert!(root.get("/keys").body.contains("/keys/prepare\""));
    }
}

on_both_databases! {
    with AT_ONCE;

    /// Given the forms of the keys, a key is prepared, signs, and the one before it is revoked.
    async fn keys_by_forms(hub: Hub) {
        let admin = hub.client().await;
        let first = signing(&admin).await;
        let mut browser = Browser::signed_in(&hub, &hub.token());
        refused(&fill_and_send(&mut browser, "/keys", "/keys/prepare", &[("algorithm", "RS256")]), 400, "INVALID_ARGUMENT");
        let fields = fill(&browser.get("/keys"), "/keys/prepare", &[("algorithm", "EdDSA")]);
        for _ in 0..2 {
            let answer = send(&mut browser, "/keys/prepare", &fields);
            done(&browser, &answer, "/keys");
        }
        let listed = states(&admin).await;
        let [_, (second, pb::KeyState::Prepared)] = &listed[..] else { panic!("a double click is one key: {listed:?}") };
        assert!(!browser.get("/keys").body.contains(&format!("/keys/{first}/revoke")), "the one that signs can't be revoked");
        release(&admin, "shop", "a: 1\n").await;
        release(&admin, "till", "a: 1\n").await;
        let answer = fill_and_send(&mut browser, "/keys", &format!("/keys/{second}/activate"), &[("reason", "yearly")]);
        done(&browser, &answer, "/keys");
        assert_eq!(&signing(&admin).await, second);
        let revoke = format!("/keys/{first}/revoke");
        release(&admin, "till", "a: 2\n").await;
        let form = |page: &Answer| between(&page.body, &format!("action=\"{revoke}\""), "</form>").to_owned();
        let shown = form(&browser.get("/keys"));
        assert!(shown.contains("It signed one active version: default/shop@1."), "what another key signs is not named: {shown}");
        grant(&admin, "ann", pb::Role::Viewer, "namespaces/default").await;
        let reader = Browser::signed_in(&hub, &issue(&hub, &["--subject", "ann", "--ttl", "1h"]));
        assert!(!reader.get("/keys").body.contains("shop@1"), "who may not revoke is not told");
        refused(&fill_and_send(&mut browser, "/keys", &revoke, &[("reason", "")]), 400, "INVALID_ARGUMENT");
        let answer = fill_and_send(&mut browser, "/keys", &revoke, &[("resign", "yes"), ("reason", "it leaked")]);
        let page = done(&browser, &answer, "/keys");
        assert!(page.contains("revoked") && !page.contains(&revoke), "{page}");
    }
}
