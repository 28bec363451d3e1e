//! Imports by hostile callers: nothing is imported that the source's log does not prove, whatever the caller claims.

use policyhub::client::pb;
use policyhub::client::pb::import_item::Item;
use tonic::Code;

use crate::harness::archives::{export, history, make, run, single_parts, verified};
use crate::harness::calls::{refusal, refused, release};
use crate::harness::{Hub, on_both_databases};

type ImportPart = pb::ImportNamespaceRequest;
type Edits<'a> = Vec<(&'static str, &'a dyn Fn(&mut ImportPart))>;

fn event(part: &mut ImportPart) -> &mut pb::ImportedEvent {
    match part.items[0].item.as_mut().expect("an item") {
        Item::Event(event) => event,
        other => panic!("{other:?} is no event"),
    }
}

fn version(part: &mut ImportPart) -> &mut pb::ImportedVersion {
    match part.items[0].item.as_mut().expect("an item") {
        Item::Version(version) => version,
        other => panic!("{other:?} is no version"),
    }
}

fn row(part: &mut ImportPart) -> &mut bytes::Bytes {
    match part.items[0].item.as_mut().expect("an item") {
        Item::Row(row) => row,
        other => panic!("{other:?} is no row"),
    }
}

fn source(part: &mut ImportPart) -> &mut pb::ImportSource {
    part.source.as_mut().expect("a source")
}

/// Returns bytes with one bit flipped.
fn flipped(bytes: &[u8], at: usize) -> bytes::Bytes {
    let mut bytes = bytes.to_vec();
    let at = at % bytes.len();
    bytes[at] ^= 1;
    bytes.into()
}

fn is_event(part: &ImportPart) -> bool {
    matches!(part.items.first().and_then(|item| item.item.as_ref()), Some(Item::Event(_)))
}

fn is_version(part: &ImportPart) -> bool {
    matches!(part.items.first().and_then(|item| item.item.as_ref()), Some(Item::Version(_)))
}

/// Returns an edited part with its name.
fn edited(part: &ImportPart, what: &'static str, edit: impl Fn(&mut ImportPart)) -> (&'static str, ImportPart) {
    let mut edited = part.clone();
    edit(&mut edited);
    (what, edited)
}

/// Returns invalid events, each tried where the right one is expected.
fn wrong_events(
    parts: &[ImportPart],
    foreign: &[ImportPart],
    (at, events): (usize, usize),
) -> Vec<(&'static str, ImportPart)> {
    let part = &parts[at];
    let mut wrong = vec![
        edited(part, "payload", |part| event(part).payload = flipped(&event(part).payload.clone(), at * 7)),
        edited(part, "hash", |part| event(part).hash = flipped(&event(part).hash.clone(), at)),
        edited(part, "previous hash", |part| event(part).prev_hash = flipped(&event(part).prev_hash.clone(), at)),
        edited(part, "seal", |part| event(part).seal = flipped(&event(part).seal.clone(), at)),
        edited(part, "key of the seal", |part| event(part).seal_key_id.push('x')),
        edited(part, "statement", |part| event(part).statement.push('x')),
        edited(part, "place", |part| event(part).cursor.as_mut().expect("a place").revision += 1),
        edited(part, "epoch", |part| event(part).cursor.as_mut().expect("a place").epoch += 1),
        edited(part, "another history", |part| event(part).position = 2),
    ];
    if at + 1 < events {
        wrong.extend([
            edited(part, "a gap", |part| part.items.clone_from(&parts[at + 1].items)),
            edited(part, "another namespace", |part| part.items.clone_from(&foreign[0].items)),
            edited(part, "a row before its events", |part| part.items.clone_from(&parts[events].items)),
            edited(part, "the end before its events", |part| (part.items, part.last) = (vec![], true)),
        ]);
    }
    if at > 0 {
        wrong.push(edited(part, "the one before", |part| part.items.clone_from(&parts[at - 1].items)));
    }
    wrong
}

/// Returns invalid versions.
fn wrong_versions(parts: &[ImportPart], at: usize) -> Vec<(&'static str, ImportPart)> {
    let part = &parts[at];
    let other = (0..parts.len()).find(|other| *other != at && is_version(&parts[*other])).expect("two");
    let other = version(&mut parts[other].clone()).clone();
    let mut wrong = vec![
        edited(part, "row", |part| version(part).row = flipped(&version(part).row.clone(), at * 31)),
        edited(part, "manifest", |part| version(part).manifest.push('x')),
        edited(part, "other content", |part| version(part).content = b"a: evil".to_vec().into()),
        edited(part, "as a bare row", |part| {
            let bytes = version(part).row.clone();
            part.items[0].item = Some(Item::Row(bytes));
        }),
        edited(part, "manifest of another", |part| version(part).manifest.clone_from(&other.manifest)),
        edited(part, "an event after the end", |part| part.items.clone_from(&parts[0].items)),
    ];
    if !version(&mut part.clone()).content.is_empty() {
        wrong.push(edited(part, "no content", |part| version(part).content = bytes::Bytes::new()));
    }
    wrong
}

/// Returns other invalid rows, or an invalid end.
fn wrong_rows(parts: &[ImportPart], foreign: &[ImportPart], at: usize) -> Vec<(&'static str, ImportPart)> {
    let part = &parts[at];
    let mut wrong = vec![edited(part, "a later place", |part| part.offset += 1)];
    if !part.last {
        let other = foreign.iter().find(|other| !is_event(other) && !is_version(other) && !other.last);
        let other = other.expect("a row");
        wrong.extend([
            edited(part, "row", |part| *row(part) = flipped(&row(part).clone(), at * 13)),
            edited(part, "cut row", |part| row(part).truncate(20)),
            edited(part, "no row", |part| row(part).clear()),
            edited(part, "row of another namespace", |part| part.items.clone_from(&other.items)),
            edited(part, "the end with something missing", |part| (part.items, part.last) = (vec![], true)),
        ]);
    }
    wrong
}

on_both_databases! {
    async fn nothing_comes_in_that_the_log_of_the_source_does_not_say(database: Database) {
        let (a, b) = (Hub::start(database).await, Hub::start(database).await);
        let from = a.client().await;
        history(&from).await;
        let beside = make(&from, "beside").await;
        let copy = run(a.cli(), &["import", &export(&a, "default", "x.jsonl").display().to_string(), "--into", "beside"]);
        assert_eq!(copy.0, 0, "{}", copy.2);
        assert_eq!(beside, "namespaces/beside");
        let to = b.client().await;
        let target = make(&to, "t").await;
        let parts = single_parts(&export(&a, "default", "a.jsonl"), &target);
        let foreign = single_parts(&export(&a, "beside", "b.jsonl"), &target);
        let events = parts.iter().filter(|part| is_event(part)).count();
        let attempt = async |part: ImportPart| refused(to.import_namespace(part).await, Code::InvalidArgument, "IMPORT_REFUSED");
        let mut tried = 0;
        for (at, part) in parts.iter().enumerate() {
            let wrong = if at < events {
                wrong_events(&parts, &foreign, (at, events))
            } else if is_version(part) {
                wrong_versions(&parts, at)
            } else {
                wrong_rows(&parts, &foreign, at)
            };
            for (what, mut edited) in wrong {
                // The manifest of a version may equal that of another: then the edit changes nothing.
                if edited == *part {
                    continue;
                }
                let error = attempt(edited.clone()).await;
                assert!(!error.message().is_empty(), "{what} at {at}: {error:?}");
                edited.validate_only = true;
                attempt(edited).await;
                tried += 1;
            }
            let done = to.import_namespace(part.clone()).await.unwrap_or_else(|error| panic!("part {at}: {error:?}"));
            assert_eq!(done.finished, part.last);
            // The same row twice.
            if !is_event(part) && !part.last {
                let mut twice = part.clone();
                twice.offset += 1;
                attempt(twice).await;
                tried += 1;
            }
        }
        assert!(tried > 200, "{tried}");
        verified(&to, &target).await;
    }

    async fn who_may_not_and_what_is_no_request_is_refused(database: Database) {
        let (a, b) = (Hub::start(database).await, Hub::start(database).await);
        let from = a.client().await;
        release(&from, "p", "a: 1").await;
        let file = export(&a, "default", "a.jsonl");
        let to = b.client().await;
        let target = make(&to, "t").await;
        let first = single_parts(&file, &target)[0].clone();
        let edits: Edits<'_> = vec![
            ("no source", &|part| part.source = None),
            ("no head", &|part| source(part).head = None),
            ("head of nothing", &|part| source(part).head = Some(pb::Cursor::default())),
            ("short hash", &|part| source(part).head_hash = vec![1].into()),
            ("no store", &|part| source(part).store.clear()),
            ("no namespace", &|part| source(part).namespace = "default".to_owned()),
            ("nothing", &|part| part.items[0].item = None),
            ("negative offset", &|part| part.offset = -1),
            ("too many", &|part| part.items = vec![part.items[0].clone(); 201]),
            ("system", &|part| part.name = "namespaces/system".to_owned()),
            ("NUL", &|part| event(part).seal_key_id = "\0".to_owned()),
        ];
        for (what, edit) in edits {
            let mut part = first.clone();
            edit(&mut part);
            let error = refusal(to.import_namespace(part).await);
            assert_eq!((error.code(), error.reason()), (Code::InvalidArgument, "INVALID_ARGUMENT"), "{what}");
        }
        let refusals: Edits<'_> = vec![
            ("no keys", &|part| source(part).jwks = "{}".to_owned()),
            ("no seal keys", &|part| source(part).seal_jwks = "{\"keys\":[]}".to_owned()),
            ("other store", &|part| source(part).store.push('x')),
            ("other namespace", &|part| source(part).namespace.push('x')),
            ("keys the other way round", &|part| {
                let source = source(part);
                std::mem::swap(&mut source.jwks, &mut source.seal_jwks);
            }),
            ("a later offset", &|part| part.offset = 5),
        ];
        for (what, edit) in refusals {
            let mut part = first.clone();
            edit(&mut part);
            let error = refusal(to.import_namespace(part).await);
            assert_eq!((error.code(), error.reason()), (Code::InvalidArgument, "IMPORT_REFUSED"), "{what}");
        }
        let large = ImportPart { name: target.clone(), source: Some(pb::ImportSource { jwks: "x".repeat(5 << 20), ..source(&mut first.clone()).clone() }), ..first.clone() };
        assert_eq!(refusal(to.import_namespace(large).await).reason(), "MESSAGE_TOO_LARGE");
        let nowhere = ImportPart { name: "namespaces/nowhere".to_owned(), ..first.clone() };
        refused(to.import_namespace(nowhere).await, Code::NotFound, "NAMESPACE_NOT_FOUND");
        let own = ImportPart { name: "namespaces/default".to_owned(), ..first.clone() };
        refused(from.import_namespace(own).await, Code::FailedPrecondition, "NAMESPACE_NOT_EMPTY");
        let found = to.get_namespace(pb::GetNamespaceRequest { name: target.clone() }).await.expect("a namespace");
        assert!(found.namespace.expect("a namespace").imports.is_empty(), "nothing of it was kept");
    }

    async fn half_an_import_and_an_edited_file_are_refused(database: Database) {
        let (a, b) = (Hub::start(database).await, Hub::start(database).await);
        let from = a.client().await;
        release(&from, "p", "a: 1").await;
        let file = export(&a, "default", "a.jsonl");
        let to = b.client().await;
        let target = make(&to, "t").await;
        let first = single_parts(&file, &target)[0].clone();
        // Another archive into a namespace that holds a half-imported one.
        to.import_namespace(first.clone()).await.expect("a part");
        release(&from, "q", "a: 1").await;
        let other = single_parts(&export(&a, "default", "b.jsonl"), &target)[0].clone();
        refused(to.import_namespace(other).await, Code::FailedPrecondition, "NAMESPACE_NOT_EMPTY");
        verified(&to, &target).await;

        // The command refuses an edited file before it sends anything.
        let text = std::fs::read_to_string(&file).expect("text");
        let edited = b.dir.path().join("edited.jsonl");
        std::fs::write(&edited, text.replacen("\"revision\":2", "\"revision\":3", 1)).expect("written");
        let (code, _, errors) = run(b.cli(), &["import", &edited.display().to_string(), "--into", "e", "--create"]);
        assert!(code == 1 && errors.contains("nothing was sent"), "{errors}");
        let missing = to.get_namespace(pb::GetNamespaceRequest { name: "namespaces/e".to_owned() }).await;
        refused(missing, Code::NotFound, "NAMESPACE_NOT_FOUND");
        let wrong_head = format!("1:2:{}", "00".repeat(32));
        let wrong = ["import", &file.display().to_string(), "--expect-head", &wrong_head];
        let (code, _, errors) = run(b.cli(), &wrong);
        assert!(code == 1 && errors.contains("remembered"), "{errors}");
    }
}
