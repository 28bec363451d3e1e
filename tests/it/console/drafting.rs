//! Drafts by a text area: a browser sends CRLF, and nothing changes that the author did not change.

use policyhub::client::pb;

use super::browser::{Answer, Browser, between};
use super::hostile::HOSTILE;
use crate::harness::callers::{grant, issue};
use crate::harness::calls::{create, draft_request, events, get_version, head, publish, release, set};
use crate::harness::on_both_databases;

const PAGE: &str = "/namespaces/default/policies/shop/draft";

/// Returns the text of the text area, as a browser has it.
fn text_of(page: &Answer) -> String {
    let (_, rest) = page.body.split_once("<textarea name=\"text\"").unwrap_or_else(|| panic!("no text area: {page:?}"));
    let (_, rest) = rest.split_once('>').expect("the end of the tag");
    // The first line end is no part of it (WHATWG HTML, in body).
    let text = rest.strip_prefix('\n').unwrap_or(rest).split("</textarea>").next().expect("an end");
    let entities = [("&#60;", "<"), ("&#62;", ">"), ("&#34;", "\""), ("&#39;", "'"), ("&#38;", "&")];
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    entities.iter().fold(text, |text, (entity, letter)| text.replace(entity, letter))
}

/// Returns the fields that a browser sends with a text.
fn fields(page: &Answer, text: &str, button: &str) -> Vec<(String, String)> {
    let hidden = |name: &str| between(&page.body, &format!("name=\"{name}\" value=\""), "\"").to_owned();
    let lines = text.replace('\n', "\r\n");
    [
        ("form_token", hidden("form_token")),
        ("request_id", hidden("request_id")),
        ("base_version", hidden("base_version")),
        ("from_version", hidden("from_version")),
        ("text", lines),
        ("label", String::new()),
        ("note", String::new()),
        ("do", button.to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

fn send(browser: &mut Browser, fields: &[(String, String)], changed: &[(&str, &str)]) -> Answer {
    let value = |name: &str, value: &str| {
        changed.iter().find(|(each, _)| *each == name).map_or(value.to_owned(), |(_, new)| (*new).to_owned())
    };
    let filled: Vec<(String, String)> = fields.iter().map(|(name, known)| (name.clone(), value(name, known))).collect();
    let filled: Vec<(&str, &str)> = filled.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    browser.post(PAGE, &filled)
}

on_both_databases! {
    /// Given the active text, a changed line is the only change, whatever its lines end with; the draft says what it comes from.
    async fn only_what_was_changed_changes(hub: Hub) {
        let admin = hub.client().await;
        let mut browser = Browser::signed_in(&hub, &hub.token());
        for (number, base, new) in [
            (2, "a: 1\nb: 2\n", "a: 1\nb: 5\n"),
            (4, "a: 1\r\nb: 2\r\n", "a: 1\r\nb: 5\r\n"),
            (6, "a: 1\r\nb: 2\nc: 3\r\nd: 4", "a: 1\r\nb: 5\nc: 3\r\nd: 4"),
            (8, "\n\na: '<&>'\nb: 2\n", "\n\na: '<&>'\nb: 5\n"),
        ] {
            release(&admin, "shop", base).await;
            let shown = browser.get(PAGE);
            assert_eq!((shown.status, text_of(&shown)), (200, base.replace("\r\n", "\n")), "{shown:?}");
            let before = head(&admin).await;
            let sent = fields(&shown, &text_of(&shown).replace("b: 2", "b: 5"), "draft");
            let label = format!("1.0.{number}");
            for _ in 0..2 {
                let answer = send(&mut browser, &sent, &[("label", &label), ("note", "raise b")]);
                let next = format!("/namespaces/default/policies/shop/versions/{number}");
                assert_eq!((answer.status, answer.next_page()), (303, next.as_str()), "{answer:?}");
                let said = browser.get(answer.header("location"));
                assert_eq!(said.done(), format!("shop@{number} was drafted. Staging it has it checked."), "{said:?}");
            }
            assert_eq!(head(&admin).await, before + 1, "a double click is one draft");
            let drafted = get_version(&admin, "shop", number).await;
            assert_eq!(drafted.content, new.as_bytes(), "{base:?}");
            assert_eq!((drafted.base_version, drafted.label.as_str(), drafted.change_note.as_str()), (number - 1, label.as_str(), "raise b"));
            assert_eq!(drafted.state(), pb::VersionState::Draft);
        }
    }

    /// Given a text that breaks the schema, the check shows the finding at its line, keeps the text, and writes nothing.
    async fn a_check_finds_and_writes_nothing(hub: Hub) {
        let admin = hub.client().await;
        let json_schema = r#"{"properties":{"tokens":{"type":"integer"}}}"#.to_owned();
        create(&admin, "shop", pb::PolicyKind::Yaml, pb::PolicySettings { json_schema, ..Default::default() }).await;
        let mut browser = Browser::signed_in(&hub, &hub.token());
        let empty = browser.get(PAGE);
        assert!(text_of(&empty).is_empty() && empty.body.contains("Nothing is active"), "{empty:?}");
        let before = head(&admin).await;
        let text = "a: 1\ntokens: <many>\n";
        let found = send(&mut browser, &fields(&empty, text, "check"), &[("label", "1.0.0"), ("note", "n")]);
        assert_eq!((found.status, text_of(&found)), (200, text.to_owned()), "{found:?}");
        let at = between(&found.body, "<b>Line 2</b>", "</p>");
        assert!(at.contains("tokens: &#60;many&#62;") && at.contains("error, json-schema: "), "{found:?}");
        assert!(found.body.contains("name=\"label\" value=\"1.0.0\"") && found.body.contains("name=\"note\" value=\"n\""), "{found:?}");
        let good = send(&mut browser, &fields(&found, "tokens: 7\n", "check"), &[]);
        assert!(good.status == 200 && good.body.contains("The checks find nothing"), "{good:?}");
        assert_eq!(head(&admin).await, before, "a check writes nothing");
        let drafted = send(&mut browser, &fields(&good, "tokens: 7\n", "draft"), &[]);
        assert_eq!((drafted.status, get_version(&admin, "shop", 1).await.content.as_ref()), (303, &b"tokens: 7\n"[..]), "{drafted:?}");
    }

    /// Given a draft whose check failed, its page leads to a form with its text, which writes a new draft from the same base.
    async fn a_failed_draft_is_corrected(hub: Hub) {
        let admin = hub.client().await;
        let json_schema = r#"{"properties":{"tokens":{"type":"integer"}}}"#.to_owned();
        let settings = pb::PolicySettings { json_schema, require_base_active: true, ..Default::default() };
        create(&admin, "shop", pb::PolicyKind::Yaml, settings).await;
        release(&admin, "shop", "tokens: 1\n").await;
        let bad = pb::DraftRequest { base_version: 1, change_note: "more".to_owned(), ..draft_request("shop", "a: 1\r\ntokens: many\r\n") };
        admin.draft(bad).await.expect("a draft");
        let mut browser = Browser::signed_in(&hub, &hub.token());
        let version = |number: i64| format!("/namespaces/default/policies/shop/versions/{number}");
        assert!(browser.get(&version(2)).body.contains("?from=2\">Draft from this version</a>"), "from any open version");
        let stage = pb::StageRequest { name: version(2).trim_start_matches('/').to_owned(), ..Default::default() };
        admin.stage(stage).await.expect_err("its check fails");
        let failed = browser.get(&version(2)).body;
        let form = between(&failed, "<p><a href=\"", "\" id=\"correct\">Correct it in a new draft").rsplit("href=\"").next().unwrap_or_default();
        assert_eq!(form, format!("{PAGE}?from=2"), "{failed}");
        let shown = browser.get(form);
        assert_eq!((shown.status, text_of(&shown).as_str()), (200, "a: 1\ntokens: many\n"), "{shown:?}");
        assert!(shown.body.contains("name=\"note\" value=\"more\""), "{shown:?}");
        let same = send(&mut browser, &fields(&shown, "a: 1\ntokens: many\n", "draft"), &[]);
        assert_eq!((same.status, same.reason()), (400, "INVALID_ARGUMENT"), "nothing was corrected: {same:?}");
        let drafted = send(&mut browser, &fields(&same, "a: 1\ntokens: 7\n", "draft"), &[("note", "more")]);
        assert_eq!((drafted.status, drafted.next_page()), (303, version(3).as_str()), "{drafted:?}");
        let drafted = get_version(&admin, "shop", 3).await;
        assert_eq!((drafted.content.as_ref(), drafted.base_version), (&b"a: 1\r\ntokens: 7\r\n"[..], 1), "its line ends, and its base");
        for (from, status) in [("9", 404), ("x", 400)] {
            assert_eq!(browser.get(&format!("{PAGE}?from={from}")).status, status, "{from}");
        }
        let older = browser.get(&format!("{PAGE}?from=1"));
        assert!(text_of(&older) == "tokens: 1\n" && older.body.contains("name=\"base_version\" value=\"1\""), "{older:?}");
    }

    /// Given a draft that is refused, whatever the reason, its text is on the page again, and nothing is written.
    async fn a_refused_draft_keeps_its_text(hub: Hub) {
        let admin = hub.client().await;
        release(&admin, "shop", "a: 1\n").await;
        publish(&admin, "shop", "a: 2\n").await;
        set(&admin, "shop", pb::PolicySettings { require_change_note: true, require_base_active: true, ..Default::default() }).await;
        let before = head(&admin).await;
        let mut browser = Browser::signed_in(&hub, &hub.token());
        let shown = browser.get(PAGE);
        let text = "</textarea><script>alert(1)</script>: &amp; \"'\n";
        for (changed, status, reason) in [
            (&[("label", "not a label"), ("note", "n")][..], 400, "INVALID_ARGUMENT"),
            (&[("base_version", "2"), ("note", "n")], 409, "EXPECTED_ACTIVE_MISMATCH"),
            (&[("base_version", "9"), ("note", "n")], 404, "VERSION_NOT_FOUND"),
            (&[("base_version", "x")], 400, "INVALID_ARGUMENT"),
            (&[("do", "burn")], 400, "INVALID_ARGUMENT"),
            (&[("request_id", "\u{202e}")], 400, "INVALID_ARGUMENT"),
        ] {
            for button in ["draft", "check"] {
                let answer = send(&mut browser, &fields(&shown, text, button), changed);
                assert_eq!((answer.status, answer.reason()), (status, reason), "{changed:?}: {answer:?}");
                assert_eq!(text_of(&answer), text, "{changed:?}");
                let anew = if reason == "EXPECTED_ACTIVE_MISMATCH" { PAGE } else { "" };
                assert_eq!(answer.next().1, anew, "a link only where the text has to begin anew: {answer:?}");
                assert!(!answer.body.contains("<script>alert"), "{answer:?}");
            }
        }
        let same = send(&mut browser, &fields(&shown, "a: 1\n", "draft"), &[]);
        assert_eq!((same.status, text_of(&same)), (400, "a: 1\n".to_owned()), "nothing was changed: {same:?}");
        for hostile in HOSTILE {
            let answer = send(&mut browser, &fields(&shown, text, "draft"), &[("label", hostile), ("note", hostile), ("text", hostile)]);
            assert_eq!(answer.status, 400, "{hostile}: {answer:?}");
            for bad in ["<script>alert", "<img", "<svg"] {
                assert!(!answer.body.contains(bad), "{hostile}: {answer:?}");
            }
        }
        assert_eq!(head(&admin).await, before, "{:?}", events(&admin, "namespaces/default", before).await);
    }

    /// Given a text beyond the limit of contents, it is on the page again; a body beyond the limit of forms is not read.
    async fn a_text_has_a_bound(hub: Hub) {
        let admin = hub.client().await;
        release(&admin, "shop", "a: 1\n").await;
        let mut browser = Browser::signed_in(&hub, &hub.token());
        let shown = browser.get(PAGE);
        let large = "x".repeat(1024 * 1024 + 1);
        let answer = send(&mut browser, &fields(&shown, &large, "draft"), &[]);
        assert_eq!((answer.status, answer.reason(), text_of(&answer).len()), (413, "CONTENT_TOO_LARGE", large.len()));
        let answer = send(&mut browser, &fields(&shown, &"x".repeat(1_200_000), "draft"), &[]);
        assert_eq!((answer.status, answer.reason()), (413, "MESSAGE_TOO_LARGE"));
        let empty = send(&mut browser, &fields(&shown, "", "draft"), &[]);
        assert_eq!((empty.status, empty.reason()), (400, "CONTENT_EMPTY"));
        assert_eq!(browser.get("/").status, 200);
    }

    /// Given a content that is no text of one file, or a reader who may not draft, there is no text area.
    async fn what_is_no_text_is_not_edited(hub: Hub) {
        let admin = hub.client().await;
        release(&admin, "shop", "a: 1\n").await;
        let request = pb::DraftRequest {
            content_type: "application/octet-stream".to_owned(),
            kind: pb::PolicyKind::Opaque.into(),
            ..draft_request("raw", "bytes")
        };
        admin.draft(request).await.expect("a draft");
        let browser = Browser::signed_in(&hub, &hub.token());
        let raw = browser.get("/namespaces/default/policies/raw/draft");
        assert_eq!((raw.status, raw.reason()), (400, "INVALID_ARGUMENT"), "{raw:?}");
        assert!(raw.body.contains("policyhub draft POLICY FILE"), "{raw:?}");
        assert!(!browser.get("/namespaces/default/policies/raw").body.contains("/draft\""));
        assert!(browser.get("/namespaces/default/policies/shop").body.contains(&format!("href=\"{PAGE}\"")));
        grant(&admin, "ann", pb::Role::Viewer, "namespaces/default").await;
        let reader = Browser::signed_in(&hub, &issue(&hub, &["--subject", "ann", "--ttl", "1h"]));
        let page = reader.get(PAGE);
        assert!(page.status == 200 && !page.body.contains("<textarea"), "{page:?}");
        assert!(!reader.get("/namespaces/default/policies/shop").body.contains(PAGE));
    }
}
