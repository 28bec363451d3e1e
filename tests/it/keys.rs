//! Signing keys: PREPARED → ACTIVE → RETIRED, and REVOKED with its effect on what the key signed.

use policyhub::client::name::PolicyId;
use policyhub::client::signing::jws::named_key;
use policyhub::client::signing::{PrivateKey, TYP_BUNDLE, digest_of, jws};
use policyhub::client::{ActiveSetOptions, Client, Cursor, SetChange, WatchOptions, pb, trusted_keys, watch};
use tonic::Code;

use crate::harness::calls::{
    self, NAMESPACE, NamedEvent as _, activate, events, get_version, policy, publish, refused, refused_fields, release,
    rollback_request,
};
use crate::harness::keys::{AT_ONCE, prepare, revoke, rotate, signing, states, try_activate};
use crate::harness::watching::{self, DEADLINE};
use crate::harness::{Database, Hub, on_both_databases};

use pb::KeyState::{Active, Prepared, Retired, Revoked};

/// Returns the keys that signed what is in force: manifest and statement.
async fn signers(client: &Client, id: &str) -> (String, String) {
    let request = pb::GetActiveRequest { name: policy(id), ..Default::default() };
    let active = client.get_active(request).await.expect("an active version");
    let manifest = named_key(&active.bundle.expect("a bundle").manifest).expect("a manifest");
    (manifest, named_key(&active.statement).expect("a statement"))
}

async fn kinds(client: &Client, parent: &str) -> Vec<String> {
    let events = events(client, parent, 0).await;
    let kinds = events.iter().filter(|event| event.kind() as i32 >= pb::EventKind::PrepareSigningKey as i32);
    kinds.map(|event| event.kind().as_str_name().trim_start_matches("EVENT_KIND_").to_owned()).collect()
}

on_both_databases! {
    with AT_ONCE;

    /// Each state is reached, survives a restart, and is in the log.
    async fn a_key_lives_and_ends(hub: Hub) {
        let client = hub.client().await;
        let first = signing(&client).await;
        release(&client, "p", "a: 1").await;
        let second = prepare(&client).await;
        assert_eq!((second.state(), second.algorithm.as_str()), (Prepared, "EdDSA"));
        assert!(second.prepare_time.is_some() && second.ready_time == second.prepare_time);
        assert_eq!(signers(&client, "p").await, (first.clone(), first.clone()), "a prepared key signs nothing");

        let hub = hub.restart_in_order().await;
        let client = hub.client().await;
        assert_eq!(states(&client).await, [(first.clone(), Active), (second.id().clone(), Prepared)]);
        refused(revoke(&client, &first, false).await, Code::FailedPrecondition, "KEY_STATE_WRONG");
        refused(try_activate(&client, &first).await, Code::FailedPrecondition, "KEY_STATE_WRONG");
        refused(try_activate(&client, &"a".repeat(43)).await, Code::NotFound, "KEY_NOT_FOUND");
        refused_fields(try_activate(&client, "../seal.pem").await, &["name"]);
        let request = pb::PrepareSigningKeyRequest { algorithm: "RS256".to_owned(), ..Default::default() };
        refused_fields(client.prepare_signing_key(request).await, &["algorithm"]);
        let request = pb::RevokeSigningKeyRequest { name: format!("signingKeys/{first}"), ..Default::default() };
        refused_fields(client.revoke_signing_key(request).await, &["reason"]);

        let active = try_activate(&client, &second.id()).await.expect("an active key");
        assert!(active.state() == Active && active.activate_time.is_some() && active.ready_time.is_none());
        let hub = hub.restart_in_order().await;
        let client = hub.client().await;
        assert_eq!(states(&client).await, [(second.id().clone(), Active), (first.clone(), Retired)]);
        assert_eq!(signers(&client, "p").await, (first.clone(), first.clone()), "a retired key's work is good");
        release(&client, "q", "a: 1").await;
        assert_eq!(signers(&client, "q").await, (second.id().clone(), second.id().clone()));

        // A prepared key that leaked has signed nothing, so its revocation affects nothing.
        let third = prepare(&client).await.id();
        let answer = revoke(&client, &third, true).await.expect("a revocation");
        assert_eq!((answer.version_count, answer.remaining_count, answer.versions.len()), (0, 0, 0));
        let hub = hub.restart_in_order().await;
        let client = hub.client().await;
        assert!(states(&client).await.contains(&(third.clone(), Revoked)));
        refused(try_activate(&client, &third).await, Code::FailedPrecondition, "KEY_STATE_WRONG");
        let (_, _, jwks) = crate::harness::http::get(&hub.http, "/.well-known/jwks.json").expect("keys");
        let public = [&first, &second.id(), &third].map(|key| jwks.contains(key.as_str()));
        assert_eq!(public, [true, true, false], "{jwks}");
        let log = kinds(&client, "namespaces/system").await;
        let expected =
            ["ACTIVATE_SIGNING_KEY", "PREPARE_SIGNING_KEY", "ACTIVATE_SIGNING_KEY", "PREPARE_SIGNING_KEY", "REVOKE_SIGNING_KEY"];
        assert_eq!(log, expected);
    }

    /// Without `resign`, nothing that the revoked key signed is served; with it, all of it is, signed by another key.
    async fn what_a_revoked_key_signed_is_refused_until_it_is_signed_again(hub: Hub) {
        let client = hub.client().await;
        let first = signing(&client).await;
        release(&client, "p", "a: 1").await;
        publish(&client, "p", "a: 2").await;
        let of_first = watching::head(&client).await;
        let second = rotate(&client).await;
        release(&client, "q", "a: 1").await;
        let held = watching::in_force(&client).await;
        let answer = revoke(&client, &first, false).await.expect("a revocation");
        let name = |number: i64| calls::version("p", number);
        assert_eq!((answer.versions, answer.version_count, answer.remaining_count), (vec![name(1), name(2)], 2, 2));

        {
            let hub = hub.restart_in_order().await;
            let client = hub.client().await;
            let request = pb::GetActiveRequest { name: policy("p"), ..Default::default() };
            let error = refused(client.get_active(request).await, Code::FailedPrecondition, "KEY_STATE_WRONG");
            assert_eq!(error.metadata()["key_id"], first);
            let set = client.list_active(watching::whole_set()).await;
            let error = refused(set, Code::FailedPrecondition, "KEY_STATE_WRONG");
            assert_eq!(error.metadata()["key_id"], first);
            assert_eq!(signers(&client, "q").await, (second.clone(), second.clone()), "of the other key");
            let error = watching::raw(&client, None).await.expect("a stream").message().await.expect_err("a snapshot");
            assert_eq!(error.code(), Code::FailedPrecondition, "{error:?}");
            refused(calls::try_activate(&client, "p", 2, None).await, Code::FailedPrecondition, "KEY_STATE_WRONG");
            refused(client.rollback(rollback_request("p", 2)).await, Code::FailedPrecondition, "KEY_STATE_WRONG");
            // The past is still proven and can be read.
            let request =
                pb::GetActiveRequest { name: policy("p"), at: Some(pb::get_active_request::At::Cursor(pb::Cursor::of_revision(of_first))), ..Default::default() };
            assert!(client.get_active(request).await.expect("the past").bundle.is_some());
            assert_eq!(get_version(&client, "p", 2).await.version, 2);
            assert!(!events(&client, NAMESPACE, 0).await.is_empty());

            let answer = revoke(&client, &first, true).await.expect("signed again");
            assert_eq!((answer.version_count, answer.remaining_count), (2, 0));
            assert_eq!(answer.key.expect("a key").state(), Revoked);
            refused(revoke(&client, &first, false).await, Code::FailedPrecondition, "KEY_STATE_WRONG");
            let hub = hub.restart_in_order().await;
            let client = hub.client().await;
            assert_eq!(signers(&client, "p").await, (second.clone(), second.clone()));
            assert_eq!(watching::in_force(&client).await, held, "what is in force is the same");
            activate(&client, "p", 2).await;
            assert_eq!(kinds(&client, NAMESPACE).await, ["RESIGN", "RESIGN"], "what is in force, then the rest");

            // A watch that resumes before the revocation gets the current set, because it would not accept the old messages.
            let options = WatchOptions {
                resume: Some(Cursor { epoch: 1, revision: 1 }),
                learn_keys: false,
                ..watching::everything(&client).await
            };
            assert!(options.keys.is_revoked(&first));
            let mut stream = watch(&client, options).await.expect("a watch");
            let SetChange::Replaced { policies, .. } = watching::change(&mut stream).await else { panic!("no snapshot") };
            assert_eq!(policies.len(), 2);

            // A watch of policies that the key signed nothing of gets the log as it is.
            let policies = [PolicyId::parse("policy", "q").expect("an id")].into();
            let options = WatchOptions {
                set: ActiveSetOptions { policies, ..Default::default() },
                resume: Some(Cursor { epoch: 1, revision: 1 }),
                ..watching::everything(&client).await
            };
            let mut stream = watch(&client, options).await.expect("a watch");
            let SetChange::Activated { changed, .. } = watching::change(&mut stream).await else { panic!("no activation") };
            assert_eq!(changed.len(), 1);
        }
    }

    /// A subscriber keeps its set; the message with the new signatures has the same versions.
    async fn a_subscriber_is_told_of_new_signatures(hub: Hub) {
        let client = hub.client().await;
        let first = signing(&client).await;
        release(&client, "p", "a: 1").await;
        release(&client, "q", "a: 1").await;
        let mut stream = watching::open(&client).await;
        watching::change(&mut stream).await;
        let second = rotate(&client).await;
        revoke(&client, &first, true).await.expect("a revocation");
        let SetChange::Activated { kind, changed, removed, .. } = watching::change(&mut stream).await else { panic!() };
        assert_eq!((kind.as_str(), removed.len()), ("RESIGN", 0));
        let by: Vec<_> = changed.iter().map(|active| (active.version, named_key(&active.manifest).expect("a key"))).collect();
        assert_eq!(by, [(1, second.clone()), (1, second.clone())]);
        let keys = trusted_keys(&client.list_signing_keys(pb::ListSigningKeysRequest::default()).await.expect("keys"));
        assert!(keys.expect("keys").is_revoked(&first));
    }

    /// Given an edit of the key rows, which are only for display, no key changes state, and the edit is reported.
    async fn an_edited_row_is_not_obeyed(hub: Hub) {
        let client = hub.client().await;
        let first = signing(&client).await;
        release(&client, "p", "a: 1").await;
        let second = rotate(&client).await;
        revoke(&client, &first, true).await.expect("a revocation");
        let third = prepare(&client).await.id();
        let truth = states(&client).await;
        hub.tamper(&format!("UPDATE signing_keys SET state = 'RETIRED', revoke_time = NULL WHERE key_id = '{first}'"));
        hub.tamper(&format!("UPDATE signing_keys SET state = 'ACTIVE' WHERE key_id = '{third}'"));
        hub.tamper(&format!("UPDATE signing_keys SET state = 'RETIRED' WHERE key_id = '{second}'"));
        let hub = hub.restart_in_order().await;
        let client = hub.client().await;
        assert_eq!(states(&client).await, truth);
        assert!(hub.has_logged("the rows of signing_keys are not what the log says"));
        release(&client, "p", "a: 2").await;
        assert_eq!(signers(&client, "p").await, (second.clone(), second.clone()));
        refused(revoke(&client, &second, false).await, Code::FailedPrecondition, "KEY_STATE_WRONG");
    }

    /// Given an attacker with the stolen key and the database, who adds a version whose manifest verifies, its row does not verify, and it
    /// is not signed again.
    async fn a_version_that_the_log_does_not_know_is_not_signed_again(hub: Hub) {
        let client = hub.client().await;
        let first = signing(&client).await;
        publish(&client, "p", "a: 1").await;
        let victim = get_version(&client, "p", 1).await;
        publish(&client, "p", "a: 2").await;
        let pem = std::fs::read_to_string(hub.data_dir().join("keys/signing-eddsa.pem")).expect("the stolen key");
        let stolen = PrivateKey::from_pem(&pem).expect("a key");
        let signed = jws::verify(&victim.manifest, TYP_BUNDLE, &watching::keys(&client).await).expect("the manifest");
        let digest = digest_of(b"a: 9").to_string();
        let payload = String::from_utf8(signed.payload).expect("JSON").replace(&victim.digest, &digest);
        let forged = jws::sign(TYP_BUNDLE, payload.as_bytes(), &stolen).expect("a forgery");
        let is_sqlite = hub.database_url.starts_with("sqlite");
        hub.tamper(if is_sqlite { "DROP TRIGGER versions_refuse_update" } else { "ALTER TABLE versions DISABLE TRIGGER USER" });
        let bytes = if is_sqlite { "X'613A2039'" } else { r"'\x613A2039'" };
        hub.tamper(&format!("INSERT INTO contents (digest, bytes) VALUES ('{digest}', {bytes})"));
        hub.tamper(&format!("UPDATE versions SET digest = '{digest}', manifest = '{forged}' WHERE number = 1"));
        let request = pb::GetVersionRequest { name: calls::version("p", 1), ..Default::default() };
        refused(client.get_version(request).await, Code::DataLoss, "DATA_LOSS");

        rotate(&client).await;
        let answer = revoke(&client, &first, true).await.expect("a revocation");
        assert_eq!((answer.version_count, answer.remaining_count), (2, 1));
        assert!(hub.has_logged("not signing a version again"));
        refused(calls::try_activate(&client, "p", 1, None).await, Code::DataLoss, "DATA_LOSS");
        activate(&client, "p", 2).await;
    }

    /// Given a repeated request, it has one effect.
    async fn a_repeated_request_has_one_effect(hub: Hub) {
        let client = hub.client().await;
        let request =
            pb::PrepareSigningKeyRequest { algorithm: "ES256".to_owned(), request_id: "once".to_owned() };
        let one = client.prepare_signing_key(request.clone()).await.expect("a key");
        assert_eq!(client.prepare_signing_key(request).await.expect("the same"), one);
        let files = std::fs::read_dir(hub.data_dir().join("keys")).expect("the keys").count();
        assert_eq!(files, 4, "signing, seal, issuer, and one prepared");
        assert_eq!(one.key.expect("a key").algorithm, "ES256");
    }
}

/// Given default settings, a key is public for an hour before it may sign.
#[tokio::test]
async fn a_new_key_waits_before_it_signs() {
    let hub = Hub::start(Database::Sqlite).await;
    let client = hub.client().await;
    let key = prepare(&client).await;
    let [ready, public] = [&key.ready_time, &key.prepare_time].map(|time| time.expect("a time").seconds);
    assert_eq!(ready - public, 3_600);
    let error = refused(try_activate(&client, &key.id()).await, Code::FailedPrecondition, "KEY_NOT_READY");
    assert_eq!(error.metadata()["ready_time_seconds"], ready.to_string());
    let (_, _, jwks) = crate::harness::http::get(&hub.http, "/.well-known/jwks.json").expect("keys");
    assert!(jwks.contains(&key.id()), "it is public meanwhile");
}

/// The commands, as an operator runs them.
#[tokio::test]
async fn keys_are_rotated_from_the_command_line() {
    let hub = Hub::start_with(Database::Sqlite, AT_ONCE).await;
    let client = hub.client().await;
    let first = signing(&client).await;
    release(&client, "p", "a: 1").await;
    let run = |arguments: Vec<String>| {
        let output = hub.cli().args(["--output", "json", "keys"]).args(arguments).output().expect("the command runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("JSON")
    };
    let words = |line: &str| line.split(' ').map(ToOwned::to_owned).collect::<Vec<_>>();
    let prepared = run(words("prepare --algorithm ES256"))["key"]["name"]
        .as_str()
        .expect("a name")
        .trim_start_matches("signingKeys/")
        .to_owned();
    run(words(&format!("activate {prepared} --reason rotation")));
    let revoked = run(words(&format!("revoke {first} --reason leaked --resign")));
    assert_eq!(revoked["versions"], serde_json::json!([calls::version("p", 1)]));
    assert_eq!((&revoked["version_count"], &revoked["remaining_count"]), (&1.into(), &0.into()));
    assert_eq!(signers(&client, "p").await, (prepared.clone(), prepared.clone()));
    let listed = hub.cli().args(["keys", "list"]).output().expect("the command runs");
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(text.contains("REVOKED") && text.contains("of store ") && text.lines().count() == 5, "{text}");
    let mut watched = hub.cli().args(["watch", "--until-revision", "3"]).output();
    let wait = async { watched.as_mut().expect("the command runs").status.success() };
    assert!(tokio::time::timeout(DEADLINE, wait).await.expect("an end"));
}
