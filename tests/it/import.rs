//! A namespace that moves to another store: what it keeps, what shows its source, and that nothing of it is in force.

use policyhub::client::signing::verify_bundle;
use policyhub::client::{Client, pb};
use tonic::Code;

use crate::harness::archives::{
    as_imported, export, history, kept, kept_elsewhere, make, parts, run, send, single_parts, verified,
};
use crate::harness::calls::{
    NAMESPACE, Revision as _, activate, active, draft, events, policy, publish_request, refused, trust,
};
use crate::harness::hub::binary;
use crate::harness::watching::{activation, in_force, open};
use crate::harness::{Hub, on_both_databases};

async fn namespace(client: &Client, name: &str) -> pb::Namespace {
    let found = client.get_namespace(pb::GetNamespaceRequest { name: name.to_owned() }).await;
    found.expect("a namespace").namespace.expect("a namespace")
}

async fn imported_events(client: &Client, parent: &str, position: i64) -> Vec<pb::Event> {
    let request = pb::ListEventsRequest {
        parent: parent.to_owned(),
        page_size: 1_000,
        import_position: position,
        ..Default::default()
    };
    client.list_events(request).await.expect("events").events
}

/// Writes the keys of a server to files and returns the flags that name them.
fn pins(hub: &Hub) -> Vec<String> {
    let mut flags = Vec::new();
    for (flag, name) in [("--jwks", "keys.json"), ("--seal-jwks", "seals.json")] {
        let path = hub.dir.path().join(name).display().to_string();
        let (code, text, _) = run(hub.cli(), &["keys", "list", flag]);
        assert_eq!(code, 0);
        std::fs::write(&path, text).expect("written");
        flags.extend([flag.to_owned(), path]);
    }
    flags
}

/// Checks that an imported version has the signature of this store beside the original one.
async fn signed_by_both(from: &Client, to: &Client) {
    let (source, own) = (trust(from).await, trust(to).await);
    let name = crate::harness::calls::version("p", 2);
    let get = |name: String| pb::GetVersionRequest { name, view: pb::VersionView::Full.into() };
    let there = from.get_version(get(name.clone())).await.expect("a version").version.expect("a version");
    let here = to.get_version(get(name)).await.expect("a version").version.expect("a version");
    assert_eq!(here.origin_manifests.as_slice(), std::slice::from_ref(&there.manifest));
    let origin = verify_bundle(&here.origin_manifests[0], &here.content, &source.keys).expect("the source's");
    let manifest = verify_bundle(&here.manifest, &here.content, &own.keys).expect("our own");
    assert!(verify_bundle(&here.manifest, &here.content, &source.keys).is_err());
    assert_eq!((&origin.store, &manifest.store), (&source.store, &own.store));
    let named = manifest.origin.expect("an origin");
    let digest = policyhub::client::signing::digest_of(there.manifest.as_bytes());
    assert_eq!((named.store, named.manifest), (source.store.clone(), digest));
}

/// Checks that the namespace names its source, and that its history is marked as imported everywhere.
async fn says_where_it_is_from(b: &Hub, from: &Client, to: &Client) {
    let source = trust(from).await;
    let imports = namespace(to, NAMESPACE).await.imports;
    let found = imports[0].source.clone().expect("a source");
    assert!(imports.len() == 1 && imports[0].finished && found.store == source.store, "{imports:?}");
    let (log, origin) = (events(to, NAMESPACE, 0).await, events(from, NAMESPACE, 0).await);
    assert!(log.iter().all(|event| event.origin_store.is_empty() && event.namespace == NAMESPACE));
    assert!(
        log.iter().all(|event| event.kind() == pb::EventKind::ImportNamespace || event.reason.is_empty()),
        "{log:?}"
    );
    let foreign = imported_events(to, NAMESPACE, 1).await;
    for (order_by, page_size) in [("", 0), ("revision desc", 1)] {
        let mut wanted: Vec<&pb::Event> = foreign
            .iter()
            .filter(|event| event.kind() == pb::EventKind::Publish && !event.policy.ends_with("/q"))
            .collect();
        if page_size > 0 {
            wanted.reverse();
        }
        let mut request = pb::ListEventsRequest {
            parent: NAMESPACE.to_owned(),
            page_size,
            import_position: 1,
            filter: "kind = PUBLISH AND policy != q".to_owned(),
            order_by: order_by.to_owned(),
            ..Default::default()
        };
        let mut found = Vec::new();
        loop {
            let page = to.list_events(request.clone()).await.expect("events");
            found.extend(page.events);
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        assert!(!wanted.is_empty() && found.iter().eq(wanted), "an imported history is filtered {order_by}: {found:?}");
    }
    assert_eq!(foreign.len(), origin.len());
    for (foreign, origin) in foreign.iter().zip(&origin) {
        assert_eq!(foreign.origin_store, source.store);
        assert_eq!(pb::Event { origin_store: String::new(), ..foreign.clone() }, *origin);
        assert!(log.iter().all(|own| own.hash != foreign.hash));
    }
    verified(to, NAMESPACE).await;
    let (code, text, errors) = run(b.cli(), &["verify", "--log", "default"]);
    assert_eq!(code, 0, "{text}{errors}");
    let (_, text, _) = run(b.cli(), &["namespace", "show", "default"]);
    assert!(text.contains(&format!("imported 1: default of store {} up to", source.store)), "{text}");
    let (_, text, _) = run(b.cli(), &["history", "p"]);
    assert!(text.contains("PUBLISHED (imported)"), "{text}");
    let (_, text, _) = run(b.cli(), &["events", "--imported", "--limit", "100"]);
    assert_eq!(text.lines().count(), 1 + origin.len(), "{text}");
}

/// Checks that only activations in this store put something in force.
async fn is_in_force_by_a_decision(to: &Client) {
    let mut watch = open(to).await;
    crate::harness::watching::change(&mut watch).await;
    activate(to, "p", 2).await;
    let (_, moved, _) = activation(&mut watch).await;
    assert_eq!(moved, ["p@2"], "{moved:?}");
    // A version that was staged in the source is a draft here, and is checked again.
    let staged = to.publish(publish_request("p", 4)).await.expect("a publication").version.expect("a version");
    assert!(staged.origin_manifests.is_empty());
    verified(to, NAMESPACE).await;
}

on_both_databases! {
    async fn a_namespace_moves_with_all_it_has(database: Database) {
        let (a, b) = (Hub::start(database).await, Hub::start(database).await);
        let (from, to) = (a.client().await, b.client().await);
        history(&from).await;
        let file = export(&a, "default", "a.jsonl").display().to_string();
        let active_file = b.dir.path().join("active.json").display().to_string();
        let pins = pins(&a);
        let mut offline = vec!["verify", "--log", "--from", &file];
        offline.extend(pins.iter().map(String::as_str));
        let (code, text, errors) = run(binary(), &offline);
        assert_eq!(code, 0, "{text}{errors}");
        let mut command = vec!["import", &file, "--save-active", &active_file];
        command.extend(pins.iter().map(String::as_str));
        let dry: Vec<&str> = command.iter().copied().chain(["--dry-run"]).collect();
        let (code, text, errors) = run(b.cli(), &dry);
        assert!(code == 0 && text.starts_with("would import default of store"), "{text}{errors}");
        assert!(namespace(&to, NAMESPACE).await.imports.is_empty(), "a dry run changes nothing");
        let (code, text, errors) = run(b.cli(), &command);
        assert_eq!(code, 0, "{text}{errors}");
        assert!(text.contains("in force there: p@1.5.0\n") && text.contains("in force there: q@1\n"), "{text}");
        assert!(errors.contains("nothing is in force here"), "{errors}");
        assert!(!errors.contains("came with the archive"), "{errors}");
        let saved: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&active_file).expect("written")).expect("JSON");
        assert_eq!(saved, serde_json::json!({"p": "1.5.0", "q": 1}));

        // Numbers with their gap, labels, authors, times, settings, contents and reports are kept.
        let source = trust(&from).await.store;
        assert_eq!(kept(&to, NAMESPACE).await, as_imported(kept(&from, NAMESPACE).await, &source));
        assert_eq!((active(&to, "p").await, active(&to, "q").await), (0, 0));
        assert!(in_force(&to).await.is_empty());
        assert_eq!(draft(&to, "p", "a: 6").await.version, 6, "numbers are never used twice");

        signed_by_both(&from, &to).await;
        says_where_it_is_from(&b, &from, &to).await;
        is_in_force_by_a_decision(&to).await;
        let (code, text, errors) = run(b.cli(), &["activate", "--from", &active_file, "--reason", "as it was there"]);
        assert_eq!(code, 0, "{text}{errors}");
        assert_eq!(in_force(&to).await, in_force(&from).await);

        // The same import again succeeds without a change; an import of another namespace is refused.
        let (code, _, errors) = run(b.cli(), &command);
        assert_eq!(code, 0, "{errors}");
        let (code, _, errors) = run(a.cli(), &["import", &file]);
        assert!(code == 1 && errors.contains("NAMESPACE_NOT_EMPTY"), "{errors}");
        // Import under another name, which is created on the way.
        let (code, text, errors) = run(a.cli(), &["import", &file, "--into", "copy", "--create", "--output", "json"]);
        assert!(code == 0 && errors.contains("the keys came with the archive"), "{text}{errors}");
        assert_eq!(
            kept_elsewhere(&from, "namespaces/copy").await,
            as_imported(kept_elsewhere(&from, NAMESPACE).await, &source)
        );
        verified(&from, "namespaces/copy").await;
        verified(&from, "namespaces/system").await;
    }

    async fn a_history_goes_on_to_a_third_store(database: Database) {
        let (a, b, c) = (Hub::start(database).await, Hub::start(database).await, Hub::start(database).await);
        let (first, second, third) = (a.client().await, b.client().await, c.client().await);
        history(&first).await;
        let file = export(&a, "default", "a.jsonl").display().to_string();
        let (code, _, errors) = run(b.cli(), &["import", &file]);
        assert_eq!(code, 0, "{errors}");
        activate(&second, "p", 1).await;
        crate::harness::calls::release(&second, "r", "a: 1").await;
        let file = export(&b, "default", "b.jsonl").display().to_string();
        let (code, text, errors) = run(binary(), &["verify", "--log", "--from", &file]);
        assert_eq!(code, 0, "{text}{errors}");
        let (code, text, errors) = run(c.cli(), &["import", &file]);
        assert_eq!(code, 0, "{text}{errors}");
        assert!(text.contains("in force there: p@1\n") && text.contains("in force there: r@1\n"), "{text}");
        let stores = [trust(&second).await.store, trust(&first).await.store];
        assert_eq!(kept(&third, NAMESPACE).await, as_imported(kept(&second, NAMESPACE).await, &stores[0]));
        let imports = namespace(&third, NAMESPACE).await.imports;
        let found: Vec<String> = imports.into_iter().map(|import| import.source.expect("a source").store).collect();
        assert_eq!(found, stores);
        for (position, origin) in [(1, &second), (2, &first)] {
            let foreign = imported_events(&third, NAMESPACE, position).await;
            let origin = events(origin, NAMESPACE, 0).await;
            let hashes = |events: &[pb::Event]| events.iter().map(|event| event.hash.clone()).collect::<Vec<_>>();
            assert_eq!(hashes(&foreign), hashes(&origin));
        }
        let all = crate::harness::calls::get_version(&third, "p", 2).await;
        let before = crate::harness::calls::get_version(&second, "p", 2).await;
        assert_eq!(all.origin_manifests[0], before.manifest);
        assert_eq!(all.origin_manifests[1..], before.origin_manifests[..]);
        verified(&third, NAMESPACE).await;
        let file = export(&c, "default", "c.jsonl").display().to_string();
        let (code, text, errors) = run(binary(), &["verify", "--log", "--from", &file]);
        assert_eq!(code, 0, "{text}{errors}");
    }

    async fn an_import_that_was_killed_goes_on_where_it_was(database: Database) {
        let (a, mut b) = (Hub::start(database).await, Hub::start(database).await);
        let from = a.client().await;
        history(&from).await;
        let file = export(&a, "default", "a.jsonl");
        let singles = single_parts(&file, NAMESPACE);
        // The server restarts after each part, and the part before is sent again, which must change nothing.
        let stops = [1, 7, singles.len() / 2, singles.len() - 1];
        let mut done = 0;
        for stop in stops {
            let client = b.client().await;
            send(&client, &singles[done..stop]).await.expect("parts");
            let again = client.import_namespace(singles[stop - 1].clone()).await.expect("done already");
            assert_eq!((again.items, again.cursor.revision()), (i64::try_from(stop).expect("small"), 0));
            verified(&client, NAMESPACE).await;
            let unfinished = refused(
                client.draft(crate::harness::calls::draft_request("x", "a: 1")).await,
                Code::FailedPrecondition,
                "IMPORT_UNFINISHED",
            );
            assert!(unfinished.message().contains("not finished"), "{unfinished:?}");
            let binding = pb::RoleBinding {
                role: pb::Role::Viewer.into(),
                member: format!("user:u{stop}"),
                ..Default::default()
            };
            let grant = pb::CreateRoleBindingRequest {
                parent: NAMESPACE.to_owned(),
                role_binding: Some(binding),
                ..Default::default()
            };
            client.create_role_binding(grant).await.expect("roles are free");
            b.kill().await;
            b = b.restart().await;
            done = stop;
        }
        // The command resumes where the import was, however it was split into parts.
        let (code, text, errors) = run(b.cli(), &["import", &file.display().to_string()]);
        assert_eq!(code, 0, "{text}{errors}");
        let to = b.client().await;
        assert_eq!(kept(&to, NAMESPACE).await, as_imported(kept(&from, NAMESPACE).await, &trust(&from).await.store));
        assert!(namespace(&to, NAMESPACE).await.imports[0].finished);
        verified(&to, NAMESPACE).await;
        draft(&to, "x", "a: 1").await;
    }

    async fn two_importers_of_one_archive_end_as_one(database: Database) {
        let (a, b) = (Hub::start(database).await, Hub::start(database).await);
        let from = a.client().await;
        history(&from).await;
        let file = export(&a, "default", "a.jsonl");
        let singles = single_parts(&file, NAMESPACE);
        let importer = async |parts: Vec<pb::ImportNamespaceRequest>| {
            let client = b.client().await;
            let mut items = 0;
            loop {
                let part = &parts[usize::try_from(items).expect("a number")];
                match client.import_namespace(part.clone()).await {
                    Ok(state) if state.finished => return,
                    Ok(state) => items = state.items,
                    Err(error) => panic!("{error:?}"),
                }
            }
        };
        tokio::join!(importer(singles.clone()), importer(singles.clone()), importer(singles));
        let to = b.client().await;
        assert_eq!(kept(&to, NAMESPACE).await, as_imported(kept(&from, NAMESPACE).await, &trust(&from).await.store));
        let log = events(&to, NAMESPACE, 0).await;
        let count = i64::try_from(log.len()).expect("small");
        let items = namespace(&to, NAMESPACE).await.imports[0].items;
        assert!(count == items || count == items + 1, "each part once: {count} events for {items} items");
        verified(&to, NAMESPACE).await;
    }

    async fn a_request_id_answers_once_and_validate_only_does_nothing(database: Database) {
        let (a, b) = (Hub::start(database).await, Hub::start(database).await);
        history(&a.client().await).await;
        let all = parts(&export(&a, "default", "a.jsonl"), NAMESPACE);
        let to = b.client().await;
        let dry = pb::ImportNamespaceRequest { validate_only: true, ..all[0].clone() };
        let answer = to.import_namespace(dry).await.expect("it would be taken");
        assert_eq!(answer.cursor.revision(), 0);
        assert!(namespace(&to, NAMESPACE).await.imports.is_empty());
        assert_eq!(events(&to, NAMESPACE, 0).await.len(), 0);
        let named = pb::ImportNamespaceRequest { request_id: "one".to_owned(), ..all[0].clone() };
        let first = to.import_namespace(named.clone()).await.expect("a part");
        assert_eq!(to.import_namespace(named.clone()).await.expect("the same"), first);
        let other = pb::ImportNamespaceRequest { request_id: "one".to_owned(), ..all[1].clone() };
        refused(to.import_namespace(other).await, Code::InvalidArgument, "REQUEST_ID_REUSED");
        // A dry run of each part, then the part.
        for part in &all[1..] {
            let before = events(&to, NAMESPACE, 0).await.len();
            let dry = pb::ImportNamespaceRequest { validate_only: true, ..part.clone() };
            to.import_namespace(dry).await.expect("it would be taken");
            assert_eq!(events(&to, NAMESPACE, 0).await.len(), before);
            to.import_namespace(part.clone()).await.expect("a part");
        }
        assert_eq!(policy("p"), crate::harness::calls::get(&to, "p").await.name);
        let other = make(&to, "other").await;
        send(&to, &parts(&a.dir.path().join("a.jsonl"), &other)).await.expect("the same history in another namespace");
        verified(&to, &other).await;
    }
}
