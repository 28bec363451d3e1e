//! An attacker who can write the database: edits are refused with DATA_LOSS, never served (docs/guarantees.md#g3, #g19).
//!
//! Each case edits one column without the triggers, restarts the server and compares every read with its answer before: a read is either
//! refused or answers the original.

use std::collections::BTreeMap;

use policyhub::client::pb::watch_active_response::Message;
use policyhub::client::{Client, ClientError, pb};
use tonic::Code;

use crate::harness::calls::{
    NAMESPACE, activate, draft, draft_request, policy, refused, release, try_activate, version,
};
use crate::harness::watching::{self, LIVELY};
use crate::harness::{Hub, on_both_databases};

/// Reads whose answer depends on a bundle in force.
const BUNDLE: &[&str] = &["GetActive policy", "ListActive", "GetVersion", "resume", "watch"];
/// Reads whose answer depends on a pointer.
const POINTER: &[&str] = &["GetActive policy", "ListActive", "watch"];
/// Reads whose answer depends on the log.
const LOG: &[&str] = &["ListEvents", "resume"];

const TABLES: &[&str] = &["contents", "events", "pointer_changes", "versions"];
/// What restores a table: the columns that the cases edit, and the key.
const COLUMNS: &[(&str, &[&str], &[&str])] = &[
    ("contents", &["digest"], &["bytes"]),
    (
        "versions",
        &["namespace", "policy", "number"],
        &["manifest", "digest", "label", "content_type", "author", "publisher", "size_bytes"],
    ),
    ("policies", &["namespace", "id"], &["active_version"]),
    (
        "events",
        &["namespace", "revision"],
        &["payload", "hash", "seal", "statement", "prev_hash", "seal_key_id", "epoch"],
    ),
    ("pointer_changes", &["namespace", "policy", "revision"], &["version"]),
    ("namespaces", &["id"], &["head_revision", "head_hash"]),
];

const P2: &str = "policy = 'p' AND number = 2";
const P2_ACTIVATED: &str =
    "namespace = 'default' AND revision = (SELECT max(revision) FROM pointer_changes WHERE policy = 'p')";

const HASH_OF_NOTHING: &str = "X'E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855'";

/// Returns the cases: table, column, new value, rows, and the reads that must be refused.
fn cases() -> Vec<(&'static str, &'static str, &'static str, String, Vec<&'static str>)> {
    let version = |column, value| ("versions", column, value, P2.to_owned(), BUNDLE.to_vec());
    let event = |column, value| ("events", column, value, P2_ACTIVATED.to_owned(), LOG.to_vec());
    let pointer = |value, reads: &[&'static str]| {
        ("pointer_changes", "version", value, format!("policy = 'p' AND {P2_ACTIVATED}"), reads.to_vec())
    };
    let other = "(SELECT o.digest FROM versions o WHERE o.policy = 'p' AND o.number = 1)";
    vec![
        (
            "contents",
            "bytes",
            "X'613A2039'",
            format!("digest = (SELECT digest FROM versions WHERE {P2})"),
            BUNDLE.to_vec(),
        ),
        version("manifest", "(SELECT o.manifest FROM versions o WHERE o.policy = 'p' AND o.number = 1)"),
        version("manifest", "''"),
        version("digest", other),
        version("label", "'9.9.9'"),
        version("label", "NULL"),
        version("content_type", "'text/plain'"),
        version("size_bytes", "1"),
        version("author", "'local:mallory'"),
        version("publisher", "'local:mallory'"),
        ("policies", "active_version", "1", "id = 'p'".to_owned(), POINTER.to_vec()),
        ("policies", "active_version", "0", "id = 'p'".to_owned(), POINTER.to_vec()),
        ("policies", "active_version", "1", "id = 'gone'".to_owned(), vec!["ListActive", "watch"]),
        event("payload", "X'7B7D'"),
        event("hash", "prev_hash"),
        event("prev_hash", "hash"),
        event("seal", "hash"),
        event("seal_key_id", "'mine'"),
        event("epoch", "2"),
        ("events", "statement", "''", P2_ACTIVATED.to_owned(), [POINTER, LOG].concat()),
        (
            "events",
            "statement",
            "(SELECT o.statement FROM events o WHERE o.statement <> '' AND o.namespace = 'default' \
              ORDER BY o.revision LIMIT 1)",
            P2_ACTIVATED.to_owned(),
            [POINTER, LOG].concat(),
        ),
        pointer("1", POINTER),
        pointer("0", POINTER),
        ("namespaces", "head_hash", HASH_OF_NOTHING, "id = 'default'".to_owned(), POINTER.to_vec()),
        ("namespaces", "head_revision", "head_revision - 5", "id = 'default'".to_owned(), POINTER.to_vec()),
    ]
}

fn allow_all(hub: &Hub) {
    let is_sqlite = hub.database_url.starts_with("sqlite");
    for table in TABLES {
        if is_sqlite {
            hub.tamper(&format!("DROP TRIGGER {table}_refuse_update"));
        } else {
            hub.tamper(&format!("ALTER TABLE {table} DISABLE TRIGGER USER"));
        }
    }
    for (table, _, _) in COLUMNS {
        hub.tamper(&format!("CREATE TABLE kept_{table} AS SELECT * FROM {table}"));
    }
}

fn restore(hub: &Hub, table: &str) {
    let (_, key, columns) = COLUMNS.iter().find(|(name, _, _)| name == &table).expect("a table of the cases");
    let same: Vec<String> = key.iter().map(|column| format!("k.{column} = {table}.{column}")).collect();
    let set = columns
        .iter()
        .map(|column| format!("{column} = (SELECT k.{column} FROM kept_{table} k WHERE {})", same.join(" AND ")));
    hub.tamper(&format!("UPDATE {table} SET {}", set.collect::<Vec<_>>().join(", ")));
}

/// Removes the record that the namespace was frozen, so that each case starts from the same state.
fn thaw(hub: &Hub) {
    let _ = std::fs::remove_file(hub.data_dir().join("frozen.json"));
}

/// Returns the messages of a stream up to the head, or the error that ended it before.
async fn watch_until(client: &Client, resume: Option<pb::Cursor>, head: i64) -> Result<String, ClientError> {
    let mut stream = watching::raw(client, resume).await?;
    let mut text = String::new();
    loop {
        let message = stream.message().await?.expect("a stream that goes on").message.expect("a message");
        match message {
            Message::Heartbeat(heartbeat) if heartbeat.cursor.is_some_and(|cursor| cursor.revision >= head) => {
                return Ok(text);
            }
            Message::Heartbeat(_) => {}
            // Ignore the checkpoint: it differs by its time.
            Message::Snapshot(part) => text += &format!("{:?}\n", pb::Snapshot { checkpoint: String::new(), ..part }),
            message => text += &format!("{message:?}\n"),
        }
    }
}

/// Returns every read, with its answer or the reason of its refusal.
async fn reads(hub: &Hub, head: i64) -> BTreeMap<&'static str, Result<String, String>> {
    let client = hub.client().await;
    let active = pb::GetActiveRequest { name: policy("p"), ..Default::default() };
    let told_active = |answer| format!("{:?}", pb::GetActiveResponse { checked_time: None, ..answer });
    let one = client.get_active(active).await.map(told_active);
    let told_set =
        |answer| format!("{:?}", pb::ListActiveResponse { checked_time: None, checkpoint: String::new(), ..answer });
    let set = client.list_active(watching::whole_set()).await.map(told_set);
    let full = pb::GetVersionRequest { name: version("p", 2), view: pb::VersionView::Full.into() };
    // Whether the version is active depends on the pointer; here only the version counts.
    let got = client.get_version(full).await.map(|answer| {
        let version = answer.version.expect("a version");
        format!("{:?}", pb::Version { active: false, ..version })
    });
    let events = pb::ListEventsRequest { parent: NAMESPACE.to_owned(), page_size: 1_000, ..Default::default() };
    let events = client.list_events(events).await.map(|answer| format!("{answer:?}"));
    // Read the stream before the snapshot: a server that has read the log once serves from what it verified then.
    let watch = watch_until(&client, None, head).await;
    let resume = match watch {
        Ok(_) => watch_until(&client, Some(pb::Cursor { epoch: 1, revision: 0, ..Default::default() }), head)
            .await
            .map_err(Some),
        Err(_) => Err(None),
    };
    let refusal = |error: ClientError| {
        assert_eq!(error.code() == tonic::Code::DataLoss, error.reason() == "DATA_LOSS", "{error:?}");
        format!("{} ({:?})", error.reason(), error.code())
    };
    BTreeMap::from([
        ("GetActive policy", one.map_err(refusal)),
        ("ListActive", set.map_err(refusal)),
        ("GetVersion", got.map_err(refusal)),
        ("ListEvents", events.map_err(refusal)),
        ("watch", watch.map_err(refusal)),
        // Without a verified state to start from, there is no stream to resume.
        ("resume", resume.map_err(|error| error.map_or("DATA_LOSS (DataLoss)".to_owned(), refusal))),
    ])
}

on_both_databases! {
    with LIVELY;

    async fn an_edited_column_is_refused_and_never_served(hub: Hub) {
        let mut hub = hub;
        let client = hub.client().await;
        for (label, content) in [("1.0.0", "a: 1"), ("2.0.0", "a: 2")] {
            let request = pb::DraftRequest { label: label.to_owned(), ..draft_request("p", content) };
            let name = client.draft(request).await.expect("a draft").version.expect("a version").name;
            let request = pb::PublishRequest { name, ..Default::default() };
            client.publish(request).await.expect("a publication");
        }
        activate(&client, "p", 1).await;
        release(&client, "gone", "a: 1").await;
        let request = pb::DeactivateRequest { name: policy("gone"), reason: "a test".to_owned(), ..Default::default() };
        client.deactivate(request).await.expect("a deactivation");
        release(&client, "other", "a: 1").await;
        activate(&client, "p", 2).await;
        let head = watching::head(&client).await;
        let truth = reads(&hub, head).await;
        assert!(truth.values().all(Result::is_ok), "{truth:?}");
        allow_all(&hub);

        let mut wrong = Vec::new();
        for (table, column, value, rows, refusing) in cases() {
            hub.kill().await;
            thaw(&hub);
            let value = if hub.database_url.starts_with("sqlite") { value.to_owned() } else { value.replace("X'", r"'\x") };
            hub.tamper(&format!("UPDATE {table} SET {column} = {value} WHERE {rows}"));
            hub = hub.restart().await;
            for (read, answer) in reads(&hub, head).await {
                let is_right = match &answer {
                    Ok(_) => answer == truth[read] && !refusing.contains(&read),
                    // A head that is not the end of its log may have lost its tail, so the store suspects data loss.
                    Err(reason) => {
                        reason == "DATA_LOSS (DataLoss)"
                            || table == "namespaces" && reason == "STORE_IN_DOUBT (FailedPrecondition)"
                    }
                };
                if !is_right {
                    wrong.push(format!("{table}.{column} = {value}: {read} answers {answer:?}"));
                }
            }
            restore(&hub, table);
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        // Everything was restored, so the cases before did not hide each other.
        thaw(&hub);
        let hub = hub.restart_in_order().await;
        assert_eq!(reads(&hub, head).await, truth);
    }

    /// Given an edit under a running server, the server keeps what it verified, and watchers keep their set.
    async fn a_running_watch_is_not_moved_by_an_edit(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        release(&client, "p", "a: 2").await;
        release(&client, "q", "a: 1").await;
        let mut watch = watching::open(&client).await;
        watching::change(&mut watch).await;
        let before = watching::held(&watch);
        allow_all(&hub);
        hub.tamper("UPDATE policies SET active_version = 1 WHERE id = 'p'");
        hub.tamper("UPDATE pointer_changes SET version = 1 WHERE policy = 'p'");
        // The next change of another policy is sent; the edit is not.
        let revision = activate(&client, "q", 1).await;
        assert_eq!(watching::activation(&mut watch).await, (revision, vec!["q@1".to_owned()], vec![]));
        assert_eq!(watching::held(&watch), before);
    }

    /// Given the newest pointer change deleted while the server is stopped, with the old policy row restored, everything is as before it,
    /// except the root in the signed event at the head.
    async fn a_deleted_pointer_is_not_the_older_policy_in_force(hub: Hub) {
        let mut hub = hub;
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        release(&client, "p", "a: 2").await;
        draft(&client, "p", "a: 3").await;
        hub.signal("TERM");
        assert!(hub.ended().await.success(), "the server must end in order");
        allow_all(&hub);
        if hub.database_url.starts_with("sqlite") {
            hub.tamper("DROP TRIGGER pointer_changes_refuse_delete");
        }
        hub.tamper("DELETE FROM pointer_changes WHERE policy = 'p' AND version = 2");
        hub.tamper(
            "UPDATE policies SET active_version = 1, active_revision = (SELECT max(revision) FROM pointer_changes WHERE \
             policy = 'p') WHERE id = 'p'",
        );
        let hub = hub.restart().await;
        let client = hub.client().await;
        let asked = client.get_active(pb::GetActiveRequest { name: policy("p"), ..Default::default() }).await;
        refused(asked, Code::DataLoss, "DATA_LOSS");
        refused(client.list_active(watching::whole_set()).await, Code::DataLoss, "DATA_LOSS");
        refused(watch_until(&client, None, i64::MAX).await, Code::DataLoss, "DATA_LOSS");
        // Nothing new is signed over it.
        refused(client.draft(draft_request("p", "a: 4")).await, Code::DataLoss, "DATA_LOSS");
        refused(try_activate(&client, "p", 1, None).await, Code::DataLoss, "DATA_LOSS");
    }
}
