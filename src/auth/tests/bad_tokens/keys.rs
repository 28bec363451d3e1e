//! Wrong algorithms and keys, and invalid signatures: RFC 8725 §2.1, §2.2, §2.5, §3.1 to §3.5.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use serde_json::json;

use super::Cases;
use super::bench::{Bench, EC_KID, NOW, PSS_KID, RSA_KID, bearer, claims_with, corp_claims, forge, message};
use crate::domain::Reason::TokenInvalid;

/// Values of `alg` that no key here has.
const ALGORITHMS: [&str; 22] = [
    "none",
    "None",
    "NONE",
    "nOnE",
    "",
    " none",
    "none\\u0000",
    "HS256",
    "HS384",
    "HS512",
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "ES256",
    "ES384",
    "ES512",
    "ES256K",
    "eddsa",
    "Ed25519",
    "dir",
    "A128KW",
];

fn named(alg: &str, kid: &str) -> String {
    format!(r#"{{"alg":"{alg}","typ":"at+jwt","kid":"{kid}"}}"#)
}

pub(super) fn cases(bench: &Bench) -> Cases {
    let mut cases = names(bench);
    cases.extend(public_keys_as_secrets(bench));
    cases.extend(other_keys(bench));
    cases.extend(curve_signatures(bench));
    cases.extend(rsa_signatures(bench));
    cases.into_iter().map(|(name, token)| (name, bearer(&token), TokenInvalid)).collect()
}

fn names(bench: &Bench) -> Vec<(String, String)> {
    let claims = claims_with("exp", json!(NOW + 60));
    let mut cases = Vec::new();
    for alg in ALGORITHMS {
        let header = named(alg, &bench.kid);
        cases.push((format!("alg {alg:?}, well signed"), bench.signed(&header, &claims)));
        cases.push((format!("alg {alg:?}, not signed"), format!("{}.", message(&header, &claims))));
    }
    cases.push(("EdDSA, not signed".to_owned(), format!("{}.", message(&bench.header(), &claims))));
    for alg in ["none", "HS256", "RS256", "PS256", "ES384", "ES256K", "EdDSA"] {
        cases.push((format!("alg {alg:?} of a provider's P-256 key"), bench.corp(&named(alg, EC_KID), &corp_claims())));
    }
    cases
}

/// Returns every form of a public key that was once used as the secret of HMAC in an attack.
fn public_keys_as_secrets(bench: &Bench) -> Vec<(String, String)> {
    let claims = claims_with("exp", json!(NOW + 60));
    let spki: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    let der = [spki, &bench.public].concat();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(&der));
    let jwk = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{}"}}"#, URL_SAFE_NO_PAD.encode(&bench.public));
    let local = |name: &str, header: &str, secret: &[u8]| (name.to_owned(), bench.hmac(header, &claims, secret));
    let corp = |name: &str, kid: &str, secret: &[u8]| {
        (name.to_owned(), bench.hmac(&named("HS256", kid), &corp_claims(), secret))
    };
    let hs256 = named("HS256", &bench.kid);
    vec![
        local("HMAC with the public key", &hs256, &bench.public),
        local("HMAC with the public key in DER", &hs256, &der),
        local("HMAC with the public key in PEM", &hs256, pem.as_bytes()),
        local("HMAC with the public key in PEM, trimmed", &hs256, pem.trim().as_bytes()),
        local("HMAC with the public key as JWK", &hs256, jwk.as_bytes()),
        local("HMAC with the public key in base64url", &hs256, URL_SAFE_NO_PAD.encode(&bench.public).as_bytes()),
        local("HMAC with no secret", &hs256, b""),
        local("HMAC with a weak secret", &hs256, b"secret"),
        local("HMAC under the name of EdDSA", &bench.header(), &bench.public),
        corp("HMAC with the P-256 point", EC_KID, &bench.ec_public),
        corp("HMAC with the RSA modulus", RSA_KID, &bench.rsa_public.n),
    ]
}

fn other_keys(bench: &Bench) -> Vec<(String, String)> {
    let claims = claims_with("exp", json!(NOW + 60));
    let root = bench.claims(&claims_with("sub", json!("root")));
    let (good_message, root_signature) = (bench.good(), root.rsplit_once('.').expect("three parts").1.to_owned());
    let good_message = good_message.rsplit_once('.').expect("three parts").0;
    let cases = [
        ("ES256 key under the EdDSA kid", forge(&bench.header(), &claims, &bench.ec_private, Algorithm::ES256)),
        ("a stranger's key", forge(&bench.header(), &claims, &bench.stranger, Algorithm::EdDSA)),
        ("a stranger for a provider", forge(&bench.corp_header(), &corp_claims(), &bench.stranger, Algorithm::EdDSA)),
        ("the local key for a provider", bench.signed(&bench.corp_header(), &corp_claims())),
        ("the local key and kid for a provider", bench.signed(&bench.header(), &corp_claims())),
        ("a provider speaking for the local issuer", bench.corp(&bench.corp_header(), &claims)),
        ("a provider's RSA key for the local issuer", bench.rsa(&named("RS256", RSA_KID), &claims, "RS256")),
        ("the RSA key under the P-256 kid", bench.rsa(&named("ES256", EC_KID), &corp_claims(), "RS256")),
        ("the P-256 key under the RSA kid", bench.corp(&named("RS256", RSA_KID), &corp_claims())),
        ("signature of another token", format!("{good_message}.{root_signature}")),
    ];
    cases.map(|(name, token)| (name.to_owned(), token)).into()
}

/// Returns invalid signatures for ECDSA and Ed25519: empty, zeros, edge values, halves, doubles, another encoding.
fn curve_signatures(bench: &Bench) -> Vec<(String, String)> {
    let ec = message(&bench.corp_header(), &corp_claims());
    let ed = message(&bench.header(), &claims_with("exp", json!(NOW + 60)));
    let good = |token: String| URL_SAFE_NO_PAD.decode(token.rsplit_once('.').expect("parts").1).expect("base64url");
    let of_ec = good(bench.corp(&bench.corp_header(), &corp_claims()));
    let of_ed = good(bench.good());
    // FIPS 186-5: the order of P-256. A verifier without range checks accepts r or s of 0 or n for every message.
    let order = [
        [0xff_u8; 4].as_slice(),
        &[0; 4],
        &[0xff; 8],
        &[0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51],
    ]
    .concat();
    let (zero, one) = ([0_u8; 32], {
        let mut one = [0_u8; 32];
        one[31] = 1;
        one
    });
    let der = [&[0x30, 0x44, 0x02, 0x20][..], &of_ec[..32], &[0x02, 0x20], &of_ec[32..]].concat();
    // The order of the group of Ed25519, little-endian: s + L is the same point.
    let l: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut malleable = of_ed.clone();
    let mut carry = 0_u16;
    for (byte, add) in malleable[32..].iter_mut().zip(l) {
        carry += u16::from(*byte) + u16::from(add);
        *byte = (carry & 0xff) as u8;
        carry >>= 8;
    }
    let cases: [(&str, &str, Vec<u8>); 16] = [
        ("ECDSA of zeros", &ec, vec![0; 64]),
        ("ECDSA of r 0", &ec, [&zero[..], &of_ec[32..]].concat()),
        ("ECDSA of s 0", &ec, [&of_ec[..32], &zero[..]].concat()),
        ("ECDSA of r and s 1", &ec, [one, one].concat()),
        ("ECDSA of the order", &ec, [order.clone(), order.clone()].concat()),
        ("ECDSA of ones", &ec, vec![0xff; 64]),
        ("ECDSA in DER", &ec, der),
        ("ECDSA with r and s swapped", &ec, [&of_ec[32..], &of_ec[..32]].concat()),
        ("ECDSA cut short", &ec, of_ec[..63].to_vec()),
        ("ECDSA with a byte more", &ec, [&of_ec[..], &[0]].concat()),
        ("ECDSA with zeros before r and s", &ec, [&zero[..1], &of_ec[..32], &zero[..1], &of_ec[32..]].concat()),
        ("Ed25519 of zeros", &ed, vec![0; 64]),
        ("Ed25519 of the identity", &ed, [one.iter().rev().copied().collect::<Vec<_>>(), zero.to_vec()].concat()),
        ("Ed25519 with s and the order", &ed, malleable),
        ("Ed25519 cut short", &ed, of_ed[..63].to_vec()),
        ("Ed25519 with a byte more", &ed, [&of_ed[..], &[0]].concat()),
    ];
    let token = |message: &str, signature: &[u8]| format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));
    cases.map(|(name, message, signature)| (name.to_owned(), token(message, &signature))).into()
}

fn rsa_signatures(bench: &Bench) -> Vec<(String, String)> {
    let (rs256, ps256) = (named("RS256", RSA_KID), named("PS256", PSS_KID));
    let message = message(&rs256, &corp_claims());
    let raw = |signature: Vec<u8>| format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature));
    let size = bench.rsa_public.n.len();
    let mut one = vec![0; size];
    one[size - 1] = 1;
    let cases = [
        ("RS256 signed as PS256", bench.rsa(&rs256, &corp_claims(), "PS256")),
        ("PS256 signed as RS256", bench.rsa(&ps256, &corp_claims(), "RS256")),
        ("RS256 under the PS256 kid", bench.rsa(&named("RS256", PSS_KID), &corp_claims(), "RS256")),
        ("PS256 under the RS256 kid", bench.rsa(&named("PS256", RSA_KID), &corp_claims(), "PS256")),
        ("RSA signature of zeros", raw(vec![0; size])),
        ("RSA signature of one", raw(one)),
        ("RSA signature of the modulus", raw(bench.rsa_public.n.clone())),
        ("RSA signature of nothing", raw(Vec::new())),
        ("RSA signature a byte short", raw(vec![1; size - 1])),
    ];
    cases.map(|(name, token)| (name.to_owned(), token)).into()
}
