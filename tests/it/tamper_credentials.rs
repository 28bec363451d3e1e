//! An attacker who can write the database restores what was removed: a revoked token, a role. Neither is accepted, and the server reports
//! it by itself.

use policyhub::client::pb;
use tonic::Code;

use crate::harness::calls::{NAMESPACE, refused};
use crate::harness::http::get;
use crate::harness::idp::{kept_out, wait_until};
use crate::harness::metrics::wait_for;
use crate::harness::{callers, on_both_databases};
use crate::tamper_older_rows::{keep, put_back};

/// Settings of a server that verifies its logs often.
const AUDITED: &[&str] = &["--audit-interval-ms", "20"];

async fn is_ended(hub: &crate::harness::Hub, token: &str) {
    wait_until(&hub.client_with(Some(token.to_owned())).await, Some("TOKEN_REVOKED")).await;
}

async fn says_that_it_is_frozen(hub: &crate::harness::Hub, namespace: &str) {
    wait_for(hub, &format!("policyhub_namespace_frozen{{namespace=\"{namespace}\"}} 1")).await;
    let (status, _, body) = get(&hub.http, "/readyz").expect("an answer");
    assert_eq!((status, body.as_str()), (200, "degraded: 1 namespace is frozen; the metrics name them\n"));
}

on_both_databases! {
    with AUDITED;

    /// Given deleted revocation rows and a restart, the token stays revoked, because the log has the revocation.
    async fn a_revocation_whose_row_is_gone_goes_on(hub: Hub) {
        let admin = hub.client().await;
        let of_subject = callers::issue(&hub, &["--subject", "ci", "--ttl", "1h"]);
        let by_id = callers::issue(&hub, &["--subject", "cd", "--ttl", "1h"]);
        let lost = hub.dir.path().join("lost.token");
        std::fs::write(&lost, &by_id).expect("written");
        for ended in [vec!["--subject", "local:ci"], vec!["--file", &lost.display().to_string()]] {
            let done = hub.cli().args(["token", "revoke", "--reason", "lost"]).args(ended).output().expect("a command");
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        }
        is_ended(&hub, &of_subject).await;
        is_ended(&hub, &by_id).await;
        drop(admin);
        hub.tamper("DELETE FROM revoked_tokens");
        let hub = hub.restart().await;
        is_ended(&hub, &of_subject).await;
        is_ended(&hub, &by_id).await;
        says_that_it_is_frozen(&hub, "system").await;
        wait_for(&hub, "policyhub_audit_findings 2").await;
        let other = callers::issue(&hub, &["--subject", "cd", "--ttl", "1h"]);
        assert_eq!(kept_out(&hub.client_with(Some(other)).await).await, None, "another token of the same subject is good");
    }

    /// Given the row of a removed role that is put back, the role is not accepted, and the row is found.
    async fn a_role_that_was_put_back_is_found(hub: Hub) {
        let admin = hub.client().await;
        let eve = callers::caller(&hub, "eve").await;
        let binding = callers::grant(&admin, "eve", pb::Role::Admin, NAMESPACE).await;
        keep(&hub, "before", "role_bindings");
        callers::take_away(&admin, &binding.name).await.expect("taken away");
        put_back(&hub, "before", "role_bindings");
        says_that_it_is_frozen(&hub, "default").await;
        let granted = callers::try_grant(&eve, "local:mallory", pb::Role::Admin, NAMESPACE).await;
        refused(granted, Code::DataLoss, "DATA_LOSS");
    }
}
