//! Guardrails that somebody takes away in the database, or puts back as they were, refuse versions all the same: nothing is decided by
//! them, and the check of the log finds them (docs/guarantees.md#g3).

use policyhub::client::pb;
use tonic::Code;

use crate::harness::calls::{NAMESPACE, activate, draft, publish, refused, try_activate};
use crate::harness::guardrails::set_guardrails;
use crate::harness::on_both_databases;

on_both_databases! {
    with &["--audit-interval-ms", "0"];

    /// Given guardrails that are deleted, forged or older, no version passes by them.
    async fn guardrails_that_were_changed_in_the_database_let_nothing_pass(hub: Hub) {
        let client = hub.client().await;
        let own = format!("{NAMESPACE}/guardrails");
        publish(&client, "p", "a: 1").await;
        publish(&client, "p", "a: 2").await;
        for (name, scope) in [(own.as_str(), "default"), ("namespaces/-/guardrails", "system")] {
            set_guardrails(&client, name, &[("low", "content.a < 100")]).await;
            hub.tamper(&format!("CREATE TABLE older_{scope} AS SELECT * FROM guardrails WHERE namespace = '{scope}'"));
            set_guardrails(&client, name, &[("low", "content.a < 2")]).await;
            hub.tamper(&format!("CREATE TABLE newest_{scope} AS SELECT * FROM guardrails WHERE namespace = '{scope}'"));
            let gone = format!("DELETE FROM guardrails WHERE namespace = '{scope}'");
            for edit in [
                vec![gone.clone()],
                vec![format!("UPDATE guardrails SET guardrails = '[]' WHERE namespace = '{scope}'")],
                vec![gone.clone(), format!("INSERT INTO guardrails SELECT * FROM older_{scope}")],
            ] {
                for sql in &edit {
                    hub.tamper(sql);
                }
                refused(try_activate(&client, "p", 2, None).await, Code::DataLoss, "DATA_LOSS");
                let name = draft(&client, "q", "a: 7").await.name;
                let stage = client.stage(pb::StageRequest { name, ..Default::default() }).await;
                refused(stage, Code::DataLoss, "DATA_LOSS");
                let parent = if scope == "system" { "namespaces/system".to_owned() } else { NAMESPACE.to_owned() };
                let found = client.verify_log(pb::VerifyLogRequest { parent, after: None }).await.expect("a check");
                assert!(found.findings.iter().any(|finding| finding.row.starts_with("guardrails")), "{edit:?}: {found:?}");
                hub.tamper(&gone);
                hub.tamper(&format!("INSERT INTO guardrails SELECT * FROM newest_{scope}"));
            }
            set_guardrails(&client, name, &[]).await;
            activate(&client, "p", 1).await;
            activate(&client, "p", 2).await;
        }
    }
}
