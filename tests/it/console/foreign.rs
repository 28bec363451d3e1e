//! Requests that other sites send, or send a browser to; and where the console listens.

use super::browser::{Answer, Browser};
use crate::harness::hub::binary;
use crate::harness::{Database, Hub, on_both_databases};
use crate::tls::certificate;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

fn check_headers(case: &str, answer: &Answer) {
    for (name, value) in [
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
        ("x-frame-options", "DENY"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(answer.header(name), value, "{case}: {name} in {answer:?}");
    }
}

on_both_databases! {
    /// Given any answer, whatever its status, it has the headers; and nobody keeps a page.
    async fn every_answer_has_the_headers(hub: Hub) {
        let browser = Browser::signed_in(&hub, &hub.token());
        for (case, answer, status) in [
            ("a page", browser.get("/"), 200),
            ("nobody", Browser::new(&hub).get("/"), 401),
            ("no page", browser.get("/x"), 404),
            ("no namespace", browser.get("/namespaces/x"), 404),
            ("sign in", browser.get("/sign-in"), 200),
            ("a method", browser.send("DELETE", "/", &[("origin", &hub.console)], ""), 405),
            ("a foreign host", browser.send("GET", "/", &[("host", "evil.example")], ""), 403),
        ] {
            assert_eq!(answer.status, status, "{case}: {answer:?}");
            check_headers(case, &answer);
            assert_eq!(answer.header("cache-control"), "no-store", "{case}");
            for inline in ["<style", "style=\"", "<script>", "javascript:", "onclick", "onload"] {
                assert!(!answer.body.contains(inline), "{case}: {inline} in {answer:?}");
            }
        }
    }

    /// Given a page, its style and scripts are its own, kept for ever, and asked for by their contents.
    async fn assets_are_kept_by_their_contents(hub: Hub) {
        let page = Browser::new(&hub).get("/sign-in").body;
        let links: Vec<&str> = page.split('"').filter(|part| part.starts_with("/assets/")).collect();
        assert_eq!(links.len(), 3, "{page}");
        let browser = Browser::new(&hub);
        for link in links {
            let asset = browser.get(link);
            assert_eq!((asset.status, asset.header("cache-control")), (200, "public, max-age=31536000, immutable"));
            check_headers(link, &asset);
            let content_type = asset.header("content-type");
            assert!(content_type.starts_with("text/") || content_type == "image/svg+xml", "{asset:?}");
            let again = browser.send("GET", link, &[("if-none-match", asset.header("etag"))], "");
            assert_eq!((again.status, again.body.as_str()), (304, ""));
        }
        assert_eq!(browser.get("/assets/console.0000000000000000.css").status, 404);
        assert_eq!(browser.get("/assets/..%2f..%2fCargo.toml").status, 404);
    }

    /// Given a name of another site that leads to loopback, nothing is answered there, signed in or not.
    async fn another_name_of_loopback_is_refused(hub: Hub) {
        let browser = Browser::signed_in(&hub, &hub.token());
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:1", ""] {
            for path in ["/", "/sign-in", "/assets/x"] {
                let answer = browser.send("GET", path, &[("host", host)], "");
                assert_eq!((answer.status, answer.reason()), (403, "PERMISSION_DENIED"), "{host} {path}: {answer:?}");
            }
        }
        let none = browser.exchange(b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n");
        assert_eq!(none.status, 403, "{none:?}");
        assert_eq!(browser.send("GET", "/", &[("host", "localhost:9")], "").status, 200, "a forwarded port");
    }

    /// Given a form that another site sends, with the cookie or without, it is refused before anything is read.
    async fn a_form_of_another_site_is_refused(hub: Hub) {
        let browser = Browser::signed_in(&hub, &hub.token());
        let form_token = browser.get("/").form_token();
        let (own, token) = (hub.console.clone(), hub.token());
        for headers in [
            &[][..],
            &[("origin", "null")],
            &[("origin", "http://evil.example")],
            &[("origin", own.as_str()), ("origin", own.as_str())],
            &[("origin", own.as_str()), ("sec-fetch-site", "cross-site")],
            &[("origin", own.as_str()), ("sec-fetch-site", "same-site")],
        ] {
            for (path, fields) in [
                ("/sign-out", &[("form_token", form_token.as_str())][..]),
                ("/sign-in", &[("token", token.as_str())]),
                ("/sign-in/code", &[("code", "x")]),
            ] {
                let answer = browser.post_with(path, headers, fields);
                assert_eq!((answer.status, answer.reason()), (403, "PERMISSION_DENIED"), "{headers:?} {path}");
                assert_eq!(answer.header("set-cookie"), "", "{headers:?} {path}");
            }
        }
    }
}

/// Given a console beyond loopback without TLS, the server does not start; `off` has none; a default that is taken is no reason.
#[tokio::test]
async fn where_the_console_listens() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut command = binary();
    command.args(["serve", "--console-addr", "0.0.0.0:0", "--data-dir"]).arg(dir.path().join("data"));
    let output = command.output().expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("console_addr") && said.contains("insecure_plaintext"), "{said}");

    let hub = Hub::start_with(Database::Sqlite, &["--console-addr", "off"]).await;
    assert_eq!(hub.console, "http://", "no address");
    let addresses = std::fs::read_to_string(hub.data_dir().join("addr.json")).expect("addr.json");
    assert!(!addresses.contains("console"), "{addresses}");
}

/// Given TLS, the console has it too, and `policyhub console` signs in over it.
#[tokio::test]
async fn the_console_has_the_tls_of_the_server() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (cert, key) = certificate(dir.path(), "server");
    let hub = Hub::start_with(Database::Sqlite, &["--tls-cert", &cert, "--tls-key", &key]).await;
    assert!(hub.console.starts_with("https://"), "{}", hub.console);
    let ask = |console: &str| {
        hub.cli().args(["console", "--console", console, "--ca-cert", &cert]).output().expect("the binary runs")
    };
    let output = ask(&hub.console);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let url = String::from_utf8(output.stdout).expect("text");
    assert!(url.starts_with(&format!("{}/sign-in/code?code=", hub.console)), "{url}");
    assert!(!ask(&hub.console.replace("https://", "http://")).status.success(), "no plaintext on that port");
}
