//! A namespace that is frozen during an import: the import is not completed over data that does not verify, and continues once the data is
//! restored.

use policyhub::client::{Client, pb};
use tonic::Code;

use crate::harness::archives::{export, history, make, single_parts, verified};
use crate::harness::calls::refused;
use crate::harness::metrics::wait_for;
use crate::harness::{Hub, on_both_databases};

const AUDITED: &[&str] = &["--audit-interval-ms", "20"];

fn thaw(name: &str) -> pb::ThawNamespaceRequest {
    pb::ThawNamespaceRequest { name: name.to_owned(), reason: "looked at".to_owned(), ..Default::default() }
}

/// Returns a thaw request that accepts everything that a check finds.
async fn thaw_accepting_all(client: &Client, name: &str) -> pb::ThawNamespaceRequest {
    let request = pb::VerifyLogRequest { parent: name.to_owned(), after: None };
    let verdict = client.verify_log(request).await.expect("a verdict");
    assert!(!verdict.findings.is_empty());
    pb::ThawNamespaceRequest { accepted_findings: verdict.findings, ..thaw(name) }
}

on_both_databases! {
    async fn an_import_does_not_end_over_what_does_not_hold(database: Database) {
        let (a, b) = (Hub::start(database).await, Hub::start_with(database, AUDITED).await);
        let from = a.client().await;
        history(&from).await;
        let file = export(&a, "default", "a.jsonl");
        let to = b.client().await;
        let target = make(&to, "t").await;
        let all = single_parts(&file, &target);
        let (last, rest) = all.split_last().expect("parts");
        for part in rest {
            to.import_namespace(part.clone()).await.expect("a part");
        }
        b.tamper("UPDATE policies SET description = description || 'x' WHERE namespace = 't'");
        wait_for(&b, "policyhub_namespace_frozen{namespace=\"t\"} 1").await;
        refused(to.import_namespace(last.clone()).await, Code::DataLoss, "DATA_LOSS");
        refused(to.thaw_namespace(thaw(&target)).await, Code::FailedPrecondition, "FINDINGS_REMAIN");
        let accepting = thaw_accepting_all(&to, &target).await;
        let error = refused(to.thaw_namespace(accepting).await, Code::FailedPrecondition, "FINDINGS_REMAIN");
        assert!(error.message().contains("import into it is not finished"), "{error:?}");
        refused(to.import_namespace(last.clone()).await, Code::DataLoss, "DATA_LOSS");

        b.tamper("UPDATE policies SET description = substr(description, 1, length(description) - 1) WHERE namespace = 't'");
        to.thaw_namespace(thaw(&target)).await.expect("it holds again");
        assert!(to.import_namespace(last.clone()).await.expect("the last part").finished);
        verified(&to, &target).await;
    }
}
