//! A schema that keeps a check busy for ever stops the checks of its own namespace, and of no other.

use policyhub::client::{Client, pb};
use tonic::Code;

use crate::harness::callers::{caller, grant, namespace};
use crate::harness::calls::{activate, publish, rollback_request};
use crate::harness::metrics::{counted, text, wait_for};
use crate::harness::on_both_databases;
use crate::harness::watching::DEADLINE;

const HOSTILE: &str = "namespaces/hostile";
/// More than there are slots.
const CALLS: usize = 6;

/// 4 KB that take 2^60 steps: pairs of `anyOf`, each of which asks twice for the next, and the last of which never holds.
fn endless_schema() -> String {
    let of = |number: usize| {
        format!(r##""a{number}":{{"anyOf":[{{"$ref":"#/$defs/a{0}"}},{{"$ref":"#/$defs/a{0}"}}]}}"##, number + 1)
    };
    let pairs: Vec<String> = (0..60).map(of).collect();
    format!(r##"{{"$ref":"#/$defs/a0","$defs":{{{},"a60":{{"type":"string"}}}}}}"##, pairs.join(","))
}

/// A draft in the hostile namespace, by its author, under that schema; the name of the version.
async fn hostile_draft(admin: &Client, author: &Client) -> String {
    namespace(admin, "hostile").await;
    grant(admin, "mallory", pb::Role::Author, HOSTILE).await;
    let settings = pb::PolicySettings { json_schema: endless_schema(), ..Default::default() };
    let policy = pb::Policy { kind: pb::PolicyKind::Json.into(), settings: Some(settings), ..Default::default() };
    let request = pb::CreatePolicyRequest {
        parent: HOSTILE.to_owned(),
        policy_id: "p".to_owned(),
        policy: Some(policy),
        ..Default::default()
    };
    author.create_policy(request).await.expect("a policy");
    let request = pb::DraftRequest {
        parent: format!("{HOSTILE}/policies/p"),
        content: "{}".into(),
        content_type: "application/json".to_owned(),
        ..Default::default()
    };
    author.draft(request).await.expect("a draft").version.expect("a version").name
}

on_both_databases! {
    /// Six calls of one author that never end, some of them abandoned: publish and rollback elsewhere go on at once.
    async fn one_author_stops_nobody_else(hub: Hub) {
        let admin = hub.client().await;
        publish(&admin, "p", "a: 1").await;
        activate(&admin, "p", 1).await;
        let author = caller(&hub, "mallory").await;
        let name = hostile_draft(&admin, &author).await;
        let calls: Vec<_> = (0..CALLS)
            .map(|_| {
                let (author, name) = (author.clone(), name.clone());
                tokio::spawn(async move { author.stage(pb::StageRequest { name, ..Default::default() }).await })
            })
            .collect();
        // Abandoned in pairs, as soon as they run: whoever gives up takes nothing along.
        let work = async {
            for round in 2..5 {
                let version = publish(&admin, "p", &format!("a: {round}")).await.version;
                activate(&admin, "p", version).await;
                admin.rollback(rollback_request("p", 0)).await.expect("a rollback");
                for call in calls.iter().skip((round as usize - 2) * 2).take(2) {
                    call.abort();
                }
            }
        };
        tokio::time::timeout(DEADLINE, work).await.expect("work in another namespace goes on");
        wait_for(&hub, "policyhub_abandoned_checks_running 2").await;
        let told = counted(&text(&hub), "policyhub_abandoned_checks_total").unwrap_or_default();
        assert!(told >= 2.0, "{told} were abandoned");
        // The namespace that did it waits for its own, and is told so.
        let refused = author.stage(pb::StageRequest { name, ..Default::default() }).await.expect_err("no slot");
        assert_eq!((refused.code, refused.reason.as_str()), (Code::ResourceExhausted, "LIMIT_EXCEEDED"));
    }
}
