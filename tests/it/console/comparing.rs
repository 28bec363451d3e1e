//! Two versions beside each other: which line is where, what of long ones is shown, and how large the page is.

use policyhub::client::pb;

use super::browser::{Answer, Browser, between};
use crate::harness::calls::{draft, draft_request};
use crate::harness::on_both_databases;

/// The largest page, whatever is compared.
const PAGE_MAX_BYTES: usize = 272 * 1024;

/// Returns the rows of the two columns: of each cell its class and its text, the numbers without a class.
fn rows(page: &Answer) -> Vec<String> {
    let table = between(&page.body, "<table class=\"sides\"", "</table>");
    let table = between(table, "<tbody>", "</tbody>");
    let cell = |text: &str| {
        let (tag, text) = text.split_once('>').expect("a tag");
        let text = text.split("</t").next().unwrap_or_default().replace("<small>", "").replace("</small>", "");
        let class = between(tag, "class=\"", "\"");
        if class.is_empty() { text } else { format!("{class} {text}") }
    };
    let row = |text: &str| text.split("<td").skip(1).map(cell).collect::<Vec<String>>().join("|");
    table.split("<tr").skip(1).map(row).collect()
}

/// Asks for a draft of bytes that are not checked.
fn opaque(policy: &str, content: &str) -> pb::DraftRequest {
    let content_type = "text/plain".to_owned();
    pb::DraftRequest { kind: pb::PolicyKind::Opaque.into(), content_type, ..draft_request(policy, content) }
}

/// Returns a document of about 1 MiB, in which this is the value of a member in its middle.
fn large(value: &str, line: &str) -> String {
    let member = |number: usize| format!("member-{number:05}: the whole rule of number {number}{line}\n");
    let members = |range: std::ops::Range<usize>| range.map(member).collect::<String>();
    let text = format!("{}middle: {value}\n{}", members(0..11_000), members(11_000..22_000));
    assert!((900 * 1024..1024 * 1024).contains(&text.len()), "{}", text.len());
    text
}

on_both_databases! {
    /// Given changed, new and removed lines, each stands beside the one in whose place it is, with the numbers of both sides.
    async fn lines_stand_beside_each_other(hub: Hub) {
        let admin = hub.client().await;
        for content in ["1\n2\n3\n4\n5\n6\n<b>\r\nend", "0\n1\n2\n3\n4\n5\n6\n<b>\nmore\u{202e}\nend\n"] {
            admin.draft(opaque("shop", content)).await.expect("a draft");
        }
        let browser = Browser::signed_in(&hub, &hub.token());
        let page = browser.get("/namespaces/default/policies/shop/diff?base=1&other=2");
        let expected = [
            "none |1|added 0",
            "1|same 1|2|same 1",
            "2|same 2|3|same 2",
            "3|same 3|4|same 3",
            "4|same 4|5|same 4",
            "5|same 5|6|same 5",
            "6|same 6|7|same 6",
            "7|removed &#60;b&#62;⟨U+000D⟩|8|added &#60;b&#62;",
            "8|removed end no line end|9|added more⟨U+202E⟩",
            "none |10|added end",
        ];
        assert_eq!(rows(&page), expected, "{page:?}");
        let same = browser.get("/namespaces/default/policies/shop/diff?base=1&other=1").body;
        assert!(same.contains("The contents are the same"), "{same}");
    }

    /// Given two contents of 1 MiB that differ in three lines, those lines are shown, and little else.
    async fn a_small_change_of_a_large_content_is_shown(hub: Hub) {
        let admin = hub.client().await;
        draft(&admin, "shop", &large("old", "")).await;
        let new = large("new", "").replace("member-00000: the", "member-00000: a").replace("member-21999: the", "member-21999: no");
        draft(&admin, "shop", &new).await;
        let page = Browser::signed_in(&hub, &hub.token()).get("/namespaces/default/policies/shop/diff?base=1&other=2");
        assert!(page.status == 200 && page.body.len() < 20 * 1024, "{} bytes", page.body.len());
        assert!(!page.body.contains("too large"), "{page:?}");
        let changed: Vec<String> = rows(&page).into_iter().filter(|row| row.contains("removed")).collect();
        let expected = [
            "1|removed member-00000: the whole rule of number 0|1|added member-00000: a whole rule of number 0",
            "11001|removed middle: old|11001|added middle: new",
            "22001|removed member-21999: the whole rule of number 21999|22001|added member-21999: no whole rule of number 21999",
        ];
        assert_eq!(changed, expected, "{page:?}");
        assert!(page.body.contains("10993 lines the same"), "{page:?}");
    }

    /// Given two contents of 1 MiB of which every line differs, the page shows the first of them, says that there are more, and is small.
    async fn a_large_change_has_a_bound(hub: Hub) {
        let admin = hub.client().await;
        for value in ["a", "b"] {
            draft(&admin, "every-line", &large(value, value)).await;
            admin.draft(opaque("one-line", &format!("{}{value}", "x".repeat(1_000_000)))).await.expect("a draft");
            let line = format!("{value} {}\n", "<\u{85}".repeat(10));
            admin.draft(opaque("hostile", &line.repeat(30_000))).await.expect("a draft");
        }
        let browser = Browser::signed_in(&hub, &hub.token());
        for (policy, shown) in [("every-line", "number 10a"), ("one-line", "xxx"), ("hostile", "⟨U+0085⟩")] {
            let page = browser.get(&format!("/namespaces/default/policies/{policy}/diff?base=1&other=2"));
            assert!(page.status == 200 && page.body.len() < PAGE_MAX_BYTES, "{policy}: {} bytes", page.body.len());
            assert!(page.body.contains("too large to show all of it") && page.body.contains(shown), "{policy}");
        }
        let page = browser.get("/namespaces/default/policies/one-line/diff?base=1&other=2").body;
        let (old, new) = (between(&page, "class=\"removed\">", "</td>"), between(&page, "class=\"added\">", "</td>"));
        assert!(old.starts_with('…') && old.contains("xa") && new.contains("xb"), "the part that differs: {old} {new}");
    }
}
