//! The search over policies and the contents of their active versions.

use policyhub::checks::content_tar::{ContentFile, write};
use policyhub::client::{Client, pb};

use super::browser::{Answer, Browser, between};
use super::hostile::HOSTILE;
use crate::harness::callers::{grant, issue, namespace};
use crate::harness::calls::{activate, deactivate, draft, draft_request, publish, publish_request, release};
use crate::harness::on_both_databases;

/// Releases a content of another kind than YAML.
async fn release_as(client: &Client, id: &str, kind: pb::PolicyKind, content_type: &str, content: Vec<u8>) {
    let request = pb::DraftRequest {
        kind: kind.into(),
        content_type: content_type.to_owned(),
        content: content.into(),
        ..draft_request(id, "")
    };
    client.draft(request).await.expect("a draft");
    client.publish(publish_request(id, 1)).await.expect("a publication");
    activate(client, id, 1).await;
}

/// Returns the part of a page with what was found in contents.
fn in_contents(page: &str) -> &str {
    between(page, "<h2>In the contents of active versions</h2>", "</main>")
}

/// Returns the policies that were found in contents, one for each line.
fn policies_of(page: &str) -> Vec<&str> {
    in_contents(page).split("<tr><td>").skip(1).map(|row| row.split('<').next().unwrap_or_default()).collect()
}

on_both_databases! {
    /// Given a text, the policies of that name come first, then each active content that has it, with its lines and a link to each.
    async fn a_text_is_found_in_names_and_in_active_contents(hub: Hub) {
        let admin = hub.client().await;
        release(&admin, "limits", "tokens: 1\n").await;
        release(&admin, "shop", "region: eu\n\nLimits:\n  a: 1\nother: limits limits\n").await;
        release(&admin, "many", "a: LIMITS\nb: limits\nc: limits\nd: limits\n").await;
        release(&admin, "old", "limits: 1\n").await;
        release(&admin, "old", "region: eu\n").await;
        release(&admin, "ended", "limits: 1\n").await;
        deactivate(&admin, "ended").await;
        publish(&admin, "published", "limits: 1\n").await;
        draft(&admin, "drafted", "limits: 1\n").await;
        let browser = Browser::signed_in(&hub, &hub.token());
        let page = browser.get("/namespaces/default?q=Limits").body;
        let names = between(&page, "data-part=\"policies\"", "</table>");
        assert!(names.contains("data-row=\"limits\"") && !names.contains("data-row=\"shop\""), "{page}");
        let of_path = browser.get("/namespaces/default?q=policies").body;
        assert!(of_path.contains("No policy matches") && !of_path.contains("data-row="), "a name is its id: {of_path}");
        assert_eq!(policies_of(&page), ["many", "many", "many", "shop", "shop"], "only what is active: {page}");
        let shop = "/namespaces/default/policies/shop/versions/1";
        for (line, text) in [(3, "<mark>Limits</mark>:"), (5, "other: <mark>limits</mark> limits")] {
            let row = format!("<a href=\"{shop}#L{line}\">{line}</a></td><td><code>{text}</code></td>");
            assert!(in_contents(&page).contains(&row), "{row}: {page}");
            assert!(browser.get(shop).body.contains(&format!("id=\"L{line}\"")), "the link leads to the line");
        }
        assert_eq!(in_contents(&page).matches("and in further lines").count(), 1, "{page}");
        assert!(in_contents(&page).contains("Searched 4 of 4 active versions."), "{page}");
        let none = browser.get("/namespaces/default?q=nowhere").body;
        assert!(none.contains("No policy matches.") && none.contains("No content of an active version has it."), "{none}");
        assert!(in_contents(&browser.get("/namespaces/default").body).is_empty(), "nothing was asked for");
    }

    /// Given contents that would act on a page, what is found of them is text; one that is no text is passed over; of several files
    /// the file is named.
    async fn what_is_found_is_text(hub: Hub) {
        let admin = hub.client().await;
        let lines: Vec<String> = HOSTILE.iter().map(|text| format!("{text} needle {text}")).collect();
        for (number, line) in lines.iter().enumerate() {
            release_as(&admin, &format!("hostile-{number}"), pb::PolicyKind::Opaque, "", line.clone().into_bytes()).await;
        }
        release_as(&admin, "binary", pb::PolicyKind::Opaque, "", b"needle\xff\xfe".to_vec()).await;
        let files = ["{}", "{\n\"needle\": 1}"].map(str::as_bytes);
        let files = files.into_iter().zip(["a.json", "eu/b.json"]);
        let tar = write(files.map(|(bytes, path)| ContentFile { path: path.to_owned(), bytes }).collect()).expect("a content");
        release_as(&admin, "several", pb::PolicyKind::Json, "application/x-tar", tar).await;
        release(&admin, "wide", &format!("a: {}needle{}\n", "ä".repeat(2_000), "<".repeat(2_000))).await;
        let browser = Browser::signed_in(&hub, &hub.token());
        let page = browser.get("/namespaces/default?q=needle").body;
        for bad in ["<script>alert", "<img", "<svg", "\u{202e}", "\u{2066}", "\0", "\u{1b}", "\u{200b}", "\u{feff}", "binary<"] {
            assert!(!in_contents(&page).contains(bad), "{bad:?} in {page}");
        }
        assert!(page.contains("<code>&#60;script&#62;alert(1)&#60;/script&#62; <mark>needle</mark> "), "{page}");
        assert!(page.contains("<code>a⟨U+202E⟩b⟨U+2066⟩c <mark>needle</mark> a⟨U+202E⟩b⟨U+2066⟩c</code>"), "{page}");
        assert!(page.contains("/policies/several/versions/1\">eu/b.json:2</a>"), "{page}");
        let wide = between(&page, "/policies/wide/versions/1#L1\">1</a></td><td><code>", "</code>");
        let expected = format!("…{}<mark>needle</mark>{}…", "ä".repeat(40), "&#60;".repeat(80));
        assert_eq!(wide, expected, "a long line is cut around what was found");
        for odd in ["%3Cscript%3Ealert(1)", "%e2%80%ae", "a%0Ab", "%5C%22%27", "%22%29%20OR%20name:*"] {
            let page = browser.get(&format!("/namespaces/default?q={odd}"));
            assert!(page.status == 200 && !page.body.contains("<script>alert"), "{odd}: {page:?}");
        }
        let found = browser.get("/namespaces/default?q=%5B2jC").body;
        assert_eq!(policies_of(&found), ["hostile-6"], "{found}");
        for bad in ["q=a%00b", "q=a&contents_after=NO"] {
            let refused = browser.get(&format!("/namespaces/default?{bad}"));
            assert_eq!((refused.status, refused.reason()), (400, "INVALID_ARGUMENT"), "{bad}: {refused:?}");
        }
    }

    /// Given more than a page has, the search goes on from where it ended: after 25 policies, and after 16 MiB of contents.
    async fn a_search_goes_on_where_it_ended(hub: Hub) {
        let admin = hub.client().await;
        for number in 0..30 {
            release(&admin, &format!("a{number:02}"), "a: needle\n").await;
        }
        let mebibyte = "x".repeat(1024 * 1024).into_bytes();
        for number in 0..17 {
            release_as(&admin, &format!("b{number:02}"), pb::PolicyKind::Opaque, "", mebibyte.clone()).await;
        }
        release(&admin, "c", "a: Needle\n").await;
        let browser = Browser::signed_in(&hub, &hub.token());
        let next = |page: &str| between(in_contents(page), "versions: <a href=\"", "\"").replace("&#38;", "&");
        let first = browser.get("/namespaces/default?q=needle").body;
        assert_eq!(policies_of(&first).len(), 25, "{first}");
        assert!(first.contains("Searched 25 of 48 active versions: <a href"), "{first}");
        assert_eq!(next(&first), "?q=needle&contents_after=a24");
        let second = browser.get(&format!("/namespaces/default{}", next(&first))).body;
        assert_eq!(policies_of(&second), ["a25", "a26", "a27", "a28", "a29"], "{second}");
        assert!(second.contains("Searched 46 of 48 active versions: <a href"), "the bound of bytes: {second}");
        assert!(!second.contains("data-part=\"policies\""), "the first page has the names: {second}");
        let third = browser.get(&format!("/namespaces/default{}", next(&second))).body;
        assert_eq!((policies_of(&third), next(&third).as_str()), (vec!["c"], ""), "{third}");
        assert!(third.contains("Searched 48 of 48 active versions."), "{third}");
        // A text that is nowhere in what was reached.
        let none = browser.get("/namespaces/default?q=Needles").body;
        assert!(none.contains("No content has it among those that were searched."), "{none}");
    }

    /// Given more policies of a name than a page has, the link to more of them keeps the search.
    async fn more_names_are_those_of_the_search(hub: Hub) {
        let admin = hub.client().await;
        for number in 0..51 {
            draft(&admin, &format!("shop-{number:03}"), "a: 1\n").await;
        }
        draft(&admin, "zoo", "a: 1\n").await;
        let browser = Browser::signed_in(&hub, &hub.token());
        let first = browser.get("/namespaces/default?q=shop").body;
        let more = between(&first, "<p><a href=\"", "\">More").replace("&#38;", "&");
        let second = browser.get(&format!("/namespaces/default{more}"));
        assert_eq!(second.status, 200, "{second:?}");
        assert!(second.body.contains("data-row=\"shop-050\"") && !second.body.contains("data-row=\"zoo\""), "{second:?}");
        assert!(second.body.contains("value=\"shop\""), "{second:?}");
        assert!(in_contents(&second.body).is_empty(), "the first page has what is found in contents: {second:?}");
    }

    /// Given callers without a role to read here, nothing is found for them, and what is of one namespace is not found in another.
    async fn contents_are_found_by_who_may_read_them(hub: Hub) {
        let admin = hub.client().await;
        release(&admin, "shop", "a: needle\n").await;
        namespace(&admin, "theirs").await;
        grant(&admin, "runtime", pb::Role::Subscriber, "namespaces/default").await;
        grant(&admin, "stranger", pb::Role::Admin, "namespaces/theirs").await;
        grant(&admin, "reader", pb::Role::Viewer, "namespaces/default").await;
        let ask = |subject: &str, namespace: &str| {
            let token = issue(&hub, &["--subject", subject, "--ttl", "1h"]);
            Browser::signed_in(&hub, &token).get(&format!("/namespaces/{namespace}?q=needle&contents_after=a"))
        };
        assert_eq!(policies_of(&ask("reader", "default").body), ["shop"]);
        for (subject, reason) in [("runtime", "PERMISSION_DENIED"), ("stranger", "NAMESPACE_NOT_FOUND")] {
            let refused = ask(subject, "default");
            assert_eq!(refused.reason(), reason, "{refused:?}");
            assert!(!refused.body.contains("shop"), "{refused:?}");
        }
        let theirs = ask("stranger", "theirs");
        assert!(theirs.status == 200 && theirs.body.contains("Searched 0 of 0 active versions."), "{theirs:?}");
        let admin_browser = Browser::signed_in(&hub, &hub.token());
        let at_once = || ask("reader", "default");
        let answers = std::thread::scope(|scope| {
            let calls: Vec<_> = (0..6).map(|_| scope.spawn(at_once)).collect();
            calls.into_iter().map(|call| call.join().expect("an answer")).collect::<Vec<_>>()
        });
        let is_found = |answer: &Answer| policies_of(&answer.body) == ["shop"];
        let is_told = |answer: &Answer| answer.status == 200 && answer.body.contains("Contents were not searched: another");
        assert!(answers.iter().any(is_found), "one is answered: {answers:?}");
        assert!(answers.iter().all(|answer| is_found(answer) || is_told(answer)), "{answers:?}");
        let long = admin_browser.get(&format!("/namespaces/default?q={}", "%C3%A4".repeat(129)));
        assert!(long.status == 200 && long.body.contains("Contents were not searched: text:"), "{long:?}");
    }
}
