//! Signing in at an identity provider: authorization code with PKCE, and every answer that is not to this sign-in.

use serde_json::{Value, json};

use super::browser::{Answer, Browser, between};
use crate::harness::idp::{IdpKey, jwks};
use crate::harness::sign_in_provider::{CLIENT_ID, CLIENT_SECRET, Misbehaviour, SignInProvider, TOKEN_SECONDS};
use crate::harness::{Database, Hub};

/// The number of the key of each provider.
const CORP: u8 = 1;
const OTHER: u8 = 2;

/// A server with two providers. The files of their keys last as long as it does.
struct Scene {
    hub: Hub,
    corp: SignInProvider,
    other: SignInProvider,
    _files: tempfile::TempDir,
}

impl Scene {
    /// Starts it. `more` are further members of the issuer `corp`, which has a secret; `other` is a public client.
    async fn start(more: Value) -> Self {
        let files = tempfile::tempdir().expect("a directory");
        let path = |name: &str| files.path().join(name).display().to_string();
        let (corp, other) = (SignInProvider::start(CORP), SignInProvider::start(OTHER));
        for (name, key) in [("corp.json", CORP), ("other.json", OTHER)] {
            std::fs::write(path(name), jwks(&[&IdpKey::new(key)])).expect("written");
        }
        std::fs::write(path("secret"), format!("{CLIENT_SECRET}\n")).expect("written");
        let mut first = json!({"name": "corp", "issuer": corp.issuer, "audience": "hub", "jwks": path("corp.json"),
            "client_id": CLIENT_ID, "client_secret_file": path("secret")});
        for (name, value) in more.as_object().expect("members") {
            first[name] = value.clone();
        }
        let second = json!({"name": "other", "issuer": other.issuer, "audience": "hub", "jwks": path("other.json"),
            "client_id": CLIENT_ID});
        let issuers = json!([first, second]).to_string();
        let hub = Hub::start_with(Database::Sqlite, &["--issuers", &issuers]).await;
        Self { hub, corp, other, _files: files }
    }
}

/// A sign-in that came back from the provider, and the browser with its cookie.
struct Returned {
    browser: Browser,
    path: String,
}

/// Goes to the provider and back, as far as the console's address with the code.
fn go_to(scene: &Scene, name: &str, next: &str) -> Returned {
    let mut browser = Browser::new(&scene.hub);
    let begun = browser.get(&format!("/sign-in/with/{name}?next={next}"));
    assert_eq!(begun.status, 303, "{begun:?}");
    let provider = if name == "corp" { &scene.corp } else { &scene.other };
    let path = begun.header("location").strip_prefix(&provider.issuer).expect("the provider's address").to_owned();
    browser.cookie = begun.header("set-cookie").split(';').next().unwrap_or_default().to_owned();
    let at_provider = Browser { address: provider.address.clone(), cookie: String::new() };
    let back = at_provider.get(&path);
    assert_eq!(back.status, 302, "{back:?}");
    let console = format!("http://{}", browser.address);
    let path = back.header("location").strip_prefix(&console).expect("the console's address").to_owned();
    Returned { browser, path }
}

/// Returns the cookie of the session that an answer begins; none when it begins none.
fn session(answer: &Answer) -> Option<&str> {
    let cookies = answer.headers.iter().filter(|(name, _)| name == "set-cookie").map(|(_, value)| value.as_str());
    cookies.filter(|cookie| cookie.starts_with("policyhub-console-")).find(|cookie| !cookie.contains("Max-Age=0"))
}

#[track_caller]
fn refused(answer: &Answer, what: &str) {
    assert_eq!((answer.status, session(answer)), (401, None), "{what}: {answer:?}");
    assert_eq!(answer.reason(), "TOKEN_INVALID", "{what}: {answer:?}");
    let pending = answer.header("set-cookie");
    assert!(pending.starts_with("policyhub-sign-in-") && pending.contains("Max-Age=0"), "{what} is over: {answer:?}");
}

/// Given a provider, its link signs in who comes back from it, as the caller of its token, for no longer than the token, and once.
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_from_the_provider_is_signed_in() {
    let scene = Scene::start(json!({})).await;
    let asked = Browser::new(&scene.hub).get("/namespaces/default?q=a");
    for name in ["corp", "other"] {
        let link = between(&asked.body, &format!("href=\"/sign-in/with/{name}?next="), "\"");
        assert_eq!(link, "%2Fnamespaces%2Fdefault%3Fq%3Da", "{asked:?}");
        let begun = Browser::new(&scene.hub).get(&format!("/sign-in/with/{name}?next={link}"));
        let cookie = begun.header("set-cookie");
        for flag in ["policyhub-sign-in-", "; HttpOnly", "; SameSite=Lax", "; Max-Age=600"] {
            assert!(cookie.contains(flag), "{flag} is not in {cookie}");
        }
        let state = between(begun.header("location"), "state=", "&").to_owned();
        assert!(state.len() == 43 && !cookie.contains(&state), "{begun:?}");

        let Returned { mut browser, path } = go_to(&scene, name, link);
        let answer = browser.get(&path);
        assert_eq!((answer.status, answer.header("location")), (303, "/namespaces/default?q=a"), "{answer:?}");
        let cookie = session(&answer).expect("a session").to_owned();
        let age: u64 = between(&cookie, "Max-Age=", ";")
            .parse()
            .or_else(|_| cookie.rsplit_once('=').map_or(Ok(0), |(_, age)| age.parse()))
            .expect("an age");
        assert!((1..=TOKEN_SECONDS).contains(&age), "no longer than the token: {cookie}");
        let pending = std::mem::replace(&mut browser.cookie, cookie.split(';').next().unwrap_or_default().to_owned());
        let page = browser.get("/");
        assert_eq!(page.status, 200, "{page:?}");
        assert!(page.body.contains(&format!("{name}:ann")), "{page:?}");

        refused(&Browser { cookie: pending, ..browser.clone() }.get(&path), "a code that was used");
        refused(&Browser { cookie: String::new(), ..browser.clone() }.get(&path), "another browser");
        refused(&browser.get(&path), "the session is no sign-in");
    }
}

/// Given a token that no rule takes but as ID token, the session keeps that one.
#[tokio::test(flavor = "multi_thread")]
async fn the_session_keeps_the_token_that_the_verifier_takes() {
    let scene = Scene::start(json!({"audience": CLIENT_ID, "allow_typ_jwt": true})).await;
    scene.corp.misbehave(Misbehaviour { is_opaque: true, ..Misbehaviour::default() });
    let Returned { browser, path } = go_to(&scene, "corp", "/");
    let answer = browser.get(&path);
    let cookie = session(&answer).unwrap_or_else(|| panic!("{answer:?}"));
    let browser = Browser { cookie: cookie.split(';').next().unwrap_or_default().to_owned(), ..browser };
    assert!(browser.get("/").body.contains("corp:ann"));
    scene.other.misbehave(Misbehaviour { is_opaque: true, ..Misbehaviour::default() });
    let Returned { browser, path } = go_to(&scene, "other", "/");
    let answer = browser.get(&path);
    assert_eq!((answer.status, session(&answer)), (401, None), "neither token is for this server: {answer:?}");
}

/// Given an answer that was changed, of another sign-in, or of another issuer, nobody is signed in.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_another_sign_in_signs_nobody_in() {
    let scene = Scene::start(json!({})).await;
    let corp_iss: String = scene.corp.issuer.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let other_iss: String = scene.other.issuer.bytes().map(|byte| format!("%{byte:02X}")).collect();
    type Change<'a> = (&'a str, &'a dyn Fn(&str) -> String);
    let state_of = |path: &str| between(path, "state=", "&").to_owned();
    let foreign = state_of(&go_to(&scene, "corp", "/").path);
    let changes: [Change<'_>; 7] = [
        ("the state of another sign-in", &|path| path.replace(&state_of(path), &foreign)),
        ("no state", &|path| path.replace("state=", "other=")),
        ("the beginning of the state", &|path| path.replace(&state_of(path), &state_of(path)[..20])),
        ("another issuer", &|path| path.replace(&corp_iss, &other_iss)),
        ("no issuer", &|path| path.replace("&iss=", "&other=")),
        ("no code", &|path| path.replace("code=", "other=")),
        ("a made-up code", &|path| path.replace("code=", "code=x")),
    ];
    for (what, change) in changes {
        let Returned { browser, path } = go_to(&scene, "corp", "/");
        let changed = change(&path);
        assert_ne!(changed, path, "{what}");
        refused(&browser.get(&changed), what);
    }
    // Mix-up: a code of one issuer at the address of the other, and a cookie of one with the answer of the other.
    let (at_corp, at_other) = (go_to(&scene, "corp", "/"), go_to(&scene, "other", "/"));
    refused(&at_corp.browser.get(&at_corp.path.replace("/from/corp", "/from/other")), "a code of another issuer");
    refused(&at_corp.browser.get(&at_other.path), "the answer of another issuer");
    let twice = at_other.browser.get(&format!("{}&state=x", at_other.path));
    assert_eq!((twice.status, session(&twice)), (400, None), "two states: {twice:?}");

    let Returned { browser, path } = go_to(&scene, "corp", "/");
    let (address, query) = path.split_once("?").expect("a query");
    let state = state_of(query);
    let said = "error=access_denied&error_description=%3Cb%3Eno%3C%2Fb%3E%E2%80%AE";
    let answer = browser.get(&format!("{address}?{said}&state={state}&iss={corp_iss}"));
    refused(&answer, "the provider said no");
    assert!(answer.body.contains("access_denied: &#60;b&#62;no&#60;/b&#62;\u{27e8}U+202E\u{27e9}"), "{answer:?}");
    let unasked = Browser::new(&scene.hub).get(&format!("{address}?{said}&state={state}&iss={corp_iss}"));
    assert!(!unasked.body.contains("access_denied"), "a text of whoever made the link is not shown: {unasked:?}");

    for next in ["//evil.example", "https://evil.example", "/%5Cevil.example", "%2F%2Fevil.example"] {
        let Returned { browser, path } = go_to(&scene, "corp", next);
        assert_eq!(browser.get(&path).header("location"), "/", "{next}");
    }
    assert_eq!(Browser::new(&scene.hub).get("/sign-in/with/nobody").status, 400);
}

/// Given tokens that are not to this sign-in, or not of the provider, nobody is signed in.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_sign_in_signs_nobody_in() {
    let scene = Scene::start(json!({})).await;
    let claim =
        |name: &'static str, value: Value| Misbehaviour { id_claims: vec![(name, value)], ..Default::default() };
    for how in [
        claim("nonce", json!("another")),
        claim("nonce", Value::Null),
        claim("aud", json!("another")),
        claim("aud", json!([CLIENT_ID, "another"])),
        claim("azp", json!("another")),
        claim("iss", json!(scene.other.issuer)),
        claim("exp", json!(1)),
        Misbehaviour { is_forged: true, ..Misbehaviour::default() },
    ] {
        scene.corp.misbehave(how.clone());
        let Returned { browser, path } = go_to(&scene, "corp", "/");
        let answer = browser.get(&path);
        assert_eq!((answer.status, session(&answer)), (401, None), "{how:?}: {answer:?}");
    }
    scene.corp.misbehave(Misbehaviour::default());
    let Returned { browser, path } = go_to(&scene, "corp", "/");
    assert!(session(&browser.get(&path)).is_some(), "it was the token alone");
}

/// Given metadata of another issuer, or with addresses that leave TLS, nobody is sent there.
#[tokio::test(flavor = "multi_thread")]
async fn metadata_that_can_not_be_trusted_sends_nobody_anywhere() {
    for (name, value) in [
        ("issuer", json!("https://evil.example")),
        ("authorization_endpoint", json!("http://evil.example/authorize")),
        ("authorization_endpoint", json!("javascript:alert(1)")),
        ("authorization_endpoint", json!("https://id.example/a#b")),
        ("token_endpoint", json!("http://evil.example/token")),
        ("code_challenge_methods_supported", json!(["plain"])),
        ("authorization_endpoint", json!(7)),
    ] {
        let scene = Scene::start(json!({})).await;
        scene.corp.misbehave(Misbehaviour { metadata: vec![(name, value.clone())], ..Misbehaviour::default() });
        let answer = Browser::new(&scene.hub).get("/sign-in/with/corp");
        assert_eq!((answer.status, answer.header("location")), (401, ""), "{name} {value}: {answer:?}");
        assert!(answer.body.contains("failed to sign in at corp"), "{answer:?}");
        assert!(!go_to(&scene, "other", "/").path.is_empty(), "the other provider works");
    }
}
