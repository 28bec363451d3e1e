//! An attacker who can write the database temporarily deletes a row, or changes it so that no query finds it. A missing row decides as
//! little as an outdated one: the request is refused, or the server's memory decides.

use policyhub::client::{Client, ClientError, pb};
use tonic::Code;

use crate::harness::archives::{export, history, make, send, single_parts};
use crate::harness::calls::{NAMESPACE, draft_request, head, policy, publish_request, refusal, refused, set, version};
use crate::harness::on_both_databases;
use crate::harness::reviews::{needs, people, reviewed_policy};
use crate::tamper_older_rows::{QUIET, findings, keep, put_back};
use crate::tamper_rows::{edit, keep as drop_triggers};

/// Edits of the row of version 1 of p, after which no list of open or published versions has it.
const HIDES: [&str; 2] = [
    "DELETE FROM versions WHERE policy = 'p' AND number = 1",
    "UPDATE versions SET state = 'ABANDONED' WHERE policy = 'p' AND number = 1",
];

#[track_caller]
fn lost<T: std::fmt::Debug>(answer: Result<T, ClientError>) {
    refused(answer, Code::DataLoss, "DATA_LOSS");
}

async fn try_create(client: &Client, id: &str) -> Result<pb::CreatePolicyResponse, ClientError> {
    let made = pb::Policy { kind: pb::PolicyKind::Yaml.into(), settings: Some(needs(0)), ..Default::default() };
    let request = pb::CreatePolicyRequest {
        parent: NAMESPACE.to_owned(),
        policy_id: id.to_owned(),
        policy: Some(made),
        ..Default::default()
    };
    client.create_policy(request).await
}

/// Returns a request to publish the one open version of p.
fn publish_open() -> pb::PublishRequest {
    pb::PublishRequest { name: policy("p"), ..Default::default() }
}

fn labelled(content: &str, label: &str) -> pb::DraftRequest {
    pb::DraftRequest { label: label.to_owned(), ..draft_request("p", content) }
}

on_both_databases! {
    with QUIET;

    /// Given a hidden policy that needs approvals, it can't be created a second time without them.
    async fn a_hidden_policy_is_not_made_again(hub: Hub) {
        let mut hub = hub;
        let [admin, ann] = people(&hub, ["admin", "ann"]).await;
        reviewed_policy(&admin, "p", 2).await;
        let at = head(&admin).await;
        keep(&hub, "kept", "policies");
        edit(&hub, "DELETE FROM policies WHERE id = 'p'");
        lost(try_create(&ann, "p").await);
        lost(ann.draft(draft_request("p", "a: 1")).await);
        try_create(&ann, "q").await.expect("a policy that never was");
        put_back(&hub, "kept", "policies");
        edit(&hub, "DELETE FROM policies WHERE id = 'q'");
        // A server with empty caches uses the index and the events.
        edit(&hub, "DELETE FROM policies WHERE id = 'p'");
        hub.kill().await;
        let hub = hub.restart().await;
        let [ann] = people(&hub, ["ann"]).await;
        lost(try_create(&ann, "p").await);
        lost(ann.draft(draft_request("p", "a: 1")).await);
        lost(try_create(&ann, "q").await);
        assert_eq!(head(&ann).await, at + 1, "only q was made");
    }

    /// Given a hidden namespace, it can't be created a second time, without its quotas.
    async fn a_hidden_namespace_is_not_made_again(hub: Hub) {
        let [admin] = people(&hub, ["admin"]).await;
        make(&admin, "team").await;
        keep(&hub, "kept", "namespaces");
        edit(&hub, "DELETE FROM namespaces WHERE id = 'team'");
        let request = pb::CreateNamespaceRequest { namespace_id: "team".to_owned(), ..Default::default() };
        lost(admin.create_namespace(request).await);
        put_back(&hub, "kept", "namespaces");
        make(&admin, "other").await;
    }

    /// Given a hidden import, nobody else can begin it again and so count as its author.
    async fn a_hidden_import_is_not_begun_again(hub: Hub) {
        let [admin, ann, bob] = people(&hub, ["admin", "ann", "bob"]).await;
        history(&admin).await;
        let parts = single_parts(&export(&hub, "default", "a.jsonl"), &make(&admin, "copy").await);
        send(&ann, &parts[..2]).await.expect("two parts");
        drop_triggers(&hub, &[]);
        for table in ["imports", "imported_events"] {
            keep(&hub, &format!("kept_{table}"), table);
            edit(&hub, &format!("DELETE FROM {table} WHERE namespace = 'copy'"));
        }
        edit(&hub, "UPDATE namespaces SET importing = 0 WHERE id = 'copy'");
        lost(send(&bob, &parts[..1]).await);
        edit(&hub, "UPDATE namespaces SET importing = 1 WHERE id = 'copy'");
        for table in ["imports", "imported_events"] {
            put_back(&hub, &format!("kept_{table}"), table);
        }
        assert!(send(&ann, &parts[2..]).await.expect("the other parts").finished);
    }

    /// Given two open drafts of which one is hidden, the other one does not count as the only one.
    async fn a_hidden_draft_is_counted(hub: Hub) {
        let [admin, ann, eve] = people(&hub, ["admin", "ann", "eve"]).await;
        drop_triggers(&hub, &[]);
        ann.draft(draft_request("p", "a: good")).await.expect("a draft");
        eve.draft(draft_request("p", "a: evil")).await.expect("a draft");
        set(&admin, "p", pb::PolicySettings { max_open_drafts: 2, ..Default::default() }).await;
        keep(&hub, "kept", "versions");
        let at = head(&admin).await;
        let honest = |reason: &str| (Code::FailedPrecondition, reason.to_owned());
        let answers = async || {
            let publication = refusal(admin.publish(publish_open()).await);
            let draft = refusal(eve.draft(draft_request("p", "a: third")).await);
            [publication, draft].map(|error| (error.code(), error.reason().to_owned()))
        };
        let truth = answers().await;
        assert_eq!(truth[0], honest("SEVERAL_OPEN_DRAFTS"));
        assert_eq!(truth[1].1, "TOO_MANY_OPEN_DRAFTS");
        for sql in HIDES {
            edit(&hub, sql);
            lost(admin.publish(publish_open()).await);
            lost(eve.draft(draft_request("p", "a: third")).await);
            put_back(&hub, "kept", "versions");
        }
        assert_eq!(answers().await, truth);
        assert_eq!((head(&admin).await, findings(&admin).await), (at, vec![]), "nothing was decided");
    }

    /// Given a hidden version with the highest label, neither a lower label nor the same one with other content can be published.
    async fn a_hidden_label_is_taken(hub: Hub) {
        let mut hub = hub;
        let [ann] = people(&hub, ["ann"]).await;
        drop_triggers(&hub, &[]);
        ann.draft(labelled("a: 1", "2.0.0")).await.expect("a draft");
        ann.publish(publish_request("p", 1)).await.expect("a publication");
        ann.draft(labelled("a: 2", "1.0.0")).await.expect("a draft");
        keep(&hub, "kept", "versions");
        let at = head(&ann).await;
        let lower = refusal(ann.publish(publish_request("p", 2)).await);
        assert_eq!(lower.reason(), "VALIDATION_FAILED", "{lower:?}");
        refused(ann.draft(labelled("a: 3", "2.0.0")).await, Code::AlreadyExists, "LABEL_CONTENT_CONFLICT");
        for sql in HIDES {
            // What was proven once stays in memory: a published version stays published.
            edit(&hub, sql);
            refused(ann.publish(publish_request("p", 2)).await, lower.code(), "VALIDATION_FAILED");
            lost(ann.draft(labelled("a: 3", "2.0.0")).await);
            put_back(&hub, "kept", "versions");
        }
        for sql in HIDES {
            edit(&hub, sql);
            hub.kill().await;
            hub = hub.restart().await;
            let [ann] = people(&hub, ["ann"]).await;
            lost(ann.publish(publish_request("p", 2)).await);
            lost(ann.stage(pb::StageRequest { name: version("p", 2), ..Default::default() }).await);
            lost(ann.draft(labelled("a: 3", "2.0.0")).await);
            put_back(&hub, "kept", "versions");
        }
        let [ann] = people(&hub, ["ann"]).await;
        assert_eq!((head(&ann).await, findings(&ann).await), (at, vec![]), "nothing was decided");
    }
}
