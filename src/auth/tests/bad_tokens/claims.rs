//! Invalid claims under valid signatures: RFC 8725 §2.6, §3.3 and §3.7 to §3.9.

use serde_json::{Value, json};

use super::Cases;
use super::bench::{
    Bench, CORP_ISSUER, NOW, bearer, claims_and, claims_with, claims_without, corp_claims, corp_claims_with,
};
use crate::auth::claims::CLOCK_LEEWAY;
use crate::auth::issuer::LOCAL_ISSUER;
use crate::domain::Reason::{self, TokenAudience, TokenExpired, TokenInvalid};
use crate::domain::limits::TOKEN_LIFETIME_MAX_SECONDS;

pub(super) fn cases(bench: &Bench) -> Cases {
    let local =
        |(name, claims, reason): (&str, String, Reason)| (name.to_owned(), bearer(&bench.claims(&claims)), reason);
    let corp = |(name, claims): (&str, String)| {
        (format!("{name}, of a provider"), bearer(&bench.corp(&bench.corp_header(), &claims)))
    };
    let mut cases: Cases =
        [audiences(), times(), subjects(), twice(), documents()].concat().into_iter().map(local).collect();
    cases.extend(of_a_provider().into_iter().map(|case| {
        let (name, header) = corp((case.0, case.1));
        (name, header, case.2)
    }));
    cases
}

type CaseClaims = Vec<(&'static str, String, Reason)>;

fn each(claim: &str, reason: Reason, values: Vec<(&'static str, Value)>) -> CaseClaims {
    values.into_iter().map(|(name, value)| (name, claims_with(claim, value), reason)).collect()
}

fn audiences() -> CaseClaims {
    let mut cases = each(
        "aud",
        TokenAudience,
        vec![
            ("other audience", json!("billing")),
            ("audience by prefix", json!("policyhub2")),
            ("audience by suffix", json!("my-policyhub")),
            ("part of the audience", json!("policy")),
            ("audience in upper case", json!("POLICYHUB")),
            ("audience with a space", json!("policyhub ")),
            ("audience with a slash", json!("policyhub/")),
            ("audience of a provider", json!("hub")),
            ("audience of any", json!("*")),
            ("audiences in one text", json!("policyhub other")),
            ("audience empty", json!("")),
            ("other audiences", json!(["a", "b"])),
            ("no audience in the list", json!([])),
        ],
    );
    cases.extend(each(
        "aud",
        TokenInvalid,
        vec![
            ("audience a number", json!(5)),
            ("audience an object", json!({"policyhub": true})),
            ("audience a mixed list", json!(["policyhub", 5])),
            ("audience a list in a list", json!([["policyhub"]])),
            ("audience null", json!(null)),
        ],
    ));
    cases.extend(each(
        "iss",
        TokenInvalid,
        vec![
            ("other issuer", json!("https://evil.example")),
            ("issuer by prefix", json!(format!("{LOCAL_ISSUER}2"))),
            ("part of the issuer", json!("policyhub")),
            ("issuer in upper case", json!(LOCAL_ISSUER.to_uppercase())),
            ("issuer with a slash", json!(format!("{LOCAL_ISSUER}/"))),
            ("issuer in a list", json!([LOCAL_ISSUER, "x"])),
            ("issuer null", json!(null)),
            ("issuer empty", json!("")),
            ("issuer's short name", json!("local")),
        ],
    ));
    cases
}

fn times() -> CaseClaims {
    let expired_elsewhere = json!({"iss": LOCAL_ISSUER, "sub": "admin", "aud": "x", "exp": NOW - 3_600}).to_string();
    let mut cases = vec![("expired, other audience", expired_elsewhere, TokenAudience)];
    cases.extend(each(
        "exp",
        TokenExpired,
        vec![
            ("expired", json!(NOW - 3_600)),
            ("expired at the edge", json!(NOW - CLOCK_LEEWAY.seconds())),
            ("expired in 1970", json!(0)),
        ],
    ));
    cases.extend(each(
        "exp",
        TokenInvalid,
        vec![
            ("exp before 1970", json!(-1)),
            ("exp the least there is", json!(i64::MIN)),
            ("exp a text", json!((NOW + 60).to_string())),
            ("exp a fraction", json!(1.8e9 + 60.5)),
            ("exp a round float", json!(1.8e9 + 60.0)),
            ("exp 1e300", json!(1e300)),
            ("exp beyond i64", json!(u64::MAX)),
            ("exp the most there is", json!(i64::MAX)),
            ("exp in milliseconds", json!((NOW + 60) * 1_000)),
            ("exp in 367 days", json!(NOW + TOKEN_LIFETIME_MAX_SECONDS + 24 * 60 * 60)),
            ("exp null", json!(null)),
            ("exp true", json!(true)),
            ("exp a list", json!([NOW + 60])),
        ],
    ));
    for (name, claims) in [
        ("exp with a huge exponent", claims_with("exp", json!(1)).replace("\"exp\":1", "\"exp\":1e999999999")),
        ("exp in hexadecimal", claims_with("exp", json!(1)).replace("\"exp\":1", "\"exp\":0x7fffffff")),
        ("exp NaN", claims_with("exp", json!(1)).replace("\"exp\":1", "\"exp\":NaN")),
        ("exp Infinity", claims_with("exp", json!(1)).replace("\"exp\":1", "\"exp\":Infinity")),
        ("exp with a zero before", claims_with("exp", json!(1)).replace("\"exp\":1", "\"exp\":01800000060")),
        ("exp with a plus", claims_with("exp", json!(1)).replace("\"exp\":1", "\"exp\":+1800000060")),
    ] {
        cases.push((name, claims, TokenInvalid));
    }
    let late = NOW + CLOCK_LEEWAY.seconds() + 1;
    cases.extend(each("nbf", TokenInvalid, vec![("nbf in the future", json!(late)), ("nbf a text", json!("0"))]));
    cases.extend(each(
        "iat",
        TokenInvalid,
        vec![
            ("iat in the future", json!(NOW + 3_600)),
            ("iat a second late", json!(late)),
            ("iat a fraction", json!(1.5)),
            ("iat a text", json!("1")),
        ],
    ));
    cases
}

fn subjects() -> CaseClaims {
    let mut cases = each(
        "sub",
        TokenInvalid,
        vec![
            ("sub empty", json!("")),
            ("sub a space", json!(" ")),
            ("sub with a space before", json!(" admin")),
            ("sub with a space after", json!("admin ")),
            ("sub a number", json!(7)),
            ("sub null", json!(null)),
            ("sub a list", json!(["admin"])),
            ("sub an object", json!({"name": "admin"})),
            ("sub with a line break", json!("admin\nroot")),
            ("sub with NUL", json!("admin\u{0}")),
            ("sub with a bell", json!("\u{7}admin")),
            ("sub that looks like another", json!("\u{430}dmin")),
            ("sub in full width", json!("\u{ff41}dmin")),
            ("sub from right to left", json!("\u{202e}nimda")),
            ("sub with a zero-width space", json!("ad\u{200b}min")),
            ("sub with an accent of its own", json!("ade\u{301}min")),
            ("sub over 255", json!("a".repeat(256))),
        ],
    );
    cases.extend(each(
        "jti",
        TokenInvalid,
        vec![
            ("jti a number", json!(7)),
            ("jti over 255", json!("j".repeat(256))),
            ("jti empty", json!("")),
            ("jti with a line break", json!("a\nb")),
        ],
    ));
    cases.extend(each(
        "groups",
        TokenInvalid,
        vec![
            ("groups a number", json!(1)),
            ("groups null", json!(null)),
            ("groups a mixed list", json!(["ops", 1])),
            ("groups an object", json!({"ops": true})),
            ("groups in groups", json!([["ops"]])),
        ],
    ));
    // Bound to a certificate that is not sent, or by a proof that can't be checked here.
    cases.extend(each(
        "cnf",
        TokenInvalid,
        vec![
            ("cnf of a certificate", json!({"x5t#S256": "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0"})),
            ("cnf of a key", json!({"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"})),
            ("cnf of both", json!({"x5t#S256": "A", "jkt": "B"})),
            ("cnf of nothing", json!({})),
            ("cnf a text", json!("x5t#S256")),
        ],
    ));
    cases.extend([
        ("no aud", claims_without("aud"), TokenInvalid),
        ("no iss", claims_without("iss"), TokenInvalid),
        ("no sub", claims_without("sub"), TokenInvalid),
        ("no exp", claims_without("exp"), TokenInvalid),
    ]);
    cases
}

fn twice() -> CaseClaims {
    let cases = [
        ("sub twice", r#""sub":"root""#),
        ("sub twice, the same", r#""sub":"admin""#),
        ("exp twice", r#""exp":9999999999"#),
        ("aud twice", r#""aud":"policyhub""#),
        ("iss twice", r#""iss":"policyhub-local""#),
        ("nbf twice", r#""nbf":0,"nbf":0"#),
        ("jti twice", r#""jti":"a","jti":"b""#),
        ("groups twice", r#""groups":[],"groups":["admins"]"#),
        ("sub twice, escaped", r#""s\u0075b":"root""#),
        ("an unknown claim twice", r#""x":1,"x":2"#),
    ];
    cases.into_iter().map(|(name, members)| (name, claims_and(members), TokenInvalid)).collect()
}

fn documents() -> CaseClaims {
    let list = json!([NOW + 60, NOW, "admin", LOCAL_ISSUER, "policyhub"]).to_string();
    let good = claims_with("exp", json!(NOW + 60));
    let cases = [
        ("claims a list", list),
        ("claims a text", r#""admin""#.to_owned()),
        ("claims null", "null".to_owned()),
        ("claims not JSON", "{admin".to_owned()),
        ("claims empty", String::new()),
        ("text after the claims", format!("{good}x")),
        ("claims and claims", format!("{good}{good}")),
        ("a byte order mark before the claims", format!("\u{feff}{good}")),
        ("a comment in the claims", good.replacen(',', ",/* */", 1)),
        ("a comma at the end of the claims", good.replace('}', ",}")),
        ("claims in single quotes", good.replace('"', "'")),
        ("claims in YAML", good.replace(['{', '}', '"'], "")),
        ("NUL after the claims", format!("{good}\0")),
        ("half a surrogate", good.replace("admin", "\\ud800")),
    ];
    cases.into_iter().map(|(name, claims)| (name, claims, TokenInvalid)).collect()
}

/// Returns the cases of an identity provider, where other claims name the caller and the groups.
fn of_a_provider() -> CaseClaims {
    let without_uid = corp_claims().replace("uid", "user");
    let uid_twice = format!("{},\"uid\":\"root\"}}", corp_claims().trim_end_matches('}'));
    let with = corp_claims_with;
    vec![
        ("sub alone says who", without_uid, TokenInvalid),
        ("the claim that says who, twice", uid_twice, TokenInvalid),
        ("the claim that says who, a list", with("uid", json!(["ann"])), TokenInvalid),
        ("the claim that says who, looking like another", with("uid", json!("\u{430}nn")), TokenInvalid),
        ("audience of the local issuer", with("aud", json!("policyhub")), TokenAudience),
        ("a client's own id as audience", with("aud", json!("client-7")), TokenAudience),
        ("issuer with a slash", with("iss", json!(format!("{CORP_ISSUER}/"))), TokenInvalid),
        ("issuer over http", with("iss", json!(CORP_ISSUER.replace("https", "http"))), TokenInvalid),
        ("issuer of another tenant", with("iss", json!(format!("{CORP_ISSUER}/tenant"))), TokenInvalid),
        ("issuer with a port", with("iss", json!(format!("{CORP_ISSUER}:443"))), TokenInvalid),
        ("expired", with("exp", json!(NOW - 60)), TokenExpired),
        ("bound to a certificate", with("cnf", json!({"x5t#S256": "A"})), TokenInvalid),
    ]
}
