//! Authors and approvals of another store are only its claim: its people are no principals here, and a version it published needs the
//! approvals that its policy requires before its first activation here.

use policyhub::client::signing::verify_bundle;
use policyhub::client::{ClientError, pb};
use tonic::Code;

use crate::harness::archives::{export, make, parts, run, send, single_parts, verified};
use crate::harness::calls::{
    NAMESPACE, Revision as _, activate, active, deactivate, get_version, publish_request, refused, rollback_request,
    trust, try_activate,
};
use crate::harness::reviews::{approve, last_event, people, reviewed_policy, staged};
use crate::harness::{Hub, on_both_databases};

/// Checks how many approvals a refusal names as missing.
#[track_caller]
fn missing<T: std::fmt::Debug>(answer: Result<T, ClientError>) {
    let error = refused(answer, Code::FailedPrecondition, "APPROVALS_MISSING");
    assert_eq!((error.metadata()["given"].as_str(), error.metadata()["required"].as_str()), ("0", "1"), "{error:?}");
}

on_both_databases! {
    async fn what_was_approved_elsewhere_is_approved_here(database: Database) {
        let (a, b) = (Hub::start(database).await, Hub::start(database).await);
        let [admin, ann, bob] = people(&a, ["admin", "ann", "bob"]).await;
        reviewed_policy(&admin, "p", 1).await;
        for content in ["a: 1", "a: 2"] {
            let reviewed = staged(&ann, "p", content).await;
            approve(&bob, &reviewed).await.expect("an approval");
            ann.publish(publish_request("p", reviewed.version)).await.expect("a publication");
        }
        let file = export(&a, "default", "a.jsonl").display().to_string();
        let (code, _, errors) = run(b.cli(), &["import", &file]);
        assert_eq!(code, 0, "{errors}");

        let [ann, bob] = people(&b, ["ann", "bob"]).await;
        let imported = get_version(&ann, "p", 1).await;
        let foreign = format!("imported/{}/local:ann", trust(&admin).await.store);
        assert_eq!((&imported.author, &imported.publisher), (&foreign, &foreign));
        let full = pb::GetVersionRequest { name: imported.name.clone(), view: pb::VersionView::Full.into() };
        let full = ann.get_version(full).await.expect("a version").version.expect("a version");
        let manifest = verify_bundle(&full.manifest, &full.content, &trust(&ann).await.keys).expect("our own");
        assert_eq!((manifest.author, manifest.publisher), (foreign.clone(), foreign), "no name of ours is signed");

        missing(try_activate(&ann, "p", 1, None).await);
        missing(ann.rollback(rollback_request("p", 1)).await);
        let given = approve(&bob, &imported).await.expect("an approval").cursor.revision();
        assert_eq!(get_version(&ann, "p", 1).await.approvals.len(), 1);
        missing(try_activate(&ann, "p", 2, None).await);
        activate(&ann, "p", 1).await;
        assert_eq!(last_event(&ann).await.1, [("local:bob".to_owned(), given)], "the event says what it rests on");
        // A version that was in force here before needs no approvals again.
        deactivate(&ann, "p").await;
        activate(&ann, "p", 1).await;
        let own = staged(&ann, "p", "a: 3").await;
        approve(&bob, &own).await.expect("an approval");
        ann.publish(publish_request("p", own.version)).await.expect("a publication");
        activate(&ann, "p", own.version).await;
        ann.rollback(rollback_request("p", 1)).await.expect("a rollback");
        missing(ann.rollback(rollback_request("p", 2)).await);
        assert_eq!(active(&ann, "p").await, 1);
        verified(&ann, NAMESPACE).await;
    }
    /// The importer counts as the author of the imported versions, and nobody else may continue an import.
    async fn an_importer_does_not_approve_the_own_import(database: Database) {
        let (a, b) = (Hub::start(database).await, Hub::start(database).await);
        let [admin, ann, bob] = people(&a, ["admin", "ann", "bob"]).await;
        reviewed_policy(&admin, "p", 1).await;
        let reviewed = staged(&ann, "p", "a: 1").await;
        approve(&bob, &reviewed).await.expect("an approval");
        ann.publish(publish_request("p", reviewed.version)).await.expect("a publication");
        staged(&ann, "p", "a: 2").await;
        let parts = single_parts(&export(&a, "default", "a.jsonl"), NAMESPACE);
        let [ann, bob] = people(&b, ["ann", "bob"]).await;
        send(&ann, &parts[..2]).await.expect("two parts");
        let error = refused(send(&bob, &parts[2..]).await, Code::InvalidArgument, "IMPORT_REFUSED");
        assert!(error.message().contains("local:ann"), "{error:?}");
        send(&ann, &parts[2..]).await.expect("the other parts");
        assert!(send(&bob, &parts[2..]).await.expect("it is done already").finished);

        let published = get_version(&bob, "p", 1).await;
        refused(approve(&ann, &published).await, Code::FailedPrecondition, "SELF_APPROVAL");
        // A version that was staged in the source is a draft here: whoever stages it, the importer is its author.
        let draft = get_version(&bob, "p", 2).await;
        bob.stage(pb::StageRequest { name: draft.name.clone(), ..Default::default() }).await.expect("a stage");
        refused(approve(&ann, &draft).await, Code::FailedPrecondition, "SELF_APPROVAL");
        missing(try_activate(&ann, "p", 1, None).await);
        for version in [&published, &draft] {
            approve(&bob, version).await.expect("an approval of somebody else");
        }
        activate(&ann, "p", 1).await;
        ann.publish(publish_request("p", 2)).await.expect("a publication");
        verified(&ann, NAMESPACE).await;
        let file = export(&b, "default", "b.jsonl").display().to_string();
        let (code, text, errors) = run(crate::harness::hub::binary(), &["verify", "--log", "--from", &file]);
        assert_eq!(code, 0, "{text}{errors}");
    }
    /// Given a copy that comes back into another namespace of the same store, its original author can't approve it.
    async fn an_author_does_not_approve_what_comes_back(database: Database) {
        let hub = Hub::start(database).await;
        let [admin, ann, bob, eve] = people(&hub, ["admin", "ann", "bob", "eve"]).await;
        reviewed_policy(&admin, "p", 1).await;
        let reviewed = staged(&ann, "p", "a: 1").await;
        approve(&bob, &reviewed).await.expect("an approval");
        ann.publish(publish_request("p", reviewed.version)).await.expect("a publication");
        let copy = make(&admin, "copy").await;
        send(&eve, &parts(&export(&hub, "default", "a.jsonl"), &copy)).await.expect("an import");
        let name = format!("{copy}/policies/p/versions/1");
        let request = pb::GetVersionRequest { name, ..Default::default() };
        let imported = ann.get_version(request).await.expect("a version").version.expect("a version");
        assert_eq!(imported.author, format!("imported/{}/local:ann", trust(&admin).await.store));
        refused(approve(&ann, &imported).await, Code::FailedPrecondition, "SELF_APPROVAL");
        refused(approve(&eve, &imported).await, Code::FailedPrecondition, "SELF_APPROVAL");
        approve(&bob, &imported).await.expect("an approval of somebody else");
        verified(&admin, &copy).await;
    }
}
