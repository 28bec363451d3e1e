//! Headers without a token, and tokens that are no compact JWS: RFC 8725 §2.3, §2.4 and §3.11 in their outer form.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::json;

use super::Cases;
use super::bench::{Bench, NOW, bearer, claims_with};
use crate::auth::token::TOKEN_MAX_BYTES;
use crate::domain::Reason::{TokenInvalid, TokenMalformed, TokenMissing};

pub(super) fn cases(bench: &Bench) -> Cases {
    let mut cases = schemes(bench);
    cases.extend(parts(bench));
    cases.extend(encodings(bench));
    cases
}

fn schemes(bench: &Bench) -> Cases {
    let good = bench.good();
    let cases = [
        ("no header", None),
        ("empty", Some(String::new())),
        ("scheme alone", Some("Bearer".into())),
        ("scheme and a space", Some("Bearer ".into())),
        ("token alone", Some(good.clone())),
        ("basic", Some("Basic YWRtaW46YWRtaW4=".into())),
        ("DPoP", Some(format!("DPoP {good}"))),
        ("Token", Some(format!("Token {good}"))),
        ("Bearer with a colon", Some(format!("Bearer: {good}"))),
        ("Bearer=", Some(format!("Bearer={good}"))),
        ("two spaces", Some(format!("Bearer  {good}"))),
        ("space before", Some(format!(" Bearer {good}"))),
        ("space after", Some(format!("Bearer {good} "))),
        ("tab", Some(format!("Bearer\t{good}"))),
        ("no-break space", Some(format!("Bearer\u{a0}{good}"))),
        ("text after", Some(format!("Bearer {good} x"))),
        ("two tokens", Some(format!("Bearer {good}, Bearer {good}"))),
        ("two tokens, one comma", Some(format!("Bearer {good},{good}"))),
        ("quoted", Some(format!("Bearer \"{good}\""))),
        ("line break inside", Some(format!("Bearer {}\n{}", &good[..20], &good[20..]))),
        ("NUL after", Some(format!("Bearer {good}\0"))),
    ];
    let reason = |header: &Option<String>| if header.is_none() { TokenMissing } else { TokenMalformed };
    cases.into_iter().map(|(name, header)| (name.to_owned(), header.clone(), reason(&header))).collect()
}

fn parts(bench: &Bench) -> Cases {
    let good = bench.good();
    let split: Vec<&str> = good.split('.').collect();
    let [header, claims, signature] = split.as_slice() else { unreachable!("three parts") };
    let json = format!(r#"{{"payload":"{claims}","protected":"{header}","signature":"{signature}"}}"#);
    let cases = [
        ("a word", "admin".to_owned()),
        ("one part", header.to_string()),
        ("two parts", format!("{header}.{claims}")),
        ("four parts", format!("{good}.{signature}")),
        ("five parts, as in JWE", format!("{good}.{claims}.{claims}")),
        ("dot before", format!(".{good}")),
        ("dot after", format!("{good}.")),
        ("two dots inside", good.replacen('.', "..", 1)),
        ("dots alone", "..".to_owned()),
        ("empty header", format!(".{claims}.{signature}")),
        ("another separator", good.replace('.', ":")),
        ("JSON serialisation", r#"{"payload":"e30","signatures":[]}"#.to_owned()),
        ("JSON serialisation, flattened", json),
        ("over 8 KiB", "a".repeat(TOKEN_MAX_BYTES + 1)),
        ("good but over 8 KiB", bench.claims(&claims_with("x", json!("x".repeat(TOKEN_MAX_BYTES))))),
        ("a token inside", bench.signed(&good, &good)),
    ];
    let mut cases: Cases =
        cases.iter().map(|(name, token)| ((*name).to_owned(), bearer(token), TokenMalformed)).collect();
    // Empty claims have no issuer, and an empty signature verifies nothing.
    cases.push(("empty claims".to_owned(), bearer(&format!("{header}..{signature}")), TokenInvalid));
    cases.push(("empty signature".to_owned(), bearer(&format!("{header}.{claims}.")), TokenInvalid));
    cases
}

fn encodings(bench: &Bench) -> Cases {
    let good = bench.good();
    let split: Vec<&str> = good.split('.').collect();
    let [header, claims, signature] = split.as_slice() else { unreachable!("three parts") };
    let padded = STANDARD.encode(bench.header() + " ");
    // 64 bytes leave four unused bits in the last character; with one of them set, a lenient decoder returns the same bytes.
    let last = signature.chars().last().expect("a character");
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let next = alphabet.chars().nth(alphabet.find(last).expect("of the alphabet") + 1).expect("another");
    let trailing = format!("{}{next}", &signature[..signature.len() - 1]);
    // Bytes whose standard base64 has a character that the URL form writes differently.
    let standard =
        (0..).map(|number| claims_with("x", json!(format!("\u{fb}\u{ff}{number}>>>???")))).find_map(|claims| {
            let encoded = STANDARD_NO_PAD.encode(&claims);
            encoded.contains(['+', '/']).then_some(encoded)
        });
    let standard = standard.expect("such claims");
    let signed = |header: &str, claims: &str| bearer(&bench.signed(header, claims));
    let exp = claims_with("exp", json!(NOW + 60));
    let malformed = [
        ("header not base64", bearer(&format!("{{}}.{claims}.{signature}"))),
        ("header padded", bearer(&format!("{padded}==.{claims}.{signature}"))),
        ("claims padded", bearer(&format!("{header}.{claims}=.{signature}"))),
        ("signature padded", bearer(&format!("{good}=="))),
        ("percent-encoded dots", bearer(&good.replace('.', "%2E"))),
        ("trailing bits in the signature", bearer(&format!("{header}.{claims}.{trailing}"))),
        ("one character too few", bearer(&format!("{header}.{}.{signature}", &URL_SAFE_NO_PAD.encode("ab")[..1]))),
        ("standard alphabet", bearer(&format!("{header}.{standard}.{signature}"))),
        ("header in UTF-16", signed(&bench.header().chars().flat_map(|c| ['\0', c]).collect::<String>(), &exp)),
        ("header with a byte order mark", signed(&format!("\u{feff}{}", bench.header()), &exp)),
        ("header not JSON", signed("alg=EdDSA", "{}")),
        ("header cut short", signed(r#"{"alg":"EdDSA""#, "{}")),
        ("text after the header", signed(&(bench.header() + "x"), "{}")),
        ("two headers", signed(&format!("{0}{0}", bench.header()), &exp)),
        ("comment in the header", signed(&bench.header_and("/* */\"x\":1"), &exp)),
        ("header in single quotes", signed(&bench.header().replace('"', "'"), &exp)),
        ("comma at the end of the header", signed(&bench.header().replace('}', ",}"), &exp)),
        ("header with NaN", signed(&bench.header().replace("\"EdDSA\"", "NaN"), &exp)),
    ];
    malformed.into_iter().map(|(name, header)| (name.to_owned(), header, TokenMalformed)).collect()
}
