//! An attacker who can write the database temporarily hides the source of versions, or forges or hides a move of a pointer: imports and
//! earlier active versions are decided by the events, which are proven.

use policyhub::client::{Client, ClientError, pb};
use tonic::Code;

use crate::harness::archives::{export, make, parts, send, single_parts};
use crate::harness::calls::{
    NAMESPACE, activate, draft_request, head, policy, publish_request, refused, release, version,
};
use crate::harness::reviews::{approve, people, reviewed_policy, staged};
use crate::harness::runs::{record, run_request};
use crate::harness::subscribing::at;
use crate::harness::{Hub, on_both_databases};
use crate::tamper_older_rows::{QUIET, findings, keep, put_back};
use crate::tamper_rows::{edit, keep as drop_triggers};

const COPY: &str = "namespaces/copy";
const COPIED: &str = "namespaces/copy/policies/p";

#[track_caller]
fn lost<T: std::fmt::Debug>(answer: Result<T, ClientError>) {
    refused(answer, Code::DataLoss, "DATA_LOSS");
}

/// Creates a policy that needs an approval, with version 1 published by ann, imported by eve into the namespace `copy`.
async fn imported(hub: &Hub, [admin, ann, bob, eve]: [&Client; 4]) -> pb::Version {
    reviewed_policy(admin, "p", 1).await;
    let reviewed = staged(ann, "p", "a: 1").await;
    approve(bob, &reviewed).await.expect("an approval");
    ann.publish(publish_request("p", reviewed.version)).await.expect("a publication");
    let parts = parts(&export(hub, "default", "a.jsonl"), &make(admin, "copy").await);
    send(eve, &parts).await.expect("an import");
    let request = pb::GetVersionRequest { name: format!("{COPIED}/versions/1"), ..Default::default() };
    admin.get_version(request).await.expect("a version").version.expect("a version")
}

async fn try_activate(client: &Client) -> Result<pb::ActivateResponse, ClientError> {
    let to = Some(pb::activate_target::To::Version(1));
    let target = pb::ActivateTarget { policy: COPIED.to_owned(), to, expected_active: None };
    let request = pb::ActivateRequest {
        parent: COPY.to_owned(),
        targets: vec![target],
        reason: "a test".to_owned(),
        ..Default::default()
    };
    client.activate(request).await
}

async fn verdict(client: &Client) -> bool {
    let request = pb::VerifyLogRequest { parent: COPY.to_owned(), after: None };
    client.verify_log(request).await.expect("a verdict").valid
}

/// Returns what was in force of p right after a revision, by GetActive and by a run at that cursor.
async fn active_at(client: &Client, revision: i64, run_id: String) -> [Result<String, ClientError>; 2] {
    let then = Some(pb::get_active_request::At::Cursor(pb::Cursor::of_revision(revision)));
    let active = client.get_active(pb::GetActiveRequest { name: policy("p"), at: then, ..Default::default() }).await;
    let active = active.map(|answer| answer.bundle.expect("a bundle").name);
    let run = record(client, run_request(&run_id, &["p"], Some(at(revision)))).await;
    let version_of = |run: pb::Run| version("p", run.policies.first().expect("a policy").version);
    [active, run.map(version_of)]
}

on_both_databases! {
    with QUIET;

    /// Given a hidden import row, the importer still counts as the author of the version.
    async fn a_hidden_import_does_not_free_its_importer(hub: Hub) {
        let [admin, ann, bob, eve] = people(&hub, ["admin", "ann", "bob", "eve"]).await;
        let version = imported(&hub, [&admin, &ann, &bob, &eve]).await;
        refused(approve(&eve, &version).await, Code::FailedPrecondition, "SELF_APPROVAL");
        keep(&hub, "kept", "imports");
        edit(&hub, "DELETE FROM imports WHERE namespace = 'copy'");
        lost(approve(&eve, &version).await);
        lost(approve(&bob, &version).await);
        put_back(&hub, "kept", "imports");
        refused(approve(&eve, &version).await, Code::FailedPrecondition, "SELF_APPROVAL");
        approve(&bob, &version).await.expect("an approval of somebody else");
        assert!(verdict(&admin).await);
    }

    /// Given an edited flag of the namespace, nobody else can write while an import is unfinished.
    async fn the_flag_of_an_import_says_what_the_imports_say(hub: Hub) {
        let mut hub = hub;
        let [admin, ann] = people(&hub, ["admin", "ann"]).await;
        release(&admin, "p", "a: 1").await;
        let parts = single_parts(&export(&hub, "default", "a.jsonl"), &make(&admin, "copy").await);
        send(&admin, &parts[..2]).await.expect("two parts");
        let other = || pb::DraftRequest { parent: format!("{COPY}/policies/q"), ..draft_request("q", "a: 1") };
        refused(ann.draft(other()).await, Code::FailedPrecondition, "IMPORT_UNFINISHED");
        edit(&hub, "UPDATE namespaces SET importing = 0 WHERE id = 'copy'");
        lost(ann.draft(other()).await);
        lost(send(&admin, &parts[2..3]).await);
        keep(&hub, "kept", "imports");
        edit(&hub, "DELETE FROM imports WHERE namespace = 'copy'");
        lost(ann.draft(other()).await);
        hub.kill().await;
        let hub = hub.restart().await;
        let [admin, ann] = people(&hub, ["admin", "ann"]).await;
        lost(ann.draft(other()).await);
        put_back(&hub, "kept", "imports");
        edit(&hub, "UPDATE namespaces SET importing = 1 WHERE id = 'copy'");
        refused(ann.draft(other()).await, Code::FailedPrecondition, "IMPORT_UNFINISHED");
        assert!(send(&admin, &parts[2..]).await.expect("the other parts").finished);
        ann.draft(other()).await.expect("a draft");
        edit(&hub, "UPDATE namespaces SET importing = 1 WHERE id = 'copy'");
        lost(ann.draft(other()).await);
    }

    /// Given a forged row that says that an imported version was in force here, the version still needs its approvals.
    async fn an_invented_move_approves_nothing(hub: Hub) {
        let [admin, ann, bob, eve] = people(&hub, ["admin", "ann", "bob", "eve"]).await;
        let version = imported(&hub, [&admin, &ann, &bob, &eve]).await;
        drop_triggers(&hub, &[]);
        refused(try_activate(&eve).await, Code::FailedPrecondition, "APPROVALS_MISSING");
        edit(&hub, "INSERT INTO pointer_changes (namespace, policy, revision, version) SELECT 'copy', 'p', head_revision, 1 \
                    FROM namespaces WHERE id = 'copy'");
        lost(try_activate(&eve).await);
        let rollback = pb::RollbackRequest {
            name: COPIED.to_owned(), to: Some(pb::rollback_request::To::Version(1)), reason: "it was better".to_owned(), ..Default::default()
        };
        lost(eve.rollback(rollback).await);
        edit(&hub, "DELETE FROM pointer_changes WHERE namespace = 'copy'");
        refused(try_activate(&eve).await, Code::FailedPrecondition, "APPROVALS_MISSING");
        approve(&bob, &version).await.expect("an approval");
        try_activate(&eve).await.expect("an activation");
        assert!(verdict(&admin).await);
    }

    /// Given hidden moves of the pointer, neither a run nor GetActive uses what was in force before them.
    async fn a_hidden_move_tells_nobody_what_was_in_force(hub: Hub) {
        let [ann] = people(&hub, ["ann"]).await;
        drop_triggers(&hub, &[]);
        let mut moves = Vec::new();
        for content in ["a: 1", "a: 2"] {
            release(&ann, "p", content).await;
            moves.push(head(&ann).await);
        }
        moves.push(activate(&ann, "p", 1).await);
        release(&ann, "q", "a: 1").await;
        release(&ann, "p", "a: 3").await;
        moves.push(head(&ann).await);
        keep(&hub, "kept", "pointer_changes");
        keep(&hub, "kept_policies", "policies");
        let hide = |hidden: &[i64]| {
            let hidden = hidden.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            edit(&hub, &format!("DELETE FROM pointer_changes WHERE policy = 'p' AND revision IN ({hidden})"));
        };
        // One; two that lead away and back; the first; all; the newest, with the pointer restored.
        let hidden = [vec![moves[1]], vec![moves[1], moves[2]], vec![moves[0]], moves.clone(), vec![moves[3]]];
        for (number, (hidden, asked)) in hidden.iter().zip([1, 1, 0, 1, 3]).enumerate() {
            hide(hidden);
            if hidden == &[moves[3]] {
                let before = moves[2];
                edit(&hub, &format!("UPDATE policies SET active_version = 1, active_revision = {before} WHERE id = 'p'"));
            }
            for answer in active_at(&ann, moves[asked], format!("hidden-{number}")).await {
                lost(answer);
            }
            put_back(&hub, "kept", "pointer_changes");
            put_back(&hub, "kept_policies", "policies");
        }
        for (number, version) in [1, 2, 1, 3].into_iter().enumerate() {
            for answer in active_at(&ann, moves[number], format!("honest-{number}")).await {
                assert_eq!(answer.expect("what was in force"), format!("{NAMESPACE}/policies/p/versions/{version}"));
            }
        }
        assert_eq!(findings(&ann).await, vec![]);
    }
}
