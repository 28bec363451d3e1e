//! `auth::Verifier`: an accepted caller is the subject that the issuer named, for this audience, and at this time.
//!
//! The first byte chooses: a header as it is, claims that are signed here, or a subject whose token is changed at one place.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use policyhub::auth::issuer::{DEFAULT_AUDIENCE, LOCAL_ISSUER};
use policyhub::auth::{LocalIssuer, Verifier};
use serde_json::Value;

use super::keys::{SIGNER, SIGNER_PEM};
use super::texts;

const NOW: i64 = 1_700_000_000;
/// More than the permitted clock difference.
const SKEW_SECONDS: i64 = 60;

static ISSUER: LazyLock<LocalIssuer> =
    LazyLock::new(|| LocalIssuer::from_pem(SIGNER_PEM, DEFAULT_AUDIENCE).expect("an issuer"));
static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| ISSUER.verifier().expect("a verifier"));

pub fn check(input: &[u8]) {
    let Some((choice, rest)) = input.split_first() else { return };
    match (choice % 3, rest) {
        (0, header) => {
            if let Ok(header) = std::str::from_utf8(header) {
                accepted(header);
            }
        }
        (1, claims) => accepted(&format!("Bearer {}", signed(&protected_header(), claims))),
        (_, [place_high, place_low, change, subject @ ..]) => {
            let place = usize::from(*place_high) << 8 | usize::from(*place_low);
            if let Ok(subject) = std::str::from_utf8(subject) {
                harmed(subject, place, *change);
            }
        }
        _ => {}
    }
}

/// Checks an accepted token with another JSON parser.
fn accepted(header: &str) {
    let Ok(caller) = VERIFIER.verify(Some(header), NOW) else { return };
    let (scheme, token) = header.split_once(' ').expect("two words");
    assert!(scheme.eq_ignore_ascii_case("bearer"));
    let parts: Vec<&str> = token.split('.').collect();
    let [protected, claims, signature] = parts.as_slice() else { panic!("not three parts") };
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).expect("base64url");
    assert!(SIGNER.public().verify(format!("{protected}.{claims}").as_bytes(), &decode(signature)), "not signed");
    let protected: Value = serde_json::from_slice(&decode(protected)).expect("JSON");
    assert_eq!((&protected["alg"], &protected["typ"]), (&Value::from("EdDSA"), &Value::from("at+jwt")));
    assert_eq!(protected.as_object().map(serde_json::Map::len), Some(3));
    // The library skips members that it does not use: an issuer that signs such a token harms only itself.
    let Ok(claims) = serde_json::from_slice::<Value>(&decode(claims)) else { return };
    assert_eq!(claims["iss"], Value::from(LOCAL_ISSUER));
    assert_eq!(claims["sub"], Value::from(caller.principal.subject.as_str()));
    let ours = Value::from(DEFAULT_AUDIENCE);
    assert!(claims["aud"] == ours || claims["aud"].as_array().is_some_and(|all| all.contains(&ours)), "not for us");
    assert!(claims["exp"].as_i64().is_some_and(|exp| exp > NOW - SKEW_SECONDS), "expired");
    assert!(claims["nbf"].is_null() || claims["nbf"].as_i64().is_some_and(|nbf| nbf < NOW + SKEW_SECONDS), "too early");
    assert!((1..=255).contains(&caller.principal.subject.len()) && caller.principal.subject.is_ascii());
}

fn harmed(subject: &str, place: usize, change: u8) {
    let Ok(token) = ISSUER.issue(subject, 60, NOW) else { return };
    let caller = VERIFIER.verify(Some(&format!("Bearer {token}")), NOW).expect("what was issued verifies");
    assert_eq!(caller.principal.subject, subject);
    assert!(VERIFIER.verify(Some(&format!("Bearer {token}")), NOW + 60 + SKEW_SECONDS).is_err(), "it ends");
    let mut harmed = token.clone().into_bytes();
    let at = place % harmed.len();
    harmed[at] ^= change;
    if let Ok(harmed) = String::from_utf8(harmed)
        && harmed != token
    {
        assert!(VERIFIER.verify(Some(&format!("Bearer {harmed}")), NOW).is_err(), "{at}: another token verifies");
    }
}

fn protected_header() -> String {
    format!(r#"{{"alg":"EdDSA","typ":"at+jwt","kid":"{}"}}"#, SIGNER.public().key_id())
}

fn signed(header: &str, claims: &[u8]) -> String {
    let covered = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = SIGNER.sign(covered.as_bytes()).expect("signed");
    format!("{covered}.{}", URL_SAFE_NO_PAD.encode(signature))
}

pub fn seeds() -> Vec<Vec<u8>> {
    let claims = |rest: &str| {
        format!("\u{1}{{\"iss\":\"{LOCAL_ISSUER}\",\"sub\":\"ann\",\"aud\":\"{DEFAULT_AUDIENCE}\"{rest}}}")
    };
    let good = format!(",\"exp\":{}", NOW + 60);
    let whole = claims(&good);
    let mut all = texts(&[
        &whole,
        &claims(&format!("{good},\"nbf\":{NOW},\"iat\":{NOW}")),
        &claims(",\"exp\":1"),
        &claims(&format!("{good},\"sub\":\"bob\"")),
        &format!("\u{1}{{\"iss\":[\"{LOCAL_ISSUER}\"],\"sub\":\"ann\",\"aud\":[\"x\",\"{DEFAULT_AUDIENCE}\"]{good}}}"),
        &format!("\0Bearer {}", signed(&protected_header(), &whole.as_bytes()[1..])),
        &format!("\0Bearer {}", signed(r#"{"alg":"none","typ":"at+jwt","kid":"x"}"#, &whole.as_bytes()[1..])),
        &format!("\0Bearer {}", signed(&protected_header().replace("at+jwt", "JWT"), &whole.as_bytes()[1..])),
        "\0Basic eDp5",
    ]);
    all.push(b"\x02\x00\x50\x01ann".to_vec());
    all
}
