//! Tokens of an identity provider: its keys are fetched, kept and replaced, and no failure of the provider delays the server.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Instant;

use policyhub::client::{Client, pb};
use tonic::Code;

use crate::harness::callers::try_grant;
use crate::harness::calls::{NAMESPACE, activate, policy, refused, release};
use crate::harness::hub::binary;
use crate::harness::idp::{Idp, IdpAnswer, IdpKey, jwks, kept_out, reloaded, setting, unsigned, wait_until};
use crate::harness::subscribing::eventually;
use crate::harness::{Database, Hub};

const UNKNOWN: Option<&str> = Some("TOKEN_INVALID");

/// Starts a server that has read the keys of a provider.
async fn trusting(idp: &Idp) -> Hub {
    let hub = Hub::start_with(Database::Sqlite, &["--issuers", &idp.setting()]).await;
    reloaded(&hub, "ok", "corp", 0.0).await;
    hub
}

async fn client(hub: &Hub, key: &IdpKey) -> Client {
    hub.client_with(Some(key.token("ann"))).await
}

#[tokio::test]
async fn a_new_key_is_found_and_an_old_one_is_trusted_no_more() {
    let (old, new) = (IdpKey::new(1), IdpKey::new(2));
    let idp = Idp::of(&[&old]);
    let hub = trusting(&idp).await;
    let (by_old, by_new) = (client(&hub, &old).await, client(&hub, &new).await);
    assert_eq!(kept_out(&by_old).await, None);
    let asked = idp.asked();
    idp.answer(IdpAnswer::Body(jwks(&[&new])));
    // The first token with an unknown key makes the server fetch the keys; until they arrive, calls are refused at once.
    assert_eq!(kept_out(&by_new).await.as_deref(), UNKNOWN);
    wait_until(&by_new, None).await;
    assert_eq!(idp.asked(), asked + 1);
    assert_eq!(kept_out(&by_old).await.as_deref(), UNKNOWN, "it was verified a moment ago, and its key is gone");
    assert_eq!(kept_out(&hub.client().await).await, None, "the local issuer has nothing to do with it");
}

#[tokio::test]
async fn keys_outlive_an_outage_and_a_restart_in_it() {
    let key = IdpKey::new(1);
    let idp = Idp::of(&[&key]);
    let hub = trusting(&idp).await;
    assert_eq!(kept_out(&client(&hub, &key).await).await, None);
    let copy = hub.data_dir().join("jwks-corp.json");
    assert_eq!(std::fs::metadata(&copy).expect("a copy").permissions().mode() & 0o777, 0o600);
    let mut hub = hub;
    for outage in [IdpAnswer::Status("503 Service Unavailable", String::new()), IdpAnswer::Body("<html>".to_owned())] {
        idp.answer(outage);
        hub = hub.restart().await;
        assert_eq!(kept_out(&client(&hub, &key).await).await, None, "by the keys of the last run");
        reloaded(&hub, "failed", "corp", 0.0).await;
        assert_eq!(kept_out(&client(&hub, &key).await).await, None, "an answer of no use changes nothing");
    }
    assert_eq!(kept_out(&client(&hub, &IdpKey::new(2)).await).await.as_deref(), UNKNOWN);

    // An edited copy on disk is used only if it is valid.
    std::fs::write(&copy, "{").expect("written");
    let hub = hub.restart().await;
    assert_eq!(kept_out(&client(&hub, &key).await).await.as_deref(), UNKNOWN);
    assert_eq!(kept_out(&hub.client().await).await, None);
}

#[tokio::test]
async fn sets_that_can_not_be_trusted_change_nothing() {
    let (key, other) = (IdpKey::new(1), IdpKey::new(2));
    let evil = Idp::of(&[&other]);
    let too_long = jwks(&[&other]) + &" ".repeat(64 * 1024);
    let with_secret = format!(r#"{{"keys":[{},{{"kty":"oct","k":"c2VjcmV0","kid":"o"}}]}}"#, other.jwk());
    let many: Vec<IdpKey> = (0..21).map(|number| IdpKey::new(number + 2)).collect();
    for answer in [
        IdpAnswer::Body(too_long),
        IdpAnswer::Body(with_secret),
        IdpAnswer::Body(jwks(&many.iter().collect::<Vec<_>>())),
        IdpAnswer::Body(jwks(&[&other, &other])),
        IdpAnswer::Status("302 Found", format!("location: {}\r\n", evil.url())),
    ] {
        let idp = Idp::of(&[&key]);
        let hub = trusting(&idp).await;
        let (by_key, by_other) = (client(&hub, &key).await, client(&hub, &other).await);
        assert_eq!(kept_out(&by_key).await, None);
        idp.answer(answer.clone());
        assert_eq!(kept_out(&by_other).await.as_deref(), UNKNOWN, "{answer:?}");
        reloaded(&hub, "failed", "corp", 0.0).await;
        assert_eq!(kept_out(&by_other).await.as_deref(), UNKNOWN, "{answer:?}");
        assert_eq!(kept_out(&by_key).await, None, "{answer:?}");
    }
    assert_eq!(evil.asked(), 0, "a redirect is followed nowhere");
}

#[tokio::test]
async fn a_provider_that_hangs_holds_up_nobody() {
    let key = IdpKey::new(1);
    let idp = Idp::start(IdpAnswer::Hang);
    // The start does not wait for any of this.
    let hub = Hub::start_with(Database::Sqlite, &["--issuers", &idp.setting()]).await;
    let by_key = client(&hub, &key).await;
    assert_eq!(kept_out(&hub.client().await).await, None);
    assert_eq!(kept_out(&by_key).await.as_deref(), UNKNOWN);
    reloaded(&hub, "failed", "corp", 0.0).await;
    idp.answer(IdpAnswer::Body(jwks(&[&key])));
    wait_until(&by_key, None).await;
}

#[tokio::test]
async fn made_up_keys_make_one_request_in_30_seconds() {
    const TOKENS: usize = 10_000;
    let key = IdpKey::new(1);
    let idp = Idp::of(&[&key]);
    let hub = trusting(&idp).await;
    let by_key = client(&hub, &key).await;
    assert_eq!(kept_out(&by_key).await, None);
    let (asked, began) = (idp.asked(), Instant::now());
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..20 {
        let endpoint = tonic::transport::Endpoint::from_shared(hub.grpc.clone()).expect("an endpoint");
        let channel = endpoint.connect().await.expect("a connection");
        let mut calls = policyhub::client::pb::admin_service_client::AdminServiceClient::new(channel);
        callers.spawn(async move {
            let forged = IdpKey::new(9).token("ann");
            let claims = forged.split('.').nth(1).expect("claims");
            for number in 0..TOKENS / 20 {
                let token = unsigned(&format!("made-up-{caller}-{number}"), claims);
                let mut request = tonic::Request::new(policyhub::client::pb::ListSigningKeysRequest::default());
                request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().expect("a header"));
                let refused = calls.list_signing_keys(request).await.expect_err("made up");
                assert_eq!(refused.code(), tonic::Code::Unauthenticated);
            }
        });
    }
    while let Some(done) = callers.join_next().await {
        done.expect("all refused");
    }
    let allowed = 1 + began.elapsed().as_secs() / 30;
    let more = idp.asked() - asked;
    assert!(more <= allowed, "{more} requests, {allowed} allowed");
    assert_eq!(kept_out(&by_key).await, None);
}

#[tokio::test]
async fn keys_in_a_file_are_read_again_when_it_changes() {
    let (old, new) = (IdpKey::new(1), IdpKey::new(2));
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("keys.json");
    std::fs::write(&file, jwks(&[&old])).expect("written");
    let named = setting(&file.display().to_string());
    let hub = Hub::start_with(Database::Sqlite, &["--issuers", &named]).await;
    let (by_old, by_new) = (client(&hub, &old).await, client(&hub, &new).await);
    assert_eq!(kept_out(&by_old).await, None, "at once: it is there at the start");
    assert_eq!(kept_out(&by_new).await.as_deref(), UNKNOWN);
    std::fs::write(&file, "{").expect("written");
    reloaded(&hub, "failed", "corp", 0.0).await;
    assert_eq!(kept_out(&by_old).await, None, "half a file changes nothing");
    // A different cause is reported too, though reading failed before.
    std::fs::remove_file(&file).expect("removed");
    let says_so = async || hub.log.lock().expect("the log").contains("failed to read /");
    eventually("the other cause is in the log", says_so).await;
    std::fs::write(&file, jwks(&[&new])).expect("written");
    wait_until(&by_new, None).await;
    assert_eq!(kept_out(&by_old).await.as_deref(), UNKNOWN);
}

#[test]
fn a_file_of_keys_must_be_there_and_of_use() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(path("empty.json"), r#"{"keys":[]}"#).expect("written");
    for (jwks, word) in [(path("absent.json"), "absent.json"), (path("empty.json"), "empty.json")] {
        let mut command = binary();
        command.args([
            "serve",
            "--grpc-addr",
            "127.0.0.1:0",
            "--http-addr",
            "127.0.0.1:0",
            "--data-dir",
            &path("data"),
        ]);
        let output = command.args(["--issuers", &setting(&jwks)]).output().expect("the binary runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("error: ") && said.contains(word), "{said}");
    }
}

/// A member of a group of the provider has the group's role, and appears by name in the log.
#[tokio::test]
async fn a_group_has_a_role() {
    let key = IdpKey::new(1);
    let hub = trusting(&Idp::of(&[&key])).await;
    let (admin, ann) = (hub.client().await, client(&hub, &key).await);
    release(&admin, "p", "a: 1").await;
    let request = pb::GetPolicyRequest { name: policy("p") };
    refused(ann.get_policy(request.clone()).await, Code::PermissionDenied, "PERMISSION_DENIED");
    try_grant(&admin, "group:corp:ops", pb::Role::Viewer, NAMESPACE).await.expect("a role");
    ann.get_policy(request).await.expect("what viewers read");
    try_grant(&admin, "corp:ann", pb::Role::Activator, NAMESPACE).await.expect("a role");
    activate(&ann, "p", 1).await;
    let log = crate::harness::watching::log(&admin).await;
    assert_eq!(log.last().map(|event| event.actor.as_str()), Some("corp:ann"));
}
