//! Forged, broken, stolen and expired tokens, each with the expected reason of refusal: every class of RFC 8725.
//!
//! Claims and headers are written as raw JSON and, unless the case is about that, signed by the right key: then the check after
//! which the case is named refuses them, and not the signature. Valid tokens of each issuer are tested beside them.

mod bench;
mod claims;
mod headers;
mod keys;
mod shapes;

use std::collections::BTreeSet;

use jsonwebtoken::Algorithm;
use serde_json::json;

use self::bench::{
    Bench, CORP_ISSUER, EC_KID, NOW, PSS_KID, RSA_KID, bearer, claims_and, claims_with, corp_claims, corp_claims_with,
    forge,
};
use crate::auth::issuer::{DEFAULT_AUDIENCE, LocalIssuer};
use crate::auth::verifier::Verifier;
use crate::domain::Reason;

/// Name of the case, the `authorization` header, and the expected reason.
type Cases = Vec<(String, Option<String>, Reason)>;

/// Fewest cases, as the threat model promises.
const CASES_MIN: usize = 150;

fn all(bench: &Bench) -> Cases {
    [shapes::cases(bench), headers::cases(bench), keys::cases(bench), claims::cases(bench)].concat()
}

#[test]
fn no_bad_token_is_taken() {
    let bench = Bench::new();
    let cases = all(&bench);
    let names: BTreeSet<&String> = cases.iter().map(|(name, _, _)| name).collect();
    assert_eq!(names.len(), cases.len(), "two cases of one name");
    assert!(cases.len() >= CASES_MIN, "{} cases", cases.len());
    for (name, header, reason) in cases {
        assert_eq!(bench.verdict(header.as_deref()), Err(reason), "{name}");
    }
}

#[test]
fn good_tokens_are_taken() {
    let bench = Bench::new();
    let both = ["aud", "other"];
    let deep = format!(r#""x":{}1{}"#, "[".repeat(2_500), "]".repeat(2_500));
    let corp = |header: &str| bearer(&bench.corp(header, &corp_claims()));
    let ec = |members: &str| format!(r#"{{"alg":"ES256","typ":"at+jwt","kid":"{EC_KID}"{members}}}"#);
    let rsa = |alg: &str, kid: &str| {
        let header = format!(r#"{{"alg":"{alg}","typ":"JWT","kid":"{kid}"}}"#);
        bearer(&bench.rsa(&header, &corp_claims(), alg))
    };
    for (name, header, actor) in [
        ("issued", bearer(&bench.issuer.issue("admin", 60, NOW).expect("token")), "local:admin"),
        ("forged well", bearer(&bench.good()), "local:admin"),
        ("scheme in lower case", Some(format!("bearer {}", bench.good())), "local:admin"),
        ("list of audiences", bearer(&bench.claims(&claims_with("aud", json!(["x", "policyhub"])))), "local:admin"),
        ("unknown claim", bearer(&bench.claims(&claims_with("scope", json!(both)))), "local:admin"),
        // Skipped by the parser without recursion, so that depth uses no stack.
        ("unknown claim, deep", bearer(&bench.claims(&claims_and(&deep))), "local:admin"),
        ("nbf within leeway", bearer(&bench.claims(&claims_with("nbf", json!(NOW + 5)))), "local:admin"),
        ("exp within leeway", bearer(&bench.claims(&claims_with("exp", json!(NOW - 4)))), "local:admin"),
        ("another issuer", corp(&ec("")), "corp:ann"),
        ("typ JWT where it may be", corp(&ec("").replace("at+jwt", "JWT")), "corp:ann"),
        ("the name of a certificate", corp(&ec(r#","x5t":"AAAA","x5t#S256":"AAAA""#)), "corp:ann"),
        ("RS256", rsa("RS256", RSA_KID), "corp:ann"),
        ("PS256", rsa("PS256", PSS_KID), "corp:ann"),
    ] {
        assert_eq!(bench.verdict(header.as_deref()).as_deref(), Ok(actor), "{name}");
    }
}

#[test]
fn groups_come_from_the_claim_the_config_names() {
    let bench = Bench::new();
    let groups = |claims: String| {
        let token = bench.corp(&bench.corp_header(), &claims);
        bench.verifier.verify(bearer(&token).as_deref(), NOW).map(|caller| caller.principal.groups)
    };
    let some = corp_claims_with("roles", json!(["dev", "ops", "dev"]));
    assert_eq!(groups(some).expect("groups"), ["dev", "ops"]);
    assert_eq!(groups(corp_claims_with("roles", json!("ops"))).expect("a group"), ["ops"]);
    assert_eq!(groups(corp_claims_with("groups", json!(["root"]))).expect("none"), Vec::<String>::new());
    // Given groups that no role binding can name, then they are left out and the caller is accepted.
    let odd = json!(["", "ops", "\u{43e}ps", "ops\nadmin", "g".repeat(256)]);
    assert_eq!(groups(corp_claims_with("roles", odd)).expect("groups"), ["ops"]);
    let many: Vec<String> = (0..300).map(|number| format!("g{number:03}")).rev().collect();
    let kept = groups(corp_claims_with("roles", json!(many))).expect("groups");
    assert_eq!(
        (kept.len(), kept.first().map(String::as_str), kept.last().map(String::as_str)),
        (200, Some("g000"), Some("g199"))
    );
    let local = bench.issuer.issue_in("ci", &["ops".to_owned()], 60, NOW).expect("a token");
    let caller = bench.verifier.verify(bearer(&local).as_deref(), NOW).expect("a caller");
    assert_eq!(caller.principal.members().collect::<Vec<_>>(), ["local:ci", "group:local:ops"]);
}

#[test]
fn no_single_character_can_change() {
    let bench = Bench::new();
    for good in [bench.good(), bench.corp(&bench.corp_header(), &corp_claims())] {
        for index in 0..good.len() {
            for other in *b"A_b9.=" {
                let mut bytes = good.clone().into_bytes();
                if std::mem::replace(&mut bytes[index], other) == other {
                    continue;
                }
                let changed = format!("Bearer {}", String::from_utf8(bytes).expect("ascii"));
                assert!(bench.verdict(Some(&changed)).is_err(), "taken with character {index} changed");
            }
        }
    }
}

#[test]
fn issuers_can_be_told_apart() {
    let bench = Bench::new();
    let (rules, keys) = bench.issuer.trusted().expect("rules");
    let named = |name: &str, issuer: &str| {
        let mut rules = rules.clone();
        (rules.name, rules.issuer) = (name.to_owned(), issuer.to_owned());
        (rules, keys.clone())
    };
    Verifier::new(vec![named("a", "x"), named("b", "y")]).expect("two issuers");
    Verifier::new(vec![named("a", "x"), named("b", "x")]).expect_err("one iss");
    Verifier::new(vec![named("a", "x"), named("a", "y")]).expect_err("one name");
}

#[test]
fn a_token_for_one_store_is_not_for_another() {
    let pem = LocalIssuer::generate_pem().expect("pem");
    let token = LocalIssuer::from_pem(&pem, "hub-a").expect("issuer").issue("admin", 60, NOW).expect("token");
    let other = LocalIssuer::from_pem(&pem, "hub-b").expect("issuer").verifier().expect("verifier");
    let reason = other.verify(bearer(&token).as_deref(), NOW).map_err(|error| error.reason);
    assert_eq!(reason, Err(Reason::TokenAudience));
    let same = LocalIssuer::from_pem(&pem, DEFAULT_AUDIENCE).expect("issuer");
    assert_ne!(same.verifier().expect("verifier").key_count("local"), 0);
}

#[test]
fn the_header_is_refused_before_the_library_sees_it() {
    let bench = Bench::new();
    let header = format!(r#"{{"alg":"ES256","typ":"at+jwt","kid":"{}"}}"#, bench.kid);
    let token = forge(&header, &claims_with("exp", json!(NOW + 60)), &bench.private, Algorithm::EdDSA);
    let error = bench.verifier.verify(bearer(&token).as_deref(), NOW).expect_err("must be refused");
    assert_eq!(error.message, "token algorithm is not its key's");
}

#[test]
fn a_key_that_is_gone_ends_its_tokens_at_once() {
    let bench = Bench::new();
    let token = bearer(&bench.corp(&bench.corp_header(), &corp_claims()));
    let caller = bench.verifier.verify(token.as_deref(), NOW).expect("a caller");
    bench.verifier.recheck(&caller, NOW).expect("still good");
    assert!(!bench.verifier.take_unknown_key("corp"), "every key was known");
    bench.verifier.replace_keys("corp", bench.only_rsa());
    for (what, answer) in [
        ("a call", bench.verifier.verify(token.as_deref(), NOW).map(drop)),
        ("a stream", bench.verifier.recheck(&caller, NOW)),
    ] {
        assert_eq!(answer.map_err(|error| error.reason), Err(Reason::TokenInvalid), "{what}");
    }
    let fresh = bearer(&bench.corp(&bench.corp_header(), &corp_claims_with("jti", json!("fresh"))));
    bench.verifier.verify(fresh.as_deref(), NOW).expect_err("an unknown key");
    assert!(bench.verifier.take_unknown_key("corp"), "it is worth a look");
    assert!(!bench.verifier.take_unknown_key("corp"), "once");
    let other = bench.claims(&claims_with("iss", json!("https://evil.example")));
    bench.verifier.verify(bearer(&other).as_deref(), NOW).expect_err("no issuer of ours");
    assert!(!bench.verifier.take_unknown_key("corp"), "a stranger makes us ask nobody");
    assert_eq!(CORP_ISSUER, "https://id.example");
}
