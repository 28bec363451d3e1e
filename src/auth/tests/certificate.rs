//! Client certificates, made for each test: the callers they identify, and those that identify none.

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use time::OffsetDateTime;

use super::*;
use crate::auth::verifier::Verifier;

const NOW: i64 = 1_800_000_000;
const ID: &str = "spiffe://example.org/web";

struct Ca(Issuer<'static, KeyPair>, CertificateDer<'static>);

fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).expect("a time")
}

fn uri(text: &str) -> SanType {
    SanType::URI(Ia5String::try_from(text).expect("ASCII"))
}

fn ca(name: &str) -> Ca {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("an authority");
    Ca(Issuer::new(params, key), certificate.der().clone())
}

/// Returns a client certificate that is valid for an hour, changed by the case.
fn leaf(ca: &Ca, change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![uri(ID)];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    (params.not_before, params.not_after) = (at(NOW - 1_800), at(NOW + 1_800));
    change(&mut params);
    params.signed_by(&KeyPair::generate().expect("a key"), &ca.0).expect("a certificate").der().clone()
}

fn verifier(trusted: &[(&str, &Ca)]) -> Verifier {
    let verifier = Verifier::new(Vec::new()).expect("a verifier");
    verifier.trust(authorities(trusted));
    verifier
}

fn authorities(trusted: &[(&str, &Ca)]) -> Authorities {
    let trusted: Vec<_> = trusted.iter().map(|(domain, ca)| ((*domain).to_owned(), vec![ca.1.clone()])).collect();
    Authorities::new(&trusted).expect("authorities")
}

fn who(verifier: &Verifier, chain: Vec<CertificateDer<'static>>) -> Result<Caller> {
    verifier.authenticate(None, Some(&PeerCertificate::new(chain)), NOW)
}

#[test]
fn the_caller_is_the_spiffe_id() {
    let ours = ca("ours");
    let verifier = verifier(&[("example.org", &ours)]);
    let caller = who(&verifier, vec![leaf(&ours, |_| {})]).expect("a caller");
    assert_eq!(caller.principal.actor(), ID);
    let Credential::Certificate { issued_at_seconds, expires_at_seconds, .. } = caller.credential else {
        panic!("{caller:?}")
    };
    assert_eq!((issued_at_seconds, expires_at_seconds), (NOW - 1_800, NOW + 1_800));
    // Given other kinds of names beside the one URI, then they are ignored.
    let named = leaf(&ours, |params| {
        params.subject_alt_names.push(SanType::DnsName("web.example.org".try_into().expect("a name")))
    });
    assert_eq!(who(&verifier, vec![named]).expect("a caller").principal.actor(), ID);
}

#[test]
fn a_chain_ends_with_the_first_of_it_that_expires() {
    let root = ca("root");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "middle");
    (params.not_before, params.not_after) = (at(NOW - 60), at(NOW + 60));
    let key = KeyPair::generate().expect("a key");
    let middle = params.signed_by(&key, &root.0).expect("an authority").der().clone();
    let middle = Ca(Issuer::new(params, key), middle);
    let verifier = verifier(&[("example.org", &root)]);
    let caller = who(&verifier, vec![leaf(&middle, |_| {}), middle.1.clone()]).expect("a caller");
    verifier.recheck(&caller, NOW + 64).expect("within the leeway");
    let error = verifier.recheck(&caller, NOW + 65).expect_err("the authority in the middle is over");
    assert_eq!(error.reason, Reason::CertificateInvalid);
}

#[test]
fn certificates_that_name_nobody_are_refused() {
    let (ours, theirs, stranger) = (ca("ours"), ca("theirs"), ca("stranger"));
    let verifier = verifier(&[("example.org", &ours), ("other.example", &theirs)]);
    let with = |names: Vec<SanType>| leaf(&ours, |params| params.subject_alt_names = names);
    let one = |text: &str| with(vec![uri(text)]);
    // A GeneralName of tag 6 whose bytes are no text, as a second URI.
    let not_text = {
        let id = ID.as_bytes();
        let mut names = vec![0x30, id.len() as u8 + 2 + 4, 0x86, id.len() as u8];
        names.extend_from_slice(id);
        names.extend_from_slice(&[0x86, 0x02, 0xff, 0xfe]);
        leaf(&ours, |params| {
            params.subject_alt_names = Vec::new();
            params.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 17], names)];
        })
    };
    for (case, certificate) in [
        ("no names", with(Vec::new())),
        (
            "a name in its subject alone",
            leaf(&ours, |params| {
                params.subject_alt_names = Vec::new();
                params.distinguished_name.push(rcgen::DnType::CommonName, ID);
            }),
        ),
        ("no URI", with(vec![SanType::DnsName("web.example.org".try_into().expect("a name"))])),
        ("two URIs", with(vec![uri(ID), uri("spiffe://example.org/root")])),
        ("the same URI twice", with(vec![uri(ID), uri(ID)])),
        ("a SPIFFE ID and another URI", with(vec![uri(ID), uri("https://example.org/web")])),
        ("a URI that is no text beside it", not_text),
        ("another URI", one("https://example.org/web")),
        ("a trust domain alone", one("spiffe://example.org")),
        ("a trust domain in upper case", one("spiffe://EXAMPLE.org/web")),
        ("a path with dots", one("spiffe://example.org/a/../root")),
        ("percent-encoding", one("spiffe://example.org/%77eb")),
        ("another trust domain", one("spiffe://other.example/web")),
        ("a trust domain nobody knows", one("spiffe://nobody.example/web")),
        ("our trust domain, signed by another's authority", leaf(&theirs, |_| {})),
        ("a stranger's authority", leaf(&stranger, |_| {})),
        (
            "for servers alone",
            leaf(&ours, |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
        ),
        ("that may sign certificates", leaf(&ours, |params| params.key_usages = vec![KeyUsagePurpose::KeyCertSign])),
        ("that may sign revocations", leaf(&ours, |params| params.key_usages = vec![KeyUsagePurpose::CrlSign])),
        ("an authority", leaf(&ours, |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))),
        ("expired", leaf(&ours, |params| params.not_after = at(NOW - 1))),
        ("not valid yet", leaf(&ours, |params| params.not_before = at(NOW + 60))),
        ("garbage", CertificateDer::from(vec![0x30, 0x03, 0x02, 0x01, 0x00])),
    ] {
        let error = who(&verifier, vec![certificate]).expect_err(case);
        assert_eq!(error.reason, Reason::CertificateInvalid, "{case}: {error}");
    }
    assert_eq!(who(&verifier, Vec::new()).expect_err("nothing").reason, Reason::CertificateInvalid);
}

#[test]
fn an_authority_that_is_gone_ends_its_callers() {
    let (old, new) = (ca("old"), ca("new"));
    let verifier = verifier(&[("example.org", &old)]);
    let shown = PeerCertificate::new(vec![leaf(&old, |_| {})]);
    let caller = verifier.authenticate(None, Some(&shown), NOW).expect("a caller");
    verifier.trust(authorities(&[("example.org", &old), ("example.org", &new)]));
    verifier.recheck(&caller, NOW).expect("both are trusted");
    verifier.trust(authorities(&[("other.example", &old), ("example.org", &new)]));
    for (what, answer) in [
        ("a stream", verifier.recheck(&caller, NOW)),
        ("a call on an old connection", verifier.authenticate(None, Some(&shown), NOW).map(drop)),
    ] {
        assert_eq!(answer.map_err(|error| error.reason), Err(Reason::CertificateInvalid), "{what}");
    }
}

#[test]
fn an_open_connection_does_not_outlive_its_certificate() {
    let ours = ca("ours");
    let verifier = verifier(&[("example.org", &ours)]);
    let shown = PeerCertificate::new(vec![leaf(&ours, |_| {})]);
    verifier.authenticate(None, Some(&shown), NOW).expect("a caller");
    let error = verifier.authenticate(None, Some(&shown), NOW + 1_805).expect_err("expired meanwhile");
    assert_eq!(error.reason, Reason::CertificateInvalid);
}

#[test]
fn a_token_says_who_and_may_be_bound_to_the_certificate() {
    use crate::auth::LocalIssuer;
    use crate::auth::issuer::DEFAULT_AUDIENCE;
    let ours = ca("ours");
    let pem = LocalIssuer::generate_pem().expect("pem");
    let issuer = LocalIssuer::from_pem(&pem, DEFAULT_AUDIENCE).expect("an issuer");
    let verifier = issuer.verifier().expect("a verifier");
    verifier.trust(authorities(&[("example.org", &ours)]));
    let certificate = leaf(&ours, |_| {});
    let digest = URL_SAFE_NO_PAD.encode(digest(&SHA256, &certificate));
    let (shown, other) = (PeerCertificate::new(vec![certificate]), PeerCertificate::new(vec![leaf(&ours, |_| {})]));
    let free = format!("Bearer {}", issuer.issue("ci", 60, NOW).expect("a token"));
    let actor = |answer: Result<Caller>| answer.map(|caller| caller.principal.actor()).map_err(|error| error.reason);
    assert_eq!(actor(verifier.authenticate(Some(&free), Some(&shown), NOW)), Ok("local:ci".to_owned()));

    let header: serde_json::Value = serde_json::from_slice(
        &URL_SAFE_NO_PAD
            .decode(free.trim_start_matches("Bearer ").split('.').next().expect("a header"))
            .expect("base64url"),
    )
    .expect("json");
    let claims = serde_json::json!({"iss": "policyhub-local", "sub": "ci", "aud": "policyhub", "exp": NOW + 60,
        "cnf": {"x5t#S256": digest}});
    let message =
        format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let key = jsonwebtoken::EncodingKey::from_ed_pem(pem.as_bytes()).expect("a key");
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::EdDSA).expect("signed");
    let bound = format!("Bearer {message}.{signature}");
    // Twice: the cached result of a token must keep what the token is bound to.
    for _ in 0..2 {
        assert_eq!(actor(verifier.authenticate(Some(&bound), Some(&shown), NOW)), Ok("local:ci".to_owned()));
        assert_eq!(actor(verifier.authenticate(Some(&bound), Some(&other), NOW)), Err(Reason::TokenInvalid));
        assert_eq!(actor(verifier.authenticate(Some(&bound), None, NOW)), Err(Reason::TokenInvalid));
    }
    // A valid token does not make up for a certificate that identifies no caller.
    let nobody = PeerCertificate::new(vec![leaf(&ours, |params| params.subject_alt_names = Vec::new())]);
    assert_eq!(actor(verifier.authenticate(Some(&free), Some(&nobody), NOW)), Err(Reason::CertificateInvalid));
}
