//! An attacker who can write the database edits imported history: an edit of any column is refused or found (docs/guarantees.md#g3, #g19).

use policyhub::client::{Client, pb};

use crate::harness::archives::{export, history, make, parts, send, verified};
use crate::harness::on_both_databases;
use crate::tamper_rows::{columns, edits, is_sqlite, keep, restore, try_edit};

const COPY: &str = "namespaces/copy";

async fn findings(client: &Client) -> u64 {
    let request = pb::VerifyLogRequest { parent: COPY.to_owned(), after: None };
    client.verify_log(request).await.map_or(1, |verdict| verdict.findings.len() as u64)
}

/// Returns what shows imported history: the namespace and its events; `None` for each that is refused.
async fn shown(client: &Client) -> [Option<String>; 2] {
    let namespace = client.get_namespace(pb::GetNamespaceRequest { name: COPY.to_owned() }).await;
    let request =
        pb::ListEventsRequest { parent: COPY.to_owned(), page_size: 1_000, import_position: 1, ..Default::default() };
    let events = client.list_events(request).await;
    [namespace.ok().map(|answer| format!("{answer:?}")), events.ok().map(|answer| format!("{answer:?}"))]
}

/// Returns whether a column is part of the row's key. Without it, a row may be missing from a list before a check finds that.
fn is_key(column: &str) -> bool {
    ["namespace", "position", "revision"].contains(&column)
}

on_both_databases! {
    with &["--audit-interval-ms", "0"];

    async fn no_column_of_an_import_is_edited_in_silence(hub: Hub) {
        let client = hub.client().await;
        history(&client).await;
        make(&client, "copy").await;
        send(&client, &parts(&export(&hub, "default", "a.jsonl"), COPY)).await.expect("an import");
        verified(&client, COPY).await;
        let truth = shown(&client).await;
        assert!(truth.iter().all(Option::is_some));
        let tables = ["imports".to_owned(), "imported_events".to_owned()];
        let columns = columns(&hub);
        keep(&hub, &tables);
        let (row, separator) = if is_sqlite(&hub) { ("rowid", ";;") } else { ("ctid", ";") };
        let (mut wrong, mut edited) = (Vec::new(), 0);
        for (table, column, kind) in columns.iter().filter(|(table, _, _)| tables.contains(table)) {
            let order = if table == "imports" { "position" } else { "revision" };
            let last = format!("SELECT {row} FROM {table} WHERE namespace = 'copy' ORDER BY {order} DESC LIMIT 1");
            for value in edits(&hub, table, column, kind) {
                let sql = format!(
                    "UPDATE {table} SET {column} = {value} WHERE {row} = ({last}){separator}\
                     SELECT count(*) FROM (SELECT * FROM {table} EXCEPT SELECT * FROM kept_{table}) e"
                );
                if !try_edit(&hub, &sql).is_ok_and(|different| different != "0") {
                    continue;
                }
                edited += 1;
                if findings(&client).await == 0 {
                    wrong.push(format!("{table}.{column} = {value}: no finding"));
                }
                let now = shown(&client).await;
                let lies = now.iter().zip(&truth).any(|(now, truth)| now.is_some() && now != truth);
                if lies && !is_key(column) {
                    wrong.push(format!("{table}.{column} = {value}: it is shown"));
                }
                restore(&hub, table);
            }
        }
        assert!(wrong.is_empty() && edited > 50, "{} of {edited} edits:\n{}", wrong.len(), wrong.join("\n"));
        for sql in [
            "DELETE FROM imported_events WHERE namespace = 'copy' AND revision = 3",
            "DELETE FROM imported_events WHERE namespace = 'copy'",
            "UPDATE imported_events SET position = 2 WHERE namespace = 'copy'",
        ] {
            try_edit(&hub, sql).expect(sql);
            assert!(findings(&client).await > 0, "{sql}");
            restore(&hub, "imported_events");
        }
        try_edit(&hub, "DELETE FROM imports WHERE namespace = 'copy'").expect("a hand");
        assert!(findings(&client).await > 0, "an import that is gone");
        restore(&hub, "imports");
        try_edit(&hub, "UPDATE namespaces SET importing = 1 WHERE id = 'copy'").expect("a hand");
        assert!(findings(&client).await > 0, "an import that goes on");
        try_edit(&hub, "UPDATE namespaces SET importing = 0 WHERE id = 'copy'").expect("a hand");
        // An event of another store in place of an own one.
        let own = "INSERT INTO events SELECT namespace, (SELECT max(revision) + 1 FROM events WHERE namespace = 'copy'), epoch, \
                   NULL, 1, payload, prev_hash, hash, seal, seal_key_id, statement FROM imported_events \
                   WHERE namespace = 'copy' AND revision = 2";
        verified(&client, COPY).await;
        try_edit(&hub, own).expect("a hand");
        assert!(findings(&client).await > 0, "a foreign event among the own ones");
    }
}
