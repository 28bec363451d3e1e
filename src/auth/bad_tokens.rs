//! Forged, broken, borrowed and stale tokens, each with the reason it must be refused for.
//!
//! Claims and headers are written as raw JSON and, unless the case is about that, signed by the right key: what refuses
//! them is then the check the case is named after, not the signature.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, crypto};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::json;

use super::issuer::{DEFAULT_AUDIENCE, LOCAL_ISSUER, LocalIssuer};
use super::verifier::{CLOCK_LEEWAY_SECONDS, TOKEN_MAX_BYTES, TrustedKey, Verifier};
use crate::domain::Reason::{self, TokenAudience, TokenExpired, TokenInvalid, TokenMalformed, TokenMissing};

const NOW: i64 = 1_800_000_000;

struct Bench {
    private: EncodingKey,
    stranger: EncodingKey,
    ec_private: EncodingKey,
    public: Vec<u8>,
    issuer: LocalIssuer,
    verifier: Verifier,
    kid: String,
    ec_kid: String,
}

fn pem_key() -> (String, EncodingKey) {
    let pem = LocalIssuer::generate_pem().expect("pem");
    let key = EncodingKey::from_ed_pem(pem.as_bytes()).expect("key");
    (pem, key)
}

fn kid_of(token: &str) -> String {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().expect("header")).expect("base64url");
    let header: serde_json::Value = serde_json::from_slice(&header).expect("json");
    header["kid"].as_str().expect("kid").to_owned()
}

impl Bench {
    fn new() -> Self {
        let (pem, private) = pem_key();
        let issuer = LocalIssuer::from_pem(&pem, DEFAULT_AUDIENCE).expect("issuer");
        let public =
            super::provider::ed25519_key_pair(private.as_bytes()).expect("pair").public_key().as_ref().to_vec();
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("p-256");
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).expect("own key");
        let ec_public = DecodingKey::from_ec_der(pair.public_key().as_ref());
        let ec_kid = super::issuer::thumbprint(&ec_public, Algorithm::ES256).expect("thumbprint");
        let other = TrustedKey::new("other", "https://other.example", "policyhub", Algorithm::ES256, ec_public);
        let verifier =
            Verifier::new(vec![issuer.trusted_key().expect("key"), other.expect("other key")]).expect("verifier");
        let kid = kid_of(&issuer.issue("admin", 60, NOW).expect("token"));
        let ec_private = EncodingKey::from_ec_der(document.as_ref());
        Self { private, stranger: pem_key().1, ec_private, public, issuer, verifier, kid, ec_kid }
    }

    fn header(&self) -> String {
        format!(r#"{{"alg":"EdDSA","typ":"at+jwt","kid":"{}"}}"#, self.kid)
    }

    /// The good header with more members.
    fn header_and(&self, members: &str) -> String {
        format!(r#"{{"alg":"EdDSA","typ":"at+jwt","kid":"{}",{members}}}"#, self.kid)
    }

    fn signed(&self, header: &str, claims: &str) -> String {
        forge(header, claims, &self.private, Algorithm::EdDSA)
    }

    fn claims(&self, claims: &str) -> String {
        self.signed(&self.header(), claims)
    }

    fn good(&self) -> String {
        self.claims(&claims_with("exp", json!(NOW + 60)))
    }

    fn verdict(&self, header: Option<&str>) -> Result<String, Reason> {
        self.verifier.verify(header, NOW).map(|caller| caller.principal.actor()).map_err(|error| {
            let shown = format!("{error:?} {error}");
            let token = header.unwrap_or_default();
            for part in token.split(['.', ' ']).filter(|part| part.len() > 12) {
                assert!(!shown.contains(part), "{shown} repeats the token");
            }
            error.reason
        })
    }
}

fn forge(header: &str, claims: &str, key: &EncodingKey, algorithm: Algorithm) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = crypto::sign(message.as_bytes(), key, algorithm).expect("signature");
    format!("{message}.{signature}")
}

/// Good claims with one of them replaced.
fn claims_with(name: &str, value: serde_json::Value) -> String {
    let mut claims = json!({"iss": LOCAL_ISSUER, "sub": "admin", "aud": "policyhub", "exp": NOW + 60});
    claims[name] = value;
    claims.to_string()
}

fn claims_without(name: &str) -> String {
    let mut claims: serde_json::Value = serde_json::from_str(&claims_with("iat", json!(NOW))).expect("json");
    claims.as_object_mut().expect("object").remove(name).expect("a claim to take away");
    claims.to_string()
}

/// Good claims as text, with more members: the way to write one twice.
fn claims_and(members: &str) -> String {
    let good = claims_with("iat", json!(NOW));
    format!("{},{members}}}", good.trim_end_matches('}'))
}

type Cases = Vec<(&'static str, Option<String>, Reason)>;

fn refuses_all(bench: &Bench, cases: Cases) {
    for (name, header, reason) in cases {
        assert_eq!(bench.verdict(header.as_deref()), Err(reason), "{name}");
    }
}

fn bearer(token: &str) -> Option<String> {
    Some(format!("Bearer {token}"))
}

#[test]
fn good_tokens_are_taken() {
    let bench = Bench::new();
    let both = ["aud", "other"];
    let deep = format!(r#""x":{}1{}"#, "[".repeat(2_500), "]".repeat(2_500));
    let es256 = format!(r#"{{"alg":"ES256","typ":"at+jwt","kid":"{}"}}"#, bench.ec_kid);
    let foreign = claims_with("iss", json!("https://other.example"));
    for (name, header, actor) in [
        ("issued", bearer(&bench.issuer.issue("admin", 60, NOW).expect("token")), "local:admin"),
        ("forged well", bearer(&bench.good()), "local:admin"),
        ("scheme in lower case", Some(format!("bearer {}", bench.good())), "local:admin"),
        ("list of audiences", bearer(&bench.claims(&claims_with("aud", json!(["x", "policyhub"])))), "local:admin"),
        ("unknown claim", bearer(&bench.claims(&claims_with("scope", json!(both)))), "local:admin"),
        // Skipped by the parser without recursion, so that depth costs no stack.
        ("unknown claim, deep", bearer(&bench.claims(&claims_and(&deep))), "local:admin"),
        ("nbf within leeway", bearer(&bench.claims(&claims_with("nbf", json!(NOW + 5)))), "local:admin"),
        ("exp within leeway", bearer(&bench.claims(&claims_with("exp", json!(NOW - 4)))), "local:admin"),
        ("another issuer", bearer(&forge(&es256, &foreign, &bench.ec_private, Algorithm::ES256)), "other:admin"),
    ] {
        assert_eq!(bench.verdict(header.as_deref()).as_deref(), Ok(actor), "{name}");
    }
}

#[test]
fn headers_that_hold_no_token() {
    let bench = Bench::new();
    let good = bench.good();
    let parts: Vec<&str> = good.split('.').collect();
    let [header, claims, signature] = parts.as_slice() else { unreachable!("three parts") };
    let padded = STANDARD.encode(bench.header() + " ");
    refuses_all(
        &bench,
        vec![
            ("no header", None, TokenMissing),
            ("empty", Some(String::new()), TokenMalformed),
            ("scheme alone", Some("Bearer".into()), TokenMalformed),
            ("scheme and a space", Some("Bearer ".into()), TokenMalformed),
            ("token alone", Some(good.clone()), TokenMalformed),
            ("basic", Some("Basic YWRtaW46YWRtaW4=".into()), TokenMalformed),
            ("two spaces", Some(format!("Bearer  {good}")), TokenMalformed),
            ("tab", Some(format!("Bearer\t{good}")), TokenMalformed),
            ("text after", Some(format!("Bearer {good} x")), TokenMalformed),
            ("two tokens", Some(format!("Bearer {good}, Bearer {good}")), TokenMalformed),
            ("a word", bearer("admin"), TokenMalformed),
            ("two parts", bearer(&format!("{header}.{claims}")), TokenMalformed),
            ("four parts", bearer(&format!("{good}.{signature}")), TokenMalformed),
            ("five parts, as in JWE", bearer(&format!("{good}.{claims}.{claims}")), TokenMalformed),
            ("dots alone", bearer(".."), TokenMalformed),
            ("empty header", bearer(&format!(".{claims}.{signature}")), TokenMalformed),
            ("header not base64", bearer(&format!("{{}}.{claims}.{signature}")), TokenMalformed),
            ("header padded", bearer(&format!("{padded}==.{claims}.{signature}")), TokenMalformed),
            ("signature padded", bearer(&format!("{good}==")), TokenMalformed),
            ("header not JSON", bearer(&bench.signed("alg=EdDSA", "{}")), TokenMalformed),
            ("header cut short", bearer(&bench.signed(r#"{"alg":"EdDSA""#, "{}")), TokenMalformed),
            ("text after the header", bearer(&bench.signed(&(bench.header() + "x"), "{}")), TokenMalformed),
            ("JSON serialisation", bearer(r#"{"payload":"e30","signatures":[]}"#), TokenMalformed),
            ("over 8 KiB", bearer(&"a".repeat(TOKEN_MAX_BYTES + 1)), TokenMalformed),
            (
                "good but over 8 KiB",
                bearer(&bench.claims(&claims_with("x", json!("x".repeat(TOKEN_MAX_BYTES))))),
                TokenMalformed,
            ),
        ],
    );
}

#[test]
fn protected_headers_that_ask_for_more() {
    let bench = Bench::new();
    let claims = claims_with("exp", json!(NOW + 60));
    let kid = &bench.kid;
    let jwk = r#""jwk":{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    let headers = [
        ("crit", bench.header_and(r#""crit":["b64"],"b64":false"#)),
        ("empty crit", bench.header_and(r#""crit":[]"#)),
        ("unknown crit", bench.header_and(r#""crit":["x-new"]"#)),
        ("b64", bench.header_and(r#""b64":false"#)),
        ("jku", bench.header_and(r#""jku":"https://evil.example/jwks""#)),
        ("jwk", bench.header_and(jwk)),
        ("x5u", bench.header_and(r#""x5u":"https://evil.example/c""#)),
        ("x5c", bench.header_and(r#""x5c":["MA=="]"#)),
        ("x5t", bench.header_and(r#""x5t":"AAAA""#)),
        ("zip", bench.header_and(r#""zip":"DEF""#)),
        ("enc", bench.header_and(r#""enc":"A128GCM""#)),
        ("cty", bench.header_and(r#""cty":"JWT""#)),
        ("kid twice", bench.header_and(&format!(r#""kid":"{kid}""#))),
        ("alg twice", bench.header_and(r#""alg":"none""#)),
        ("no typ", format!(r#"{{"alg":"EdDSA","kid":"{kid}"}}"#)),
        ("no kid", r#"{"alg":"EdDSA","typ":"at+jwt"}"#.to_owned()),
        ("no alg", format!(r#"{{"typ":"at+jwt","kid":"{kid}"}}"#)),
        ("kid null", r#"{"alg":"EdDSA","typ":"at+jwt","kid":null}"#.to_owned()),
        ("typ JWT", format!(r#"{{"alg":"EdDSA","typ":"JWT","kid":"{kid}"}}"#)),
        ("typ of a bundle", format!(r#"{{"alg":"EdDSA","typ":"policyhub-bundle+jws","kid":"{kid}"}}"#)),
        ("typ of a checkpoint", format!(r#"{{"alg":"EdDSA","typ":"policyhub-checkpoint+jws","kid":"{kid}"}}"#)),
        ("unknown kid", r#"{"alg":"EdDSA","typ":"at+jwt","kid":"unknown"}"#.to_owned()),
        ("kid is a path", r#"{"alg":"EdDSA","typ":"at+jwt","kid":"../../etc/passwd"}"#.to_owned()),
        ("kid is SQL", r#"{"alg":"EdDSA","typ":"at+jwt","kid":"' OR 1=1 --"}"#.to_owned()),
        ("header is a list", format!(r#"["EdDSA","at+jwt","{kid}"]"#)),
        ("header is a text", r#""EdDSA""#.to_owned()),
    ];
    let cases = headers.iter().map(|(name, header)| (*name, bearer(&bench.signed(header, &claims)), TokenInvalid));
    refuses_all(&bench, cases.collect());
}

#[test]
fn algorithms_and_keys_that_do_not_belong() {
    let bench = Bench::new();
    let claims = claims_with("exp", json!(NOW + 60));
    let named = |alg: &str, kid: &str| format!(r#"{{"alg":"{alg}","typ":"at+jwt","kid":"{kid}"}}"#);
    let unsigned =
        |alg: &str| format!("{}.{}.", URL_SAFE_NO_PAD.encode(named(alg, &bench.kid)), URL_SAFE_NO_PAD.encode(&claims));
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(named("HS256", &bench.kid)), URL_SAFE_NO_PAD.encode(&claims));
    let public_as_secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &bench.public);
    let tag = URL_SAFE_NO_PAD.encode(ring::hmac::sign(&public_as_secret, message.as_bytes()));
    let ed_kid = &bench.kid;
    let other_claims = bench.claims(&claims_with("sub", json!("root")));
    let borrowed = format!(
        "{}.{}",
        bench.good().rsplit_once('.').expect("three parts").0,
        other_claims.rsplit_once('.').expect("three parts").1
    );
    refuses_all(
        &bench,
        vec![
            ("alg none", bearer(&unsigned("none")), TokenInvalid),
            ("alg None", bearer(&unsigned("None")), TokenInvalid),
            ("alg empty", bearer(&unsigned("")), TokenInvalid),
            ("EdDSA unsigned", bearer(&unsigned("EdDSA")), TokenInvalid),
            ("HS256 with the public key", bearer(&format!("{message}.{tag}")), TokenInvalid),
            ("RS256 named", bearer(&bench.signed(&named("RS256", ed_kid), &claims)), TokenInvalid),
            ("alg in lower case", bearer(&bench.signed(&named("eddsa", ed_kid), &claims)), TokenInvalid),
            ("alg Ed25519", bearer(&bench.signed(&named("Ed25519", ed_kid), &claims)), TokenInvalid),
            ("ES256 named, EdDSA key", bearer(&bench.signed(&named("ES256", ed_kid), &claims)), TokenInvalid),
            (
                "ES256 key under the EdDSA kid",
                bearer(&forge(&named("EdDSA", ed_kid), &claims, &bench.ec_private, Algorithm::ES256)),
                TokenInvalid,
            ),
            (
                "a stranger's key",
                bearer(&forge(&bench.header(), &claims, &bench.stranger, Algorithm::EdDSA)),
                TokenInvalid,
            ),
            ("signature of another token", bearer(&borrowed), TokenInvalid),
            (
                "one issuer speaking for another",
                bearer(&forge(&named("ES256", &bench.ec_kid), &claims, &bench.ec_private, Algorithm::ES256)),
                TokenInvalid,
            ),
        ],
    );
}

#[test]
fn claims_that_do_not_hold() {
    let bench = Bench::new();
    let with = |name: &str, value: serde_json::Value| bearer(&bench.claims(&claims_with(name, value)));
    let and = |members: &str| bearer(&bench.claims(&claims_and(members)));
    let without = |name: &str| bearer(&bench.claims(&claims_without(name)));
    let list = json!([NOW + 60, NOW, "admin", LOCAL_ISSUER, "policyhub"]).to_string();
    refuses_all(
        &bench,
        vec![
            ("expired", with("exp", json!(NOW - 3_600)), TokenExpired),
            ("expired at the edge", with("exp", json!(NOW - CLOCK_LEEWAY_SECONDS)), TokenExpired),
            ("expired in 1970", with("exp", json!(0)), TokenExpired),
            ("exp before 1970", with("exp", json!(-1)), TokenInvalid),
            (
                "expired, other audience",
                bearer(
                    &bench.claims(&format!(
                        r#"{{"iss":"{LOCAL_ISSUER}","sub":"admin","aud":"x","exp":{}}}"#,
                        NOW - 3_600
                    )),
                ),
                TokenAudience,
            ),
            ("other audience", with("aud", json!("billing")), TokenAudience),
            ("audience by prefix", with("aud", json!("policyhub2")), TokenAudience),
            ("audience in upper case", with("aud", json!("POLICYHUB")), TokenAudience),
            ("other audiences", with("aud", json!(["a", "b"])), TokenAudience),
            ("no audience in the list", with("aud", json!([])), TokenAudience),
            ("audience a number", with("aud", json!(5)), TokenInvalid),
            ("audience a mixed list", with("aud", json!(["policyhub", 5])), TokenInvalid),
            ("audience null", with("aud", json!(null)), TokenInvalid),
            ("no aud", without("aud"), TokenInvalid),
            ("no iss", without("iss"), TokenInvalid),
            ("no sub", without("sub"), TokenInvalid),
            ("no exp", without("exp"), TokenInvalid),
            ("other issuer", with("iss", json!("https://evil.example")), TokenInvalid),
            ("issuer in a list", with("iss", json!([LOCAL_ISSUER, "x"])), TokenInvalid),
            ("exp a text", with("exp", json!((NOW + 60).to_string())), TokenInvalid),
            ("exp a fraction", with("exp", json!(1.8e9 + 60.5)), TokenInvalid),
            ("exp 1e300", with("exp", json!(1e300)), TokenInvalid),
            ("exp beyond i64", with("exp", json!(u64::MAX)), TokenInvalid),
            ("exp null", with("exp", json!(null)), TokenInvalid),
            ("exp true", with("exp", json!(true)), TokenInvalid),
            ("nbf in the future", with("nbf", json!(NOW + CLOCK_LEEWAY_SECONDS + 1)), TokenInvalid),
            ("nbf a text", with("nbf", json!("0")), TokenInvalid),
            ("iat in the future", with("iat", json!(NOW + 3_600)), TokenInvalid),
            ("iat a fraction", with("iat", json!(1.5)), TokenInvalid),
            ("sub empty", with("sub", json!("")), TokenInvalid),
            ("sub a number", with("sub", json!(7)), TokenInvalid),
            ("sub with a line break", with("sub", json!("admin\nroot")), TokenInvalid),
            ("sub that looks like another", with("sub", json!("\u{430}dmin")), TokenInvalid),
            ("sub over 255", with("sub", json!("a".repeat(256))), TokenInvalid),
            ("sub twice", and(r#""sub":"root""#), TokenInvalid),
            ("exp twice", and(r#""exp":9999999999"#), TokenInvalid),
            ("aud twice", and(r#""aud":"policyhub""#), TokenInvalid),
            ("iss twice", and(r#""iss":"policyhub-local""#), TokenInvalid),
            ("nbf twice", and(r#""nbf":0,"nbf":0"#), TokenInvalid),
            ("sub twice, escaped", and(r#""s\u0075b":"root""#), TokenInvalid),
            ("claims a list", bearer(&bench.claims(&list)), TokenInvalid),
            ("claims a text", bearer(&bench.claims(r#""admin""#)), TokenInvalid),
            ("claims not JSON", bearer(&bench.claims("{admin")), TokenInvalid),
            ("claims empty", bearer(&bench.claims("")), TokenInvalid),
        ],
    );
}

#[test]
fn no_single_character_can_change() {
    let bench = Bench::new();
    let good = bench.good();
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

#[test]
fn a_key_is_trusted_for_one_issuer() {
    let bench = Bench::new();
    let again = TrustedKey::ed25519("second", "https://second.example", "policyhub", &bench.public).expect("key");
    let error = Verifier::new(vec![bench.issuer.trusted_key().expect("key"), again]).expect_err("must be refused");
    assert_eq!(error.reason, Reason::Internal);
    for (name, iss, aud) in [("a:b", "i", "a"), ("", "i", "a"), ("n", "", "a"), ("n", "i", "")] {
        assert!(TrustedKey::ed25519(name, iss, aud, &bench.public).is_err(), "{name:?} {iss:?} {aud:?}");
    }
}

#[test]
fn a_token_for_one_store_is_not_for_another() {
    let (pem, _) = pem_key();
    let token = LocalIssuer::from_pem(&pem, "hub-a").expect("issuer").issue("admin", 60, NOW).expect("token");
    let other = LocalIssuer::from_pem(&pem, "hub-b").expect("issuer").verifier().expect("verifier");
    let reason = other.verify(bearer(&token).as_deref(), NOW).map_err(|error| error.reason);
    assert_eq!(reason, Err(TokenAudience));
}

#[test]
fn the_header_is_refused_before_the_library_sees_it() {
    let bench = Bench::new();
    let header = format!(r#"{{"alg":"ES256","typ":"at+jwt","kid":"{}"}}"#, bench.kid);
    let token = bench.signed(&header, &claims_with("exp", json!(NOW + 60)));
    let error = bench.verifier.verify(bearer(&token).as_deref(), NOW).expect_err("must be refused");
    assert_eq!(error.message, "token algorithm is not its key's");
}
