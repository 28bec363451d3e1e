//! Credentials that are revoked before they expire: on every replica, at once or within a second, and permanently.

use std::sync::Arc;

use policyhub::client::{Client, pb};
use tonic::Code;

use crate::harness::calls::{events, reason};
use crate::harness::hub::binary;
use crate::harness::idp::{kept_out, wait_until};
use crate::harness::{Hub, on_both_databases};

const REVOKED: Option<&str> = Some("TOKEN_REVOKED");

fn issue(hub: &Hub, subject: &str) -> String {
    let mut command = binary();
    command.args(["token", "issue", "--subject", subject, "--ttl", "1h", "--data-dir"]).arg(hub.data_dir());
    let output = command.output().expect("the binary runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

fn revoke(hub: &Hub, arguments: &[&str]) -> String {
    let mut command = hub.cli();
    let output =
        command.args(["token", "revoke", "--reason", "lost"]).args(arguments).output().expect("the binary runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

on_both_databases! {
    /// Given one token revoked by its id, it stays revoked over a restart; other tokens still work.
    async fn a_token_is_ended_by_its_id(hub: Hub) {
        let (lost, kept) = (issue(&hub, "ci"), issue(&hub, "ci"));
        let by_lost = hub.client_with(Some(lost.clone())).await;
        assert_eq!(kept_out(&by_lost).await, None);
        let file = hub.dir.path().join("lost.token");
        std::fs::write(&file, &lost).expect("written");
        let said = revoke(&hub, &["--file", &file.display().to_string()]);
        assert!(said.contains("revision"), "{said}");
        // It was verified a moment ago; cached verifications are no exception.
        wait_until(&by_lost, REVOKED).await;
        assert_eq!(kept_out(&hub.client_with(Some(kept)).await).await, None);
        let hub = hub.restart().await;
        assert_eq!(kept_out(&hub.client_with(Some(lost)).await).await.as_deref(), REVOKED, "at the first call");

        let admin = hub.client().await;
        let log = events(&admin, "namespaces/system", 0).await;
        let event = log.iter().find(|event| event.kind() == pb::EventKind::RevokeToken).expect("an event");
        assert_eq!((event.actor.as_str(), event.reason.as_str()), ("local:admin", "lost"));
    }

    /// Given a revoked subject, all its tokens end, but none that it gets later.
    async fn a_subject_loses_what_it_was_issued(hub: Hub) {
        let (one, two, other) = (issue(&hub, "ci"), issue(&hub, "ci"), issue(&hub, "cd"));
        revoke(&hub, &["--subject", "local:ci"]);
        for token in [one, two] {
            wait_until(&hub.client_with(Some(token)).await, REVOKED).await;
        }
        assert_eq!(kept_out(&hub.client_with(Some(other)).await).await, None);
        // Within the same second, the order can't be determined.
        let wait = async {
            while kept_out(&hub.client_with(Some(issue(&hub, "ci"))).await).await.is_some() {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(crate::harness::watching::DEADLINE, wait).await.expect("a new token is good");
    }

    /// A request that names nothing is refused, and a retry is one revocation.
    async fn requests_to_revoke_are_checked(hub: Hub) {
        let client = hub.client().await;
        let request = |token_id: &str, subject: &str, reason: &str| pb::RevokeTokenRequest {
            token_id: token_id.to_owned(),
            subject: subject.to_owned(),
            reason: reason.to_owned(),
            request_id: String::new(),
        };
        let long = "x".repeat(5_000);
        for (token_id, subject, why) in [
            ("", "", "lost"), ("a", "local:b", "lost"), ("a", "", ""), ("a", "", long.as_str()), ("a\nb", "", "lost"),
            ("", "nobody", "lost"), ("", ":a", "lost"), ("", "local:", "lost"), (long.as_str(), "", "lost"),
        ] {
            assert_eq!(reason(client.revoke_token(request(token_id, subject, why)).await), "INVALID_ARGUMENT");
        }
        let again = pb::RevokeTokenRequest { request_id: "once".to_owned(), ..request("some-jti", "", "lost") };
        let first = client.revoke_token(again.clone()).await.expect("revoked");
        assert_eq!(client.revoke_token(again.clone()).await.expect("the same answer"), first);
        let reused = pb::RevokeTokenRequest { token_id: "another".to_owned(), ..again };
        assert_eq!(reason(client.revoke_token(reused).await), "REQUEST_ID_REUSED");
    }
}

/// Another replica honours it too, also during an outage of the database.
#[tokio::test(flavor = "multi_thread")]
async fn another_replica_honours_it_also_in_an_outage() {
    let keys = tempfile::tempdir().expect("a directory");
    let keys_dir = keys.path().join("keys").display().to_string();
    let cluster = crate::harness::postgres::Cluster::start(&[]);
    let url = cluster.create_database();
    let dir = || Arc::new(tempfile::tempdir().expect("a directory"));
    let one = Hub::start_on(dir(), url.clone(), &["--keys-dir", &keys_dir]).await;
    let other = Hub::start_on(dir(), url, &["--keys-dir", &keys_dir]).await;

    let mut command = binary();
    command.args(["token", "issue", "--subject", "ci", "--ttl", "1h", "--keys-dir", &keys_dir]);
    let token = String::from_utf8(command.output().expect("the binary runs").stdout).expect("text").trim().to_owned();
    let clients: Vec<Client> =
        [one.client_with(Some(token.clone())).await, other.client_with(Some(token)).await].into();
    for client in &clients {
        assert_eq!(kept_out(client).await, None);
    }
    revoke(&one, &["--subject", "local:ci"]);
    for client in &clients {
        wait_until(client, REVOKED).await;
    }
    let admin = other.client().await;
    cluster.stop(&cluster.data());
    let request = || pb::CreateNamespaceRequest { namespace_id: "team".to_owned(), ..Default::default() };
    let error = admin.create_namespace(request()).await.expect_err("there is no database");
    assert_eq!(error.code(), Code::Unavailable, "{error:?}");
    assert_eq!(kept_out(&clients[1]).await.as_deref(), REVOKED, "what is known stays known");
}
