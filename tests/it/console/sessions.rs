//! Signing in and out: by a token, by a one-time code, and what ends a session.

use std::sync::Arc;

use super::browser::{Browser, between};
use crate::harness::callers::issue;
use crate::harness::clock;
use crate::harness::{Database, Hub, on_both_databases};

/// Returns the address that `policyhub console` prints, as a path.
fn ask_for_code(hub: &Hub) -> String {
    let output = hub.cli().args(["console", "--console", &hub.console]).output().expect("the binary runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let url = String::from_utf8(output.stdout).expect("text");
    let path = url.trim().strip_prefix(&hub.console).unwrap_or_else(|| panic!("{url} is not at {}", hub.console));
    path.to_owned()
}

on_both_databases! {
    /// Given a good token, the cookie is closed to scripts and to other sites, and does not have the token in it.
    async fn a_pasted_token_begins_a_session(hub: Hub) {
        let mut browser = Browser::new(&hub);
        let asked = browser.get("/namespaces/default");
        assert_eq!(asked.status, 401);
        assert!(asked.body.contains("name=\"next\" value=\"/namespaces/default\""), "{asked:?}");
        for (form, page) in [
            ("/namespaces/default/policies/p/versions/1/publish", "/namespaces/default/policies/p/versions/1"),
            ("/namespaces/default/roles/grant", "/namespaces/default/roles"),
            ("/keys/k/revoke", "/keys"),
        ] {
            let asked = browser.post(form, &[("reason", "r")]);
            assert!(asked.status == 401 && asked.body.contains("nothing was changed"), "{asked:?}");
            assert!(asked.body.contains(&format!("name=\"next\" value=\"{page}\"")), "{asked:?}");
        }
        let answer = browser.post("/sign-in", &[("token", &hub.token()), ("next", "/namespaces/default")]);
        assert_eq!((answer.status, answer.header("location")), (303, "/namespaces/default"));
        let cookie = answer.header("set-cookie");
        for flag in ["; Path=/", "; HttpOnly", "; SameSite=Lax", "; Max-Age=43200"] {
            assert!(cookie.contains(flag), "{flag} is not in {cookie}");
        }
        assert!(!cookie.contains("Secure"), "a browser would not send it back over plaintext: {cookie}");
        assert!(!cookie.contains(&hub.token()) && !cookie.contains("eyJ"), "{cookie}");
        assert_eq!(browser.get("/namespaces/default").status, 200);
    }

    /// Given tokens that nobody issued, the page asks again and says why.
    async fn a_bad_token_begins_none(hub: Hub) {
        let (good, mut browser) = (hub.token(), Browser::new(&hub));
        let another = Hub::start(Database::Sqlite).await.token();
        let short = issue(&hub, &["--subject", "a", "--ttl", "1s"]);
        let many: Vec<String> = (0..60).map(|each| format!("group-with-a-long-name-{each:040}")).collect();
        let mut large = vec!["--subject", "a", "--ttl", "1h"];
        many.iter().for_each(|group| large.extend(["--group", group]));
        let large = issue(&hub, &large);
        for (token, reason) in [
            ("", "TOKEN_MALFORMED"),
            ("x", "TOKEN_MALFORMED"),
            (another.as_str(), "TOKEN_INVALID"),
            (&format!("{}AAAAAAAAAA", &good[..good.len() - 10]), "TOKEN_INVALID"),
            (&large, "TOKEN_MALFORMED"),
        ] {
            let answer = browser.post("/sign-in", &[("token", token), ("next", "//evil.example")]);
            assert_eq!((answer.status, answer.reason()), (401, reason), "{token}: {answer:?}");
            assert_eq!(answer.header("set-cookie"), "");
            assert!(token.len() < 9 || !answer.body.contains(token), "the token is not repeated");
            assert!(!answer.body.contains("evil"), "{answer:?}");
        }
        drop(short);
    }

    /// Given a cookie of which one byte was changed, or that another server sealed, nobody is signed in.
    async fn a_cookie_is_sealed(hub: Hub) {
        let browser = Browser::signed_in(&hub, &hub.token());
        let (name, value) = browser.cookie.split_once('=').expect("a cookie");
        for at in (0..value.len()).step_by(97).chain([value.len() - 1]) {
            let mut changed = value.as_bytes().to_vec();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let cookie = format!("{name}={}", String::from_utf8(changed).expect("text"));
            let answer = Browser { cookie, ..browser.clone() }.get("/");
            // The last letter has bits that no byte has.
            assert_eq!(answer.status, 401, "letter {at}");
        }
        for cookie in [format!("{name}="), format!("{name}={}", hub.token()), format!("{name}={value}; {name}={value}")] {
            assert_eq!(Browser { cookie: cookie.clone(), ..browser.clone() }.get("/").status, 401, "{cookie}");
        }
        let another = Hub::start(Database::Sqlite).await;
        let foreign = Browser::signed_in(&another, &another.token());
        let (_, value) = foreign.cookie.split_once('=').expect("a cookie");
        assert_eq!(Browser { cookie: format!("{name}={value}"), ..browser.clone() }.get("/").status, 401);
    }

    /// Given a restart, as given another replica, the session goes on: no server keeps anything of it.
    async fn a_session_outlives_the_server(hub: Hub) {
        let browser = Browser::signed_in(&hub, &hub.token());
        let (_, value) = browser.cookie.split_once('=').expect("a cookie");
        let value = value.to_owned();
        let hub = hub.restart_in_order().await;
        let again = Browser::new(&hub);
        let port = again.address.rsplit(':').next().expect("a port").to_owned();
        let again = Browser { cookie: format!("policyhub-console-{port}={value}"), ..again };
        assert_eq!(again.get("/").status, 200);
    }

    /// Given a token that is revoked, its session ends at the next page.
    async fn a_revoked_token_ends_the_session(hub: Hub) {
        let token = issue(&hub, &["--subject", "admin", "--ttl", "1h"]);
        let browser = Browser::signed_in(&hub, &token);
        assert_eq!(browser.get("/").status, 200);
        let file = hub.dir.path().join("lost.token");
        std::fs::write(&file, &token).expect("written");
        let revoked = hub.cli().args(["token", "revoke", "--reason", "lost", "--file"]).arg(&file).output();
        assert!(revoked.expect("the binary runs").status.success());
        let mut waited = 0;
        let ended = loop {
            let answer = browser.get("/");
            if answer.status != 200 {
                break answer;
            }
            waited += 1;
            assert!(waited < 10_000, "the session goes on");
        };
        assert_eq!((ended.status, ended.reason()), (401, "TOKEN_REVOKED"), "{ended:?}");
    }

    /// Given a form that signs out, the browser forgets the session; a form without its token does not.
    async fn signing_out_takes_the_form_of_the_session(hub: Hub) {
        let mut browser = Browser::signed_in(&hub, &hub.token());
        let form_token = browser.get("/").form_token();
        let other = Browser::signed_in(&hub, &hub.token()).get("/").form_token();
        for wrong in ["", "x", other.as_str()] {
            let answer = browser.post("/sign-out", &[("form_token", wrong)]);
            assert_eq!((answer.status, answer.reason()), (403, "PERMISSION_DENIED"), "{answer:?}");
        }
        assert_eq!(browser.get("/").status, 200);
        let answer = browser.post("/sign-out", &[("form_token", &form_token)]);
        assert_eq!((answer.status, answer.header("location")), (303, "/sign-in"));
        assert!(answer.header("set-cookie").contains("Max-Age=0"), "{answer:?}");
        assert_eq!(browser.get("/").status, 401);
    }

    /// Given the code of `policyhub console`, the page says whom it signs in, opening it does nothing, and it is used once.
    async fn a_code_signs_in_once(hub: Hub) {
        let path = ask_for_code(&hub);
        let mut browser = Browser::new(&hub);
        for _ in 0..2 {
            let page = browser.get(&path);
            assert_eq!((page.status, page.header("set-cookie")), (200, ""), "{page:?}");
            assert!(page.body.contains("Sign in as local:admin"), "{page:?}");
        }
        let code = between(&browser.get(&path).body, "name=\"code\" value=\"", "\"").to_owned();
        let answer = browser.post("/sign-in/code", &[("code", &code)]);
        assert_eq!((answer.status, answer.header("location")), (303, "/"), "{answer:?}");
        assert_eq!(browser.get("/").status, 200);
        let mut second = Browser::new(&hub);
        let answer = second.post("/sign-in/code", &[("code", &code)]);
        assert_eq!((answer.status, answer.reason()), (401, "TOKEN_INVALID"), "used: {answer:?}");
        assert_eq!(second.get(&path).status, 401);
        assert_eq!(second.post("/sign-in/code", &[("code", "")]).status, 401);
    }

    /// Given a caller without a good token, there is no code.
    async fn a_code_is_for_who_shows_a_token(hub: Hub) {
        let browser = Browser::new(&hub);
        let bearer = format!("Bearer {}", hub.token());
        for (headers, status) in [
            (&[][..], 401),
            (&[("authorization", "Bearer x")], 401),
            (&[("authorization", bearer.as_str()), ("authorization", bearer.as_str())], 401),
            (&[("authorization", bearer.as_str())], 200),
        ] {
            assert_eq!(browser.send("POST", "/sign-in/codes", headers, "").status, status, "{headers:?}");
        }
        let signed_in = Browser::signed_in(&hub, &hub.token());
        assert_eq!(signed_in.send("POST", "/sign-in/codes", &[], "").status, 401, "a cookie is no token");
        let output = hub.cli().args(["console", "--console", &hub.http]).output().expect("the binary runs");
        assert!(!output.status.success(), "that is no console");
        let far = hub.cli().args(["console", "--console", "http://hub.example:7072"]).output().expect("the binary runs");
        assert_eq!(far.status.code(), Some(2), "the token would cross the network");
    }
}

/// Given a token of an hour and one of a month, sessions end with the token, and after 12 hours at the latest.
#[tokio::test]
async fn a_session_ends_with_its_token_and_its_day() {
    let dir = Arc::new(tempfile::tempdir().expect("a temporary directory"));
    clock::build(dir.path());
    let url = format!("sqlite://{}", dir.path().join("data/policyhub.db").display());
    let hub = Hub::start_on(dir.clone(), url, &[]).await;
    let hour = Browser::signed_in(&hub, &issue(&hub, &["--subject", "admin", "--ttl", "1h"]));
    let month = Browser::signed_in(&hub, &issue(&hub, &["--subject", "admin", "--ttl", "30d"]));
    let path = ask_for_code(&hub);
    let status = |browser: &Browser| browser.get("/").status;
    assert_eq!((status(&hour), status(&month), Browser::new(&hub).get(&path).status), (200, 200, 200));
    clock::shift(dir.path(), 61);
    assert_eq!(Browser::new(&hub).get(&path).status, 401, "the minute of the code is over");
    clock::shift(dir.path(), 60 * 60 + 10);
    let ended = hour.get("/");
    assert_eq!((ended.status, ended.reason()), (401, "TOKEN_EXPIRED"), "{ended:?}");
    assert_eq!(status(&month), 200);
    clock::shift(dir.path(), 12 * 60 * 60 - 60);
    assert_eq!(status(&month), 200);
    clock::shift(dir.path(), 12 * 60 * 60 + 1);
    let ended = month.get("/");
    assert_eq!((ended.status, ended.reason()), (401, "TOKEN_EXPIRED"), "{ended:?}");
}
