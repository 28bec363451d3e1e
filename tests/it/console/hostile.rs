//! Hostile contents, names and requests: a page shows them as text, and the server goes on.

use std::io::Write as _;
use std::net::TcpStream;

use policyhub::client::pb;

use super::browser::Browser;
use crate::harness::calls::{draft_request, get_version};
use crate::harness::{Database, Hub, on_both_databases};

/// Texts that would act on a page, on its reader, or on the one who copies from it.
pub const HOSTILE: &[&str] = &[
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'; alert(1); '",
    "</pre></textarea></title><svg onload=alert(1)>",
    "{{ 7 * 7 }}",
    "a\u{202e}b\u{2066}c",
    "a\u{0}b\u{1b}[2Jc",
    "zero\u{200b}width\u{feff}",
    "javascript:alert(1)",
];

on_both_databases! {
    /// Given contents and notes that would act on a page, they are shown as text on every page.
    async fn contents_and_notes_are_text(hub: Hub) {
        let admin = hub.client().await;
        let content = HOSTILE.join("\n");
        let request = pb::DraftRequest {
            content_type: String::new(),
            kind: pb::PolicyKind::Opaque.into(),
            change_note: HOSTILE.iter().filter(|text| !text.contains('\0')).copied().collect::<Vec<_>>().join(" "),
            ..draft_request("shop", &content)
        };
        admin.draft(request).await.expect("a draft");
        assert_eq!(get_version(&admin, "shop", 1).await.content, content.as_bytes(), "it is kept as it is");
        let browser = Browser::signed_in(&hub, &hub.token());
        for path in ["/namespaces/default/policies/shop", "/namespaces/default/policies/shop/versions/1"] {
            let page = browser.get(path);
            assert_eq!(page.status, 200, "{page:?}");
            for bad in ["<script>alert", "<img", "<svg", "\u{202e}", "\u{2066}", "\0", "\u{1b}", "\u{200b}", "\u{feff}"] {
                assert!(!page.body.contains(bad), "{bad:?} in {}", page.body);
            }
            assert!(page.body.contains("&#60;script&#62;alert(1)&#60;/script&#62;"), "{}", page.body);
            assert!(page.body.contains("a⟨U+202E⟩b⟨U+2066⟩c"), "{}", page.body);
        }
        let bytes = browser.get("/namespaces/default/policies/shop/versions/1/content");
        assert_eq!(bytes.header("content-type"), "application/octet-stream", "never a page of this site");
    }

    /// Given a content of 1 MiB in one line, and one of a million lines, the page stays small and says that it is cut.
    async fn a_large_content_makes_no_large_page(hub: Hub) {
        let admin = hub.client().await;
        for (number, content) in [(1, "x".repeat(1024 * 1024)), (2, "\n".repeat(1024 * 1024))] {
            let request = pb::DraftRequest {
                content_type: String::new(),
                kind: pb::PolicyKind::Opaque.into(),
                ..draft_request("shop", &content)
            };
            admin.draft(request).await.expect("a draft");
            let browser = Browser::signed_in(&hub, &hub.token());
            let page = browser.get(&format!("/namespaces/default/policies/shop/versions/{number}"));
            assert!(page.status == 200 && page.body.len() < 512 * 1024, "{} bytes", page.body.len());
            assert!(page.body.contains("This is the beginning"), "{number}");
            let bytes = browser.get(&format!("/namespaces/default/policies/shop/versions/{number}/content"));
            assert_eq!(bytes.body.len(), content.len());
        }
    }

    /// Given paths, queries and forms that no page has, the answer is a refusal with a reason and never a fault of the server.
    async fn odd_requests_are_refused(hub: Hub) {
        let mut browser = Browser::signed_in(&hub, &hub.token());
        let long = "a".repeat(4_000);
        for path in [
            "/namespaces/..%2f..%2fetc",
            "/namespaces/default%00",
            "/namespaces/%ff",
            "/namespaces/default/../../",
            "/namespaces//policies/",
            "//evil.example/",
            "/namespaces/%3Cscript%3Ealert(1)%3C%2Fscript%3E",
            "/namespaces/default/policies/shop/versions/-1",
            "/namespaces/default/policies/shop/versions/99999999999999999999",
            &format!("/namespaces/{long}"),
            "/?page_token=%ff",
            "/?page_token=a&page_token=b",
            "/namespaces/default?q=%22%29%20OR%20name:*",
            "/namespaces/default?q=%00%e2%80%ae",
            &format!("/namespaces/default?q={long}"),
        ] {
            let answer = browser.get(path);
            assert!([200, 400, 404].contains(&answer.status), "{path}: {answer:?}");
            assert!(!answer.body.contains("<script>alert"), "{path}: {answer:?}");
        }
        let origin = [("origin", hub.console.as_str())];
        let form = ("content-type", "application/x-www-form-urlencoded");
        let sign_in = |headers: &[(&str, &str)], body: &str| {
            browser.send("POST", "/sign-in", &[&origin[..], headers].concat(), body)
        };
        assert_eq!(sign_in(&[("content-type", "text/plain")], "token=x").status, 400);
        assert_eq!(sign_in(&[], "token=x").status, 400);
        assert_eq!(sign_in(&[form], "token=x&token=y").status, 400);
        assert_eq!(sign_in(&[form], "token=%ff").status, 400);
        assert_eq!(sign_in(&[form], &"a=1&".repeat(1_000)).status, 400);
        assert_eq!(sign_in(&[form], &"a".repeat(4 * 1024 * 1024)).status, 413);
        assert_eq!(browser.post("/", &[]).status, 405);
        for bytes in [
            &b"\x16\x03\x01\x02\x00\x01\x00"[..],
            b"GET / HTTP/9.9\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"POST /sign-in HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            b"GET / HTTP/1.1\r\nhost: localhost\r\nx: \0\r\n\r\n",
            &[b'A'; 100_000],
        ] {
            let answer = browser.exchange(bytes);
            assert!(answer.status == 0 || (400..500).contains(&answer.status), "{answer:?}");
        }
        assert_eq!(browser.get("/").status, 200, "the server goes on");
        let log = hub.log.lock().expect("the log").clone();
        assert!(!log.contains("panicked"), "{log}");
    }
}

/// Given more sign-ins whose bodies never come than are answered at once, other sign-ins, pages, and the forms of those who are signed in
/// are answered.
#[tokio::test]
async fn slow_sign_ins_keep_nobody_waiting() {
    let hub = Hub::start(Database::Sqlite).await;
    let mut browser = Browser::signed_in(&hub, &hub.token());
    let form_token = browser.get("/").form_token();
    let address = hub.console.trim_start_matches("http://").to_owned();
    let slow = |_| {
        let mut socket = TcpStream::connect(&address).expect("a connection");
        let head = format!(
            "POST /sign-in HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\nContent-Type: \
             application/x-www-form-urlencoded\r\nContent-Length: 5000\r\n\r\ntoken="
        );
        socket.write_all(head.as_bytes()).expect("written");
        socket
    };
    let held: Vec<TcpStream> = (0..40).map(slow).collect();
    assert_eq!(browser.get("/keys").status, 200);
    assert_eq!(Browser::signed_in(&hub, &hub.token()).get("/keys").status, 200, "another one signs in");
    let refused = browser.post("/namespaces/default/roles/grant", &[("form_token", &form_token)]);
    assert_eq!((refused.status, refused.reason()), (400, "INVALID_ARGUMENT"), "{refused:?}");
    drop(held);
}
