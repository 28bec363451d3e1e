//! Every column of every table, edited by an attacker who can write the database (docs/guarantees.md#g3, #g19): no edit is served as if it
//! were true, and VerifyLog finds what no read shows.
//!
//! The columns are read from the schema itself. A column that is not proven must be listed here, with the reason.

use std::collections::BTreeMap;

use policyhub::client::{Client, ClientError, pb};
use prost::Message as _;

use crate::harness::calls::{NAMESPACE, activate, deactivate, draft, policy, publish_request, release, set, version};
use crate::harness::guardrails::set_guardrails;
use crate::harness::metrics::wait_for;
use crate::harness::runs::{complete, end_request, record, run_name, run_request};
use crate::harness::schedules::{create_schedule, once, schedule_name, weekly};
use crate::harness::watching::LIVELY;
use crate::harness::{Hub, on_both_databases};

/// Columns that nothing proves, with the reason.
const EXEMPT: &[(&str, &str, &str)] = &[
    (
        "store_meta",
        "*",
        "a store of another id or key refuses to start; the incarnation and a bump only put it in doubt",
    ),
    ("seaql_migrations", "*", "a schema that is not this binary's is refused"),
    ("denials", "*", "a record for people, which changes nothing that is enforced"),
    ("subscribers", "*", "who watches is told by the runtimes and changes nothing that is enforced"),
    ("replicas", "*", "whether a server lives decides who is shown as online, which changes nothing that is enforced"),
    ("idempotency", "*", "has a test of its own: an answer is only read again by its own request"),
    ("events", "transaction_id", "only says which logs a poll looks at sooner: the others have their turn"),
    ("contents", "digest", "the primary key: content under another digest is no content of any version"),
    ("runs", "id", "a run under another key is refused; one that is gone may have been deleted, which operators do"),
    ("runs", "namespace", "the same"),
    // This history has no rows of these tables: their own tests edit them.
    ("approvals", "*", "approval_tamper edits every column"),
    ("manifests", "*", "a signature of its own says what the row does; keys has the forgeries"),
    ("imports", "*", "import_tamper edits every column"),
    ("imported_events", "*", "the same"),
    ("revoked_tokens", "*", "an edited row is refused; one that is gone may have been forgotten"),
];

/// Columns that a read may show before a check finds the edit: they are about the end of the log or the index of events, never about what
/// is in force. All others are refused when read.
const FOUND_LATER: &[(&str, &str)] = &[
    ("guardrails", "namespace"),
    ("schedules", "namespace"),
    ("schedules", "id"),
    ("namespaces", "epoch"),
    ("namespaces", "head_revision"),
    ("namespaces", "head_hash"),
    ("namespaces", "id"),
    ("namespaces", "access_revision"),
    ("namespaces", "policies"),
    ("namespaces", "versions"),
    ("namespaces", "content_bytes"),
    ("policies", "active_version"),
    ("policies", "active_revision"),
    ("policies", "id"),
    ("policies", "namespace"),
    // It proves nothing unless it verifies, and a list without content does not verify it.
    ("versions", "manifest"),
    ("versions", "number"),
    ("versions", "policy"),
    ("versions", "namespace"),
    ("reports", "number"),
    ("reports", "policy"),
    ("reports", "namespace"),
    ("events", "namespace"),
    ("events", "revision"),
    ("events", "policy"),
    ("events", "time"),
    ("pointer_changes", "namespace"),
    ("pointer_changes", "policy"),
    ("pointer_changes", "revision"),
    ("pointer_changes", "version"),
];

fn is_exempt(table: &str, column: &str) -> bool {
    EXEMPT.iter().any(|(name, columns, _)| *name == table && (*columns == "*" || *columns == column))
}

pub fn is_sqlite(hub: &Hub) -> bool {
    hub.database_url.starts_with("sqlite")
}

/// Returns every column with its type, `text`, `integer` or `blob`, and whether it may be NULL.
pub fn columns(hub: &Hub) -> Vec<(String, String, String)> {
    let sql = if is_sqlite(hub) {
        "SELECT m.name, c.name, c.type FROM sqlite_master m JOIN pragma_table_info(m.name) c \
         WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' ORDER BY 1, 2"
    } else {
        "SELECT table_name || '|' || column_name || '|' || data_type FROM information_schema.columns \
         WHERE table_schema = 'public' ORDER BY 1"
    };
    let text = hub.tamper(sql);
    let split = |line: &str| {
        let mut parts = line.split('|').map(str::to_owned);
        let mut next = || parts.next().expect("three parts");
        let (table, column, kind) = (next(), next(), next().to_lowercase());
        let kind = match kind.as_str() {
            kind if kind.contains("int") => "integer",
            "blob" | "bytea" => "blob",
            "boolean" => "boolean",
            _ => "text",
        };
        (table, column, kind.to_owned())
    };
    text.lines().map(split).collect()
}

/// Runs SQL with triggers and foreign keys off, as a superuser can.
pub fn try_edit(hub: &Hub, sql: &str) -> Result<String, String> {
    let prefix = if is_sqlite(hub) { "" } else { "SET session_replication_role = replica; " };
    hub.try_tamper(&format!("{prefix}{sql}"))
}

/// Runs such SQL, which must succeed.
pub fn edit(hub: &Hub, sql: &str) {
    try_edit(hub, sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// Drops the triggers that refuse edits, and saves a copy of each table.
pub fn keep(hub: &Hub, tables: &[String]) {
    if is_sqlite(hub) {
        for name in
            hub.tamper("SELECT name FROM sqlite_master WHERE type = 'trigger' AND name <> 'events_index_rows'").lines()
        {
            hub.tamper(&format!("DROP TRIGGER {name}"));
        }
    }
    for table in tables {
        edit(hub, &format!("CREATE TABLE kept_{table} AS SELECT * FROM {table}"));
    }
}

/// Restores a table.
pub fn restore(hub: &Hub, table: &str) {
    let separator = if is_sqlite(hub) { ";;" } else { ";" };
    edit(hub, &format!("DELETE FROM {table}{separator}INSERT INTO {table} SELECT * FROM kept_{table}"));
}

fn refusal(error: ClientError) -> String {
    format!("{} ({:?})", error.reason(), error.code())
}

async fn verify(client: &Client, parent: &str) -> pb::VerifyLogResult {
    let request = pb::VerifyLogRequest { parent: parent.to_owned(), after: None };
    client.verify_log(request).await.unwrap_or_else(|error| pb::VerifyLogResult {
        // VerifyLog refuses what it can't even begin to check.
        findings: vec![pb::LogFinding { message: format!("{error}"), ..Default::default() }],
        ..Default::default()
    })
}

type RowAnswers = BTreeMap<String, Result<Vec<u8>, String>>;

/// Returns every read that shows something of the namespace, as bytes or as the reason of its refusal.
async fn reads(client: &Client) -> RowAnswers {
    let mut answers = RowAnswers::new();
    macro_rules! read {
        ($name:expr, $call:expr) => {
            answers.insert($name.to_string(), $call.await.map(|answer| answer.encode_to_vec()).map_err(refusal));
        };
    }
    read!("GetNamespace", client.get_namespace(pb::GetNamespaceRequest { name: NAMESPACE.to_owned() }));
    read!("ListNamespaces", client.list_namespaces(pb::ListNamespacesRequest::default()));
    let parent = || NAMESPACE.to_owned();
    read!("ListPolicies", client.list_policies(pb::ListPoliciesRequest { parent: parent(), ..Default::default() }));
    let events = pb::ListEventsRequest { parent: parent(), page_size: 1_000, ..Default::default() };
    read!("ListEvents", client.list_events(events.clone()));
    read!("ListEvents of p", client.list_events(pb::ListEventsRequest { parent: policy("p"), ..events }));
    let system = pb::ListEventsRequest { parent: "namespaces/system".to_owned(), page_size: 9, ..Default::default() };
    read!("ListEvents of system", client.list_events(system));
    for revision in [0, 5] {
        let at = (revision > 0).then_some(pb::list_active_request::At::Cursor(pb::Cursor::of_revision(revision)));
        let request = pb::ListActiveRequest { parent: parent(), at, ..Default::default() };
        let received = |answer| pb::ListActiveResponse { checked_time: None, checkpoint: String::new(), ..answer };
        let answer = client.list_active(request).await.map(|answer| received(answer).encode_to_vec()).map_err(refusal);
        answers.insert(format!("ListActive at {revision}"), answer);
    }
    for id in ["p", "q"] {
        read!(format!("GetPolicy {id}"), client.get_policy(pb::GetPolicyRequest { name: policy(id) }));
        for view in [pb::VersionView::Basic, pb::VersionView::Full] {
            let list = pb::ListVersionsRequest { parent: policy(id), view: view.into(), ..Default::default() };
            read!(format!("ListVersions {id} {view:?}"), client.list_versions(list));
        }
        for number in 1..=3 {
            let name = version(id, number);
            let full = pb::GetVersionRequest { name: name.clone(), view: pb::VersionView::Full.into() };
            read!(format!("GetVersion {id} {number}"), client.get_version(full));
            let report = pb::GetValidationReportRequest { name };
            read!(format!("GetValidationReport {id} {number}"), client.get_validation_report(report));
        }
    }
    let guardrails = pb::GetGuardrailsRequest { name: format!("{NAMESPACE}/guardrails") };
    read!("GetGuardrails", client.get_guardrails(guardrails));
    let schedule = pb::GetScheduleRequest { name: schedule_name("s") };
    read!("GetSchedule", client.get_schedule(schedule));
    read!("GetRun", client.get_run(pb::GetRunRequest { name: run_name(&parent(), "r") }));
    answers
}

/// Writes two policies, versions in every state, a report, a run and a second namespace.
async fn history(client: &Client) {
    release(client, "p", "a: 1").await;
    release(client, "p", "a: 2").await;
    release(client, "q", "a: 1").await;
    deactivate(client, "q").await;
    let settings = pb::PolicySettings { max_open_drafts: 3, ..Default::default() };
    set(client, "p", settings).await;
    draft(client, "p", "a: 3").await;
    client.stage(pb::StageRequest { name: version("p", 3), ..Default::default() }).await.expect("a stage");
    draft(client, "q", "a: 2").await;
    crate::harness::calls::abandon(client, "q", 2).await;
    draft(client, "q", "a: 3").await;
    client.publish(publish_request("q", 3)).await.expect("a publication");
    activate(client, "p", 1).await;
    record(client, run_request("r", &["p"], None)).await.expect("a run");
    let end = end_request("r", pb::RunOutcome::Succeeded, "done");
    complete(client, end).await.expect("an end");
    let update = pb::UpdateNamespaceRequest {
        namespace: Some(pb::Namespace {
            name: NAMESPACE.to_owned(),
            description: "d".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    client.update_namespace(update).await.expect("a change");
    set_guardrails(client, &format!("{NAMESPACE}/guardrails"), &[("known", "has(content.a)")]).await;
    let every_week = weekly(&[("p", 1)], &[pb::Weekday::Monday], "08:00");
    create_schedule(client, "s", "UTC", vec![every_week, once(&[("p", 2)], 7 * 24 * 3_600)]).await;
}

/// Returns three edited values of a column.
pub fn edits(hub: &Hub, table: &str, column: &str, kind: &str) -> Vec<String> {
    let blob = |hex: &str| if is_sqlite(hub) { format!("X'{hex}'") } else { format!("'\\x{hex}'::bytea") };
    let other = format!("(SELECT o.{column} FROM {table} o WHERE o.{column} IS NOT NULL ORDER BY 1 LIMIT 1)");
    match kind {
        "integer" => vec![format!("coalesce({column}, 0) + 1"), format!("coalesce({column}, 0) - 1"), "77".to_owned()],
        "boolean" => vec![format!("NOT {column}")],
        "blob" => vec![blob(""), blob("00"), other],
        _ => vec![format!("coalesce({column}, '') || 'x'"), "''".to_owned(), other],
    }
}

/// Disables background checks: they would only repeat the findings.
const QUIET: &[&str] = &["--audit-interval-ms", "0", LIVELY[0], LIVELY[1], LIVELY[2], LIVELY[3]];

/// Returns what is wrong with the answers after an edit; `None` when nothing is.
async fn silently_served(hub: &Hub, truth: &RowAnswers, may_show: bool) -> Option<String> {
    let client = hub.client().await;
    let now = reads(&client).await;
    let is_refused = |read: &&String| now[*read] == Err("DATA_LOSS (DataLoss)".to_owned());
    let changed: Vec<&String> = now.keys().filter(|read| now[*read] != truth[*read]).collect();
    let shown: Vec<&&String> = changed.iter().filter(|read| !is_refused(read)).collect();
    let mut found = 0;
    for parent in [NAMESPACE, "namespaces/system"] {
        found += verify(&client, parent).await.findings.len();
    }
    match (shown.is_empty(), found) {
        (false, _) if !may_show => Some(format!("shown by {shown:?}")),
        (_, 0) if changed.is_empty() || !shown.is_empty() => Some(format!("no finding; changed: {changed:?}")),
        _ => None,
    }
}

/// Restarts the server without its high-water file: a cursor that never existed must not be remembered.
async fn restart_without_memory(mut hub: Hub) -> Hub {
    hub.kill().await;
    let _ = std::fs::remove_file(hub.data_dir().join("high-water.json"));
    hub.restart().await
}

on_both_databases! {
    with QUIET;

    async fn no_column_is_edited_in_silence(hub: Hub) {
        let mut hub = hub;
        history(&hub.client().await).await;
        let truth = reads(&hub.client().await).await;
        let refused: Vec<_> = truth.iter().filter(|(_, answer)| answer.is_err()).collect();
        assert!(refused.iter().all(|(read, _)| read.starts_with("GetV")), "{refused:?}");
        let whole = verify(&hub.client().await, NAMESPACE).await;
        assert!(whole.valid && whole.events > 15 && whole.manifests == 4 && whole.rows > 8, "{whole:?}");
        let system = verify(&hub.client().await, "namespaces/system").await;
        assert!(system.valid && system.events == 4 && system.rows == 4, "{system:?}");
        let columns = columns(&hub);
        let mut tables: Vec<String> = columns.iter().map(|(table, _, _)| table.clone()).collect();
        tables.dedup();
        keep(&hub, &tables);
        let (mut wrong, mut edited) = (Vec::new(), 0);
        for (table, column, kind) in columns.iter().filter(|(table, column, _)| !is_exempt(table, column)) {
            let may_show = FOUND_LATER.contains(&(table.as_str(), column.as_str()));
            for value in edits(&hub, table, column, kind) {
                let separator = if is_sqlite(&hub) { ";;" } else { ";" };
                let sql = format!(
                    "UPDATE {table} SET {column} = {value} WHERE {}{separator}\
                     SELECT count(*) FROM (SELECT * FROM {table} EXCEPT SELECT * FROM kept_{table}) e",
                    one_row(&hub, table)
                );
                // An edit that the schema refuses, such as a second row with the same key, is skipped.
                if !try_edit(&hub, &sql).is_ok_and(|different| different != "0") {
                    continue;
                }
                edited += 1;
                // A replica keeps what it once read of a log, even if it was forged.
                let is_place = ["epoch", "head_revision"].contains(&column.as_str());
                if is_place {
                    hub = restart_without_memory(hub).await;
                }
                if let Some(silence) = silently_served(&hub, &truth, may_show).await {
                    wrong.push(format!("{table}.{column} = {value}: {silence}"));
                }
                restore(&hub, table);
                if is_place {
                    hub = restart_without_memory(hub).await;
                }
                // An edit may have put the store in doubt, which ends when that was noticed and keys were read again.
                wait_for(&hub, "policyhub_store_in_doubt 0").await;
            }
        }
        assert!(wrong.is_empty(), "{} of {edited} edits:\n{}", wrong.len(), wrong.join("\n"));
        assert!(edited > 120, "only {edited} edits were made");
        assert_eq!(reads(&hub.client().await).await, truth, "all was restored");
    }
}

/// Returns an SQL condition for one row of a table that reads of the namespace show.
fn one_row(hub: &Hub, table: &str) -> String {
    let row = if is_sqlite(hub) { "rowid" } else { "ctid" };
    let namespace = match table {
        "contents" => "1 = 1",
        "namespaces" => "id = 'default'",
        _ => "namespace = 'default'",
    };
    let order = match table {
        "events" | "pointer_changes" => "revision DESC",
        "versions" | "reports" => "policy, number",
        "contents" => "digest",
        "guardrails" => "scope",
        "row_changes" => "table_name, row_key",
        _ => "id",
    };
    format!("{row} = (SELECT {row} FROM {table} WHERE {namespace} ORDER BY {order} LIMIT 1)")
}
