//! A schema that keeps a check busy for ever blocks nobody: neither other namespaces nor, once its callers are gone, its own.

use std::collections::HashMap;

use policyhub::client::{Client, pb};
use tokio::task::JoinSet;
use tonic::Code;

use crate::check_workers::endless_schema;
use crate::harness::callers::{caller, grant, namespace};
use crate::harness::calls::{activate, publish, rollback_request};
use crate::harness::guardrails::set_guardrails;
use crate::harness::metrics::{counted, text};
use crate::harness::on_both_databases;
use crate::harness::watching::DEADLINE;
use crate::harness::workers::{LEFT_TICKS_MAX, cpu_ticks, ended_after_ticks, workers, workers_until};

/// Namespaces that together have all slots of checks.
const HOSTILE: [&str; 2] = ["hostile", "hostile-2"];
/// Concurrent calls; more than one namespace has slots.
const CALLS: usize = 4;
/// Check slots of one namespace.
const SLOTS: usize = 2;
/// CPU time, in ticks (a fifth of a second), after which a worker counts as running an endless check.
const BUSY_TICKS: u64 = 20;

/// Drafts a version in a hostile namespace, by its author, under a schema whose check does not end. Returns its name.
async fn hostile_draft(admin: &Client, author: &Client, id: &str) -> String {
    let parent = format!("namespaces/{id}");
    namespace(admin, id).await;
    grant(admin, "mallory", pb::Role::Author, &parent).await;
    let settings = pb::PolicySettings { json_schema: endless_schema(), ..Default::default() };
    let policy = pb::Policy { kind: pb::PolicyKind::Json.into(), settings: Some(settings), ..Default::default() };
    let request = pb::CreatePolicyRequest {
        parent: parent.clone(),
        policy_id: "p".to_owned(),
        policy: Some(policy),
        ..Default::default()
    };
    author.create_policy(request).await.expect("a policy");
    let request = pb::DraftRequest {
        parent: format!("{parent}/policies/p"),
        content: "{}".into(),
        content_type: "application/json".to_owned(),
        ..Default::default()
    };
    author.draft(request).await.expect("a draft").version.expect("a version").name
}

on_both_databases! {
    /// Given four endless calls of one author, two of them running, all abandoned: publish and rollback elsewhere work meanwhile, the
    /// processes end with their callers, and the author's next call is answered.
    async fn one_author_stops_nobody_else(hub: Hub) {
        let admin = hub.client().await;
        publish(&admin, "p", "a: 1").await;
        activate(&admin, "p", 1).await;
        let author = caller(&hub, "mallory").await;
        let name = hostile_draft(&admin, &author, HOSTILE[0]).await;
        let before = workers(&hub).iter().map(|worker| (worker.pid, cpu_ticks(worker.pid))).collect::<HashMap<_, _>>();
        let is_busy = |pid: u32| cpu_ticks(pid) >= before.get(&pid).unwrap_or(&0) + BUSY_TICKS;
        let calls: Vec<_> = (0..CALLS)
            .map(|_| {
                let (author, name) = (author.clone(), name.clone());
                tokio::spawn(async move { author.stage(pb::StageRequest { name, ..Default::default() }).await })
            })
            .collect();
        let busy = workers_until(&hub, |found| found.iter().filter(|worker| is_busy(worker.pid)).count() >= SLOTS).await;
        let busy: Vec<u32> = busy.iter().map(|worker| worker.pid).filter(|pid| is_busy(*pid)).collect();
        let work = async {
            for round in 2..5 {
                let version = publish(&admin, "p", &format!("a: {round}")).await.version;
                activate(&admin, "p", version).await;
                admin.rollback(rollback_request("p", 0)).await.expect("a rollback");
            }
        };
        tokio::time::timeout(DEADLINE, work).await.expect("work in another namespace goes on");
        calls.iter().for_each(|call| call.abort());
        let used = ended_after_ticks(&busy).await;
        assert!(used <= LEFT_TICKS_MAX, "checks that nobody waits for used {used} ticks more");
        let received = counted(&text(&hub), "policyhub_abandoned_checks_total").unwrap_or_default();
        assert!(received >= 1.0, "{received} were abandoned");
        let refused = author.stage(pb::StageRequest { name, ..Default::default() }).await.expect_err("a finding");
        assert_eq!((refused.code(), refused.reason()), (Code::FailedPrecondition, "VALIDATION_FAILED"));
        assert!(refused.message().contains("CHECK_LIMIT_EXCEEDED"), "{refused:?}");
    }

    /// Given an author whose endless checks hold every slot, those of several namespaces: a rollback elsewhere, which needs a check, does not
    /// wait until one of them ends.
    async fn a_rollback_waits_for_no_author(hub: Hub) {
        let admin = hub.client().await;
        for round in 1..3 {
            let version = publish(&admin, "p", &format!("a: {round}")).await.version;
            activate(&admin, "p", version).await;
        }
        // What was checked before does not count for these rules.
        set_guardrails(&admin, "namespaces/default/guardrails", &[("some", "content.a > 0")]).await;
        let author = caller(&hub, "mallory").await;
        let mut calls = JoinSet::new();
        for id in HOSTILE {
            let name = hostile_draft(&admin, &author, id).await;
            for _ in 0..SLOTS {
                let (author, request) = (author.clone(), pb::StageRequest { name: name.clone(), ..Default::default() });
                calls.spawn(async move { author.stage(request).await });
            }
        }
        let before = workers(&hub).iter().map(|worker| (worker.pid, cpu_ticks(worker.pid))).collect::<HashMap<_, _>>();
        let is_busy = |pid: u32| cpu_ticks(pid) >= before.get(&pid).unwrap_or(&0) + BUSY_TICKS;
        let all = HOSTILE.len() * SLOTS;
        workers_until(&hub, |found| found.iter().filter(|worker| is_busy(worker.pid)).count() >= all).await;
        admin.rollback(rollback_request("p", 0)).await.expect("a rollback");
        assert!(calls.try_join_next().is_none(), "it waited for a check of the author");
    }
}
