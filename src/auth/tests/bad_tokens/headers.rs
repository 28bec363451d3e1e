//! Protected headers with forbidden members or other types: RFC 8725 §2.7, §2.8, §2.9, §3.9 and §3.10 to §3.12.

use serde_json::json;

use super::Cases;
use super::bench::{Bench, EC_KID, NOW, bearer, claims_with, corp_claims};
use crate::domain::Reason::TokenInvalid;

/// Members that would make a reader fetch, decompress or trust something.
const MORE: [(&str, &str); 22] = [
    ("crit", r#""crit":["b64"],"b64":false"#),
    ("empty crit", r#""crit":[]"#),
    ("unknown crit", r#""crit":["x-new"],"x-new":1"#),
    ("crit of exp", r#""crit":["exp"],"exp":9999999999"#),
    ("crit null", r#""crit":null"#),
    ("b64 false", r#""b64":false"#),
    ("b64 true", r#""b64":true"#),
    ("jku", r#""jku":"https://evil.example/jwks""#),
    ("jku of this machine", r#""jku":"http://127.0.0.1:7071/.well-known/jwks.json""#),
    ("jku of a file", r#""jku":"file:///etc/passwd""#),
    ("jwk", r#""jwk":{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#),
    ("jwk of a secret", r#""jwk":{"kty":"oct","k":""}"#),
    ("x5u", r#""x5u":"https://evil.example/c""#),
    ("x5c", r#""x5c":["MA=="]"#),
    ("zip", r#""zip":"DEF""#),
    ("enc", r#""enc":"A128GCM""#),
    ("cty", r#""cty":"JWT""#),
    ("iss in the header", r#""iss":"policyhub-local""#),
    ("nonce", r#""nonce":"abc""#),
    ("p2c", r#""p2c":2147483647"#),
    ("epk", r#""epk":{"kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA"}"#),
    ("unknown member", r#""x-trace":"1""#),
];

/// Values of `typ` that are not an access token's.
const TYPES: [&str; 13] = [
    "JWT",
    "jwt",
    "AT+JWT",
    "application/at+jwt",
    "at+jwt ",
    "",
    "JOSE",
    "id+jwt",
    "logout+jwt",
    "dpop+jwt",
    "policyhub-bundle+jws",
    "policyhub-activation+jws",
    "policyhub-checkpoint+jws",
];

pub(super) fn cases(bench: &Bench) -> Cases {
    let claims = claims_with("exp", json!(NOW + 60));
    let kid = &bench.kid;
    let local = |name: &str, header: &str| (name.to_owned(), bearer(&bench.signed(header, &claims)), TokenInvalid);
    let corp = |name: &str, header: &str| (name.to_owned(), bearer(&bench.corp(header, &corp_claims())), TokenInvalid);
    let with_typ = |typ: &str| format!(r#"{{"alg":"EdDSA","typ":"{typ}","kid":"{kid}"}}"#);
    let with_kid = |kid: &str| format!(r#"{{"alg":"EdDSA","typ":"at+jwt","kid":{kid}}}"#);
    let corp_kid = |kid: &str| format!(r#"{{"alg":"ES256","typ":"at+jwt","kid":{kid}}}"#);
    let corp_and = |members: &str| format!(r#"{{"alg":"ES256","typ":"at+jwt","kid":"{EC_KID}",{members}}}"#);

    let mut cases: Cases = MORE.iter().map(|(name, members)| local(name, &bench.header_and(members))).collect();
    // An identity provider may name a certificate, but none of these.
    cases.extend(MORE.iter().map(|(name, members)| corp(&format!("{name}, of a provider"), &corp_and(members))));
    cases.extend(TYPES.iter().map(|typ| local(&format!("typ {typ:?}"), &with_typ(typ))));
    cases.extend([
        corp("typ jwt in lower case, of a provider", &corp_and("").replace(",}", "}").replace("at+jwt", "jwt")),
        corp("typ of an ID token, of a provider", &corp_and("").replace(",}", "}").replace("at+jwt", "id+jwt")),
        corp("x5t twice, of a provider", &corp_and(r#""x5t":"A","x5t":"B""#)),
        corp("x5t a number, of a provider", &corp_and(r#""x5t":1"#)),
        local("x5t", &bench.header_and(r#""x5t":"AAAA""#)),
        local("x5t#S256", &bench.header_and(r#""x5t#S256":"AAAA""#)),
        local("kid twice", &bench.header_and(&format!(r#""kid":"{kid}""#))),
        local("kid twice, escaped", &bench.header_and(&format!(r#""k\u0069d":"{kid}""#))),
        local("alg twice", &bench.header_and(r#""alg":"none""#)),
        local("alg twice, escaped", &bench.header_and(r#""\u0061lg":"EdDSA""#)),
        local("typ twice", &bench.header_and(r#""typ":"at+jwt""#)),
        local("members in upper case", &bench.header().replace("alg", "ALG")),
        local("no typ", &format!(r#"{{"alg":"EdDSA","kid":"{kid}"}}"#)),
        local("no kid", r#"{"alg":"EdDSA","typ":"at+jwt"}"#),
        local("no alg", &format!(r#"{{"typ":"at+jwt","kid":"{kid}"}}"#)),
        local("typ null", &with_typ("x").replace("\"x\"", "null")),
        local("typ a list", &with_typ("x").replace("\"x\"", "[\"at+jwt\"]")),
        local("alg a list", &bench.header().replace("\"EdDSA\"", "[\"EdDSA\"]")),
        local("alg null", &bench.header().replace("\"EdDSA\"", "null")),
        local("kid null", &with_kid("null")),
        local("kid a number", &with_kid("0")),
        local("kid a list", &with_kid(&format!("[\"{kid}\"]"))),
        local("kid empty", &with_kid("\"\"")),
        local("kid unknown", &with_kid("\"unknown\"")),
        local("kid of another issuer", &with_kid(&format!("\"{EC_KID}\""))),
        local("kid with a space", &with_kid(&format!("\"{kid} \""))),
        local("kid over 256", &with_kid(&format!("\"{}\"", "k".repeat(257)))),
        local("kid is a path", &with_kid("\"../../../../dev/null\"")),
        local("kid is SQL", &with_kid("\"' UNION SELECT 'key' --\"")),
        local("kid is a command", &with_kid("\"key.pem|id\"")),
        local("kid is a URL", &with_kid("\"https://evil.example/key\"")),
        local("kid with NUL", &with_kid(&format!("\"{kid}\\u0000\""))),
        corp("kid unknown, of a provider", &corp_kid("\"ec-2\"")),
        corp("kid by prefix, of a provider", &corp_kid("\"ec\"")),
        corp("kid in upper case, of a provider", &corp_kid("\"EC-1\"")),
        corp("kid of the local issuer, of a provider", &corp_kid(&format!("\"{kid}\""))),
        local("header is a list", &format!(r#"["EdDSA","at+jwt","{kid}",null,null]"#)),
        local("header is a text", r#""EdDSA""#),
        local("header is null", "null"),
        local("header is empty", "{}"),
    ]);
    cases
}
