//! GetActive and ListActive: now and in the past, conditional, without content, and the fallback to a draft, which is never a bundle.

use policyhub::client::pb::get_active_request::At;
use policyhub::client::pb::list_active_request::At as SetAt;
use policyhub::client::signing::{
    TYP_BUNDLE, TYP_PREVIEW, digest_of, jws, payload::Manifest, verify_bundle, verify_statement,
};
use policyhub::client::{Client, ClientError, pb};
use tonic::Code;

use crate::harness::calls::{
    NAMESPACE, abandon, activate, create, deactivate, draft, events, head, policy, publish, refused, refused_fields,
    release, set, trust, version,
};
use crate::harness::on_both_databases;
use crate::harness::watching::{list_set, whole_set};

async fn try_active(client: &Client, name: &str, at: Option<At>) -> Result<pb::GetActiveResponse, ClientError> {
    client.get_active(pb::GetActiveRequest { name: name.to_owned(), at, ..Default::default() }).await
}

async fn try_set(client: &Client, at: Option<SetAt>) -> Result<pb::ListActiveResponse, ClientError> {
    list_set(client, pb::ListActiveRequest { at, ..whole_set() }).await
}

async fn set_at(client: &Client, at: Option<SetAt>) -> pb::ListActiveResponse {
    try_set(client, at).await.expect("a set")
}

/// Returns the set as `policy version` texts.
fn rendered(set: &pb::ListActiveResponse) -> Vec<String> {
    let bundles = set.bundles.iter();
    let id = |bundle: &pb::Bundle| bundle.name.split('/').nth(3).expect("an id").to_owned();
    bundles.map(|bundle| format!("{} {}", id(bundle), bundle.version)).collect()
}

on_both_databases! {
    /// Every bundle has two signatures: one of its content, and one of its activation.
    async fn what_is_in_force_is_proven(hub: Hub) {
        let client = hub.client().await;
        let first = set_at(&client, None).await;
        assert_eq!((rendered(&first), first.cursor.expect("a cursor").revision), (vec![], 0));
        release(&client, "b", "n: 1").await;
        release(&client, "a", "n: 2").await;
        activate(&client, "b", 1).await;
        draft(&client, "b", "n: 3").await;
        let (trust, set) = (trust(&client).await, set_at(&client, None).await);
        assert_eq!(rendered(&set), ["a 1", "b 1"]);
        assert_eq!(set.cursor.expect("a cursor").revision, head(&client).await);
        for (active, (id, content, revision)) in set.bundles.iter().zip([("a", "n: 2", 6), ("b", "n: 1", 7)]) {
            let bundle = active;
            let manifest = verify_bundle(&bundle.manifest, &bundle.content, &trust.keys).expect("a bundle");
            assert_eq!((manifest.policy.as_str(), manifest.version, &bundle.content[..]), (id, 1, content.as_bytes()));
            let one = try_active(&client, &policy(id), None).await.expect("a policy");
            let statement = verify_statement(&one.statement, &trust.keys).expect("a statement");
            assert_eq!((statement.revision, active.activation.expect("a cursor").revision, active.preview), (revision, revision, false));
            let named = statement
                .changes
                .iter()
                .any(|change| change.policy.as_str() == id && change.digest.as_ref() == Some(&manifest.digest));
            assert!(named, "its statement puts it in force");
            assert_eq!(one.bundle.as_ref(), Some(active), "alone it is the same");
        }
    }

    /// At every revision and at the time of every event, the answer is what was in force then.
    async fn as_it_was(hub: Hub) {
        let client = hub.client().await;
        release(&client, "a", "n: 1").await;
        release(&client, "b", "n: 1").await;
        release(&client, "a", "n: 2").await;
        deactivate(&client, "b").await;
        client.rollback(crate::harness::calls::rollback_request("a", 1)).await.expect("a rollback");
        let mut expected: Vec<Vec<&str>> = vec![vec![]; 3];
        expected.extend(vec![vec!["a 1"]; 3]);
        expected.extend(vec![vec!["a 1", "b 1"]; 3]);
        expected.extend([vec!["a 2", "b 1"], vec!["a 2"], vec!["a 1"]]);
        for (revision, expected) in (0..).zip(&expected) {
            let set = set_at(&client, Some(SetAt::Cursor(pb::Cursor::of_revision(revision)))).await;
            assert_eq!(
                (rendered(&set), set.cursor.expect("a cursor").revision),
                (expected.iter().map(ToString::to_string).collect(), revision)
            );
        }
        for event in events(&client, NAMESPACE, 0).await {
            let set = set_at(&client, event.time.map(SetAt::Time)).await;
            // Of events in the same microsecond, the last one counts.
            let revision = set.cursor.expect("a cursor").revision;
            assert!(revision >= event.cursor.expect("a cursor").revision);
            assert_eq!(rendered(&set), expected[usize::try_from(revision).expect("a place")]);
        }
        let before = SetAt::Time(prost_types::Timestamp { seconds: 0, nanos: 0 });
        assert_eq!(rendered(&set_at(&client, Some(before)).await), Vec::<String>::new());
        refused(try_active(&client, &policy("b"), None).await, Code::FailedPrecondition, "NO_ACTIVE_VERSION");
        let then = try_active(&client, &policy("b"), Some(At::Cursor(pb::Cursor::of_revision(9)))).await.expect("a policy");
        assert_eq!(then.bundle.expect("active").version, 1);
        for revision in [-1, 12, i64::MAX] {
            refused_fields(try_active(&client, &policy("a"), Some(At::Cursor(pb::Cursor::of_revision(revision)))).await, &["cursor"]);
            refused_fields(try_set(&client, Some(SetAt::Cursor(pb::Cursor::of_revision(revision)))).await, &["cursor"]);
        }
        let never = prost_types::Timestamp { seconds: i64::MIN, nanos: 0 };
        refused_fields(try_active(&client, &policy("a"), Some(At::Time(never))).await, &["time"]);
        refused_fields(try_set(&client, Some(SetAt::Time(never))).await, &["time"]);
    }

    /// A caller that already holds the version gets an answer without the bytes; metadata_only leaves out the bytes too.
    async fn nothing_is_sent_twice(hub: Hub) {
        let client = hub.client().await;
        let published = release(&client, "p", "a: 1").await;
        let ask = |if_digest: &str| pb::GetActiveRequest {
            name: policy("p"),
            if_digest: if_digest.to_owned(),
            ..Default::default()
        };
        let held = client.get_active(ask(&published.digest)).await.expect("a policy");
        assert!(held.not_modified && held.bundle.is_none());
        let another = digest_of(b"another").to_string();
        let whole = client.get_active(ask(&another)).await.expect("a policy");
        assert!(!whole.not_modified && whole.cursor == held.cursor);

        let lean = pb::GetActiveRequest { metadata_only: true, ..ask("") };
        let mut without_content = whole.bundle;
        without_content.as_mut().expect("a bundle").content = Default::default();
        assert_eq!(client.get_active(lean).await.expect("a policy").bundle, without_content);
        for bad in ["sha256:", "abc", &another.to_uppercase()] {
            refused_fields(client.get_active(ask(bad)).await, &["if_digest"]);
        }
    }

    /// A whole set is never one unbounded answer: it comes in pages.
    async fn a_set_is_not_one_answer(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        let error = refused(try_active(&client, NAMESPACE, None).await, Code::InvalidArgument, "INVALID_ARGUMENT");
        assert!(error.violations()[0].description.contains("ListActive"), "{error:?}");
        refused_fields(try_active(&client, "namespaces/default/policies/", None).await, &["name"]);
    }

    /// The answer for "nothing is active" differs from the one for "not found".
    async fn nothing_active_is_not_absent(hub: Hub) {
        let client = hub.client().await;
        publish(&client, "p", "a: 1").await;
        refused(try_active(&client, &policy("p"), None).await, Code::FailedPrecondition, "NO_ACTIVE_VERSION");
        refused(try_active(&client, &policy("q"), None).await, Code::NotFound, "POLICY_NOT_FOUND");
        let there = "namespaces/none/policies/p";
        refused(try_active(&client, there, None).await, Code::NotFound, "NAMESPACE_NOT_FOUND");
        assert_eq!(rendered(&set_at(&client, None).await), Vec::<String>::new());
    }

    /// With allow_draft_fallback, the newest open draft is returned, signed as a preview that is not accepted as a bundle.
    async fn a_draft_is_shown_as_a_preview_alone(hub: Hub) {
        let client = hub.client().await;
        let settings = pb::PolicySettings { allow_draft_fallback: true, ..Default::default() };
        create(&client, "p", pb::PolicyKind::Yaml, settings).await;
        refused(try_active(&client, &policy("p"), None).await, Code::FailedPrecondition, "NO_ACTIVE_VERSION");
        for content in ["a: 1", "a: 2", "a: 3"] {
            draft(&client, "p", content).await;
        }
        abandon(&client, "p", 3).await;
        let shown = try_active(&client, &policy("p"), None).await.expect("a preview");
        let bundle = shown.bundle.expect("a bundle");
        assert!(bundle.preview && shown.statement.is_empty() && bundle.activation.is_none());
        assert_eq!((bundle.name, &bundle.content[..]), (version("p", 2), &b"a: 2"[..]));
        let keys = trust(&client).await.keys;
        assert!(verify_bundle(&bundle.manifest, &bundle.content, &keys).is_err(), "a preview passed for a bundle");
        assert!(jws::verify(&bundle.manifest, TYP_BUNDLE, &keys).is_err());
        let preview = jws::verify(&bundle.manifest, TYP_PREVIEW, &keys).expect("a preview");
        let manifest = Manifest::from_bytes(&preview.payload).expect("a manifest");
        assert_eq!((manifest.version, manifest.digest), (2, digest_of(b"a: 2")));

        assert_eq!(rendered(&set_at(&client, None).await), Vec::<String>::new(), "never in the set");
        let past = try_active(&client, &policy("p"), Some(At::Cursor(pb::Cursor::of_revision(head(&client).await)))).await;
        refused(past, Code::FailedPrecondition, "NO_ACTIVE_VERSION");
        client.publish(crate::harness::calls::publish_request("p", 1)).await.expect("a publication");
        activate(&client, "p", 1).await;
        let real = try_active(&client, &policy("p"), None).await.expect("a policy").bundle.expect("a bundle");
        assert!(!real.preview && real.version == 1, "what is active comes first");
        deactivate(&client, "p").await;
        assert!(try_active(&client, &policy("p"), None).await.expect("a preview").bundle.expect("a bundle").preview);
        set(&client, "p", pb::PolicySettings::default()).await;
        refused(try_active(&client, &policy("p"), None).await, Code::FailedPrecondition, "NO_ACTIVE_VERSION");
    }
}
