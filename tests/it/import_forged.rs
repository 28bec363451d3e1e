//! A forged source: its keys, log and rows are made up and verify against each other, but contain what no server would write.

use bytes::Bytes;
use pb::import_item::Item;
use policyhub::client::signing::{Algorithm, KeySet, PrivateKey, digest_of, event_hash, sign_event_hash};
use policyhub::client::{Client, pb};
use policyhub::domain::row::{Cell, Row, RowBytes};
use tonic::Code;

use crate::harness::archives::{self, export, make, parts, verified};
use crate::harness::calls::{publish, refusal, refused, trust};
use crate::harness::{Hub, on_both_databases};

const SPACE: &str = "forged";

/// A log of one event that names all rows.
struct ForgedSource {
    source: pb::ImportSource,
    event: pb::ImportedEvent,
}

fn private() -> PrivateKey {
    PrivateKey::from_pem(&PrivateKey::generate_pem(Algorithm::EdDsa).expect("a key")).expect("the same key")
}

fn forge(rows: &[Vec<u8>]) -> ForgedSource {
    forge_as(SPACE, rows)
}

/// Returns such a source that claims to be `store`.
fn forge_as(store: &str, rows: &[Vec<u8>]) -> ForgedSource {
    let (key, seal_key) = (private(), private());
    let named = rows.iter().filter_map(|bytes| {
        let row = Row::read(bytes)?;
        Some(serde_json::json!({"table": row.table, "key": row.key()?, "digest": digest_of(bytes)}))
    });
    let payload = serde_json::json!({
        "store": store, "namespace": SPACE, "epoch": 1, "revision": 1, "kind": "UPDATE_NAMESPACE", "time": 1, "actor": "me",
        "rows": named.collect::<Vec<_>>(),
    });
    let payload = serde_json::to_vec(&payload).expect("JSON");
    let hash = event_hash(&[0; 32], &payload);
    let event = pb::ImportedEvent {
        position: 1,
        cursor: Some(pb::Cursor { epoch: 1, revision: 1, ..Default::default() }),
        payload: payload.into(),
        prev_hash: vec![0; 32].into(),
        hash: hash.to_vec().into(),
        seal: sign_event_hash(&hash, &seal_key).expect("a seal").into(),
        seal_key_id: seal_key.public().key_id().to_owned(),
        statement: String::new(),
    };
    let jwks = |key: &PrivateKey| KeySet::from_keys(vec![key.public().clone()]).to_jwks().to_string();
    let source = pb::ImportSource {
        store: store.to_owned(),
        namespace: format!("namespaces/{SPACE}"),
        head: event.cursor,
        head_hash: event.hash.clone(),
        jwks: jwks(&key),
        seal_jwks: jwks(&seal_key),
    };
    ForgedSource { source, event }
}

type ForgedColumns = Vec<(&'static str, Cell)>;

fn text(value: &str) -> Cell {
    Cell::Text(value.to_owned())
}

fn policy(id: &str) -> ForgedColumns {
    vec![
        ("namespace", text(SPACE)),
        ("id", text(id)),
        ("kind", text("YAML")),
        ("description", text("")),
        (
            "settings",
            text(
                "{\"max_open_drafts\":0,\"json_schema\":\"\",\"allow_backport\":false,\"bump_rule\":\"ANY\",\"allow_draft_fallback\":false,\"required_approvals\":0}",
            ),
        ),
        ("latest_version", Cell::Int(9)),
        ("etag", Cell::Int(1)),
        ("create_time", Cell::Int(1)),
        ("update_time", Cell::Int(1)),
    ]
}

fn version(id: &str, number: i64, content: &[u8]) -> ForgedColumns {
    vec![
        ("namespace", text(SPACE)),
        ("policy", text(id)),
        ("number", Cell::Int(number)),
        ("state", text("DRAFT")),
        ("digest", text(digest_of(content).as_str())),
        ("size_bytes", Cell::Int(i64::try_from(content.len()).expect("small"))),
        ("content_type", text("application/yaml")),
        ("change_note", text("")),
        ("requires", text("[]")),
        ("base_version", Cell::Int(0)),
        ("source_version", Cell::Int(0)),
        ("author", text("me")),
        ("publisher", text("")),
        ("etag", Cell::Int(1)),
        ("create_time", Cell::Int(1)),
    ]
}

/// Returns the bytes of a row with one column changed or added: a label follows the state, other additions are at the end.
fn row(table: &str, columns: &ForgedColumns, other: Option<(&'static str, Option<Cell>)>) -> Vec<u8> {
    let mut columns: Vec<(&str, Option<Cell>)> =
        columns.iter().map(|(column, cell)| (*column, Some(cell.clone()))).collect();
    if let Some((name, cell)) = other {
        let at = columns.iter().position(|(column, _)| *column == name);
        let state = columns.iter().position(|(column, _)| *column == "state");
        match (at, state) {
            (Some(at), _) => columns[at].1 = cell,
            (None, Some(state)) if name == "label" => columns.insert(state + 1, (name, cell)),
            (None, _) => columns.push((name, cell)),
        }
    }
    let mut bytes = RowBytes::of(table).expect("short");
    for (column, cell) in columns {
        if let Some(cell) = cell {
            bytes.add(column, &cell).expect("short");
        }
    }
    bytes.end()
}

async fn send(
    client: &Client,
    forged: &ForgedSource,
    item: Item,
) -> Result<pb::ImportNamespaceResponse, policyhub::client::ClientError> {
    let name = format!("namespaces/{SPACE}");
    let request = pb::ImportNamespaceRequest { name, source: Some(forged.source.clone()), ..Default::default() };
    let state = client.import_namespace(request.clone()).await?;
    let items = vec![pb::ImportItem { item: Some(item) }];
    client.import_namespace(pb::ImportNamespaceRequest { offset: state.items, items, ..request }).await
}

/// Ends an import after this many items.
async fn end(
    client: &Client,
    forged: &ForgedSource,
    offset: i64,
) -> Result<pb::ImportNamespaceResponse, policyhub::client::ClientError> {
    let (name, source) = (format!("namespaces/{SPACE}"), Some(forged.source.clone()));
    let last = pb::ImportNamespaceRequest { name, source, offset, last: true, ..Default::default() };
    client.import_namespace(last).await
}

fn as_version(row: &[u8], manifest: &str, content: &'static [u8]) -> Item {
    Item::Version(pb::ImportedVersion {
        row: row.to_vec().into(),
        manifest: manifest.to_owned(),
        content: Bytes::from_static(content),
    })
}

/// Columns of a policy that no server writes.
fn bad_policies() -> Vec<(&'static str, Option<Cell>)> {
    let many = |value: &str| Some(text(&value.repeat(5_000)));
    vec![
        ("namespace", Some(text("default"))),
        ("id", Some(text("No Id"))),
        ("kind", Some(text("POEM"))),
        ("kind", None),
        ("description", many("x")),
        ("description", Some(text("\0"))),
        ("settings", Some(text("{"))),
        ("settings", Some(text("{\"required_approvals\":4000000000}"))),
        ("settings", Some(text("{\"json_schema\":\"{\"}"))),
        ("latest_version", Some(Cell::Int(-1))),
        ("latest_version", Some(text("1"))),
        ("etag", Some(Cell::Int(i64::MIN))),
        ("create_time", Some(Cell::Int(i64::MAX))),
        ("update_time", Some(Cell::Int(-1))),
        ("later", Some(Cell::Int(1))),
        ("etag", Some(Cell::Bool(true))),
    ]
}

/// Columns of a version that no server writes.
fn bad_versions() -> Vec<(&'static str, Option<Cell>)> {
    let many = |value: &str| Some(text(&value.repeat(5_000)));
    vec![
        ("namespace", Some(text("default"))),
        ("policy", Some(text("absent"))),
        ("number", Some(Cell::Int(0))),
        ("number", Some(Cell::Int(10))),
        ("state", Some(text("ACTIVE"))),
        ("state", Some(text("PUBLISHED"))),
        ("digest", Some(text("sha256:"))),
        ("digest", Some(text(digest_of(b"a: other").as_str()))),
        ("size_bytes", Some(Cell::Int(5))),
        ("size_bytes", Some(Cell::Int(-5))),
        ("content_type", many("y")),
        ("content_type", Some(text("a\0b"))),
        ("change_note", many("z")),
        ("requires", Some(text("[1]"))),
        ("base_version", Some(Cell::Int(-1))),
        ("author", Some(text("\0"))),
        ("etag", None),
        ("create_time", Some(Cell::Int(i64::MIN))),
        ("publish_time", Some(Cell::Int(1))),
        ("label", Some(text("not a label"))),
        ("annotations", Some(text(r#"{"an owner":"team-a"}"#))),
        ("annotations", Some(text(r#"{"owner":1}"#))),
        ("adopted", Some(text(r#"{"author":""}"#))),
        ("adopted", Some(text(r#"{"author":"system","create_time":-1}"#))),
        ("template", Some(text("{}"))),
        (
            "template",
            Some(text(&format!(r#"{{"policy":"t","version":0,"digest":"{}","parameters":""}}"#, digest_of(b"")))),
        ),
        ("origin_manifests", Some(text("{}"))),
        ("origin_manifests", Some(text(&format!("[{}\"\"]", "\"\",".repeat(40))))),
    ]
}

on_both_databases! {
    async fn what_no_server_would_keep_is_refused_whoever_signs_it(hub: Hub) {
        let client = hub.client().await;
        publish(&client, "secret", "a: secret").await;
        make(&client, SPACE).await;
        let good = row("policies", &policy("good"), None);
        let secret = row("versions", &version("good", 1, b"a: secret"), None);
        let labelled = |number| row("versions", &version("good", number, b"a: 1"), Some(("label", Some(text("1.0.0")))));
        let policies: Vec<_> = bad_policies()
            .into_iter().enumerate()
            .map(|(at, other)| row("policies", &policy(&format!("p{at}")), Some(other))).collect();
        let mut all = vec![good.clone(), secret.clone(), labelled(3), labelled(4)];
        all.extend(policies.iter().cloned());
        let forged = forge(&all);
        send(&client, &forged, Item::Event(forged.event.clone())).await.expect("the log holds");
        for bytes in &policies {
            let error = refusal(send(&client, &forged, Item::Row(bytes.clone().into())).await);
            assert_eq!(error.code(), Code::InvalidArgument, "{error:?} for {:?}", Row::read(bytes));
        }
        let early = refusal(send(&client, &forged, as_version(&secret, "", b"a: secret")).await);
        assert!(early.message().contains("before its policy"), "{early:?}");
        send(&client, &forged, Item::Row(good.clone().into())).await.expect("a good policy");
        // A digest gives access to nobody's content: the bytes must be sent, or have been sent into this namespace.
        let error = refusal(send(&client, &forged, as_version(&secret, "", b"")).await);
        assert!(error.message().contains("without its content"), "{error:?}");
        refusal(send(&client, &forged, as_version(&secret, "x.y.z", b"a: secret")).await);
        send(&client, &forged, as_version(&secret, "", b"a: secret")).await.expect("who has the bytes has them");
        send(&client, &forged, as_version(&labelled(3), "", b"a: 1")).await.expect("a label");
        let error = refusal(send(&client, &forged, as_version(&labelled(4), "", b"")).await);
        assert!(error.message().contains("has the label of"), "{error:?}");
        verified(&client, "namespaces/forged").await;
    }

    async fn versions_that_no_server_would_keep_are_refused(hub: Hub) {
        let client = hub.client().await;
        let good = row("policies", &policy("good"), None);
        let bad = bad_versions().into_iter().map(|other| row("versions", &version("good", 2, b"a: 1"), Some(other)));
        let versions: Vec<_> = bad.collect();
        // Only one row per key is the newest, so each bad version is in a separate log.
        for (at, bytes) in versions.iter().enumerate() {
            let namespace = make(&client, &format!("v{at}")).await;
            let forged = forge(&[good.clone(), bytes.clone()]);
            let mut request = pb::ImportNamespaceRequest { name: namespace.clone(), source: Some(forged.source), ..Default::default() };
            for item in [Item::Event(forged.event), Item::Row(good.clone().into())] {
                request.items = vec![pb::ImportItem { item: Some(item) }];
                request.offset = client.import_namespace(request.clone()).await.expect("the beginning").items;
            }
            request.items = vec![pb::ImportItem { item: Some(as_version(bytes, "", b"a: 1")) }];
            let error = refusal(client.import_namespace(request).await);
            assert_eq!(error.code(), Code::InvalidArgument, "{error:?} for {:?}", Row::read(bytes));
        }
    }

    async fn random_rows_that_a_log_names_are_read_or_refused(hub: Hub) {
        let client = hub.client().await;
        make(&client, SPACE).await;
        let mut state: u64 = 20_261_122;
        let mut rng = |end: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).expect("small") % end
        };
        let mut rows = Vec::new();
        while rows.len() < 150 {
            let id = format!("p{}", rows.len());
            let mut bytes = match rng(3) {
                0 => row("policies", &policy(&id), None),
                1 => row("versions", &version(&id, 1, b"a: 1"), None),
                _ => row("reports", &vec![("namespace", text(SPACE)), ("policy", text(&id)), ("number", Cell::Int(1)), ("body", text("{}"))], None),
            };
            for _ in 0..=rng(3) {
                let at = rng(bytes.len());
                bytes[at] ^= u8::try_from(1 + rng(255)).expect("a byte");
            }
            if Row::read(&bytes).is_some_and(|row| row.key().is_some()) {
                rows.push(bytes);
            }
        }
        let forged = forge(&rows);
        send(&client, &forged, Item::Event(forged.event.clone())).await.expect("the log holds");
        let mut refused = 0;
        for bytes in &rows {
            for item in [Item::Row(bytes.clone().into()), as_version(bytes, "", b"a: 1")] {
                match send(&client, &forged, item).await {
                    Ok(_) => {}
                    answer => {
                        assert_eq!(refusal(answer).code(), Code::InvalidArgument);
                        refused += 1;
                    }
                }
            }
        }
        assert!(refused > 200, "{refused}");
        verified(&client, "namespaces/forged").await;
    }
}

on_both_databases! {
    /// Given a log in the name of this store, which is public, it is refused when other keys signed it.
    async fn who_claims_to_be_this_store_must_have_its_keys(database: Database) {
        let (a, b) = (Hub::start(database).await, Hub::start(database).await);
        let (here, there) = (a.client().await, b.client().await);
        let forged = forge_as(&trust(&here).await.store, &[]);
        for client in [&here, &there] {
            make(client, SPACE).await;
        }
        let event = || Item::Event(forged.event.clone());
        let error = refused(send(&here, &forged, event()).await, Code::InvalidArgument, "IMPORT_REFUSED");
        assert!(error.message().contains("names this store"), "{error:?}");

        // Another store can't know this: there, it is imported as the history of a store that had imported it.
        send(&there, &forged, event()).await.expect("a log of some store");
        assert!(end(&there, &forged, 1).await.expect("all of it").finished);
        let parts = parts(&export(&b, SPACE, "b.jsonl"), &make(&here, "back").await);
        let error = refused(archives::send(&here, &parts).await, Code::InvalidArgument, "IMPORT_REFUSED");
        assert!(error.message().contains("names this store"), "{error:?}");
    }

    /// Given a log that leaves version numbers out, it is refused: a server numbers from 1 and deletes none.
    async fn numbers_are_not_left_out(database: Database) {
        let hub = Hub::start(database).await;
        let client = hub.client().await;
        make(&client, SPACE).await;
        let good = row("policies", &policy("good"), None);
        let forged = forge(std::slice::from_ref(&good));
        send(&client, &forged, Item::Event(forged.event.clone())).await.expect("the log holds");
        send(&client, &forged, Item::Row(good.into())).await.expect("a policy");
        let error = refused(end(&client, &forged, 2).await, Code::InvalidArgument, "IMPORT_REFUSED");
        assert!(error.message().contains("good") && error.message().contains('9'), "{error:?}");
    }
}
