//! Runs of several policies, and how runs end.

use std::collections::BTreeSet;

use policyhub::client::pb::{self, RunOutcome};
use tokio::task::JoinSet;
use tonic::Code;

use crate::harness::callers::{caller, grant};
use crate::harness::calls::{
    NAMESPACE, NamedEvent as _, activate, deactivate, draft, head, policy, publish, refused, refused_fields, release,
};
use crate::harness::on_both_databases;
use crate::harness::runs::{complete, end_request, get_run, record, run_request, under};
use crate::harness::subscribing::at;

/// More policies than are read one by one.
const MANY: usize = 12;

on_both_databases! {
    /// Given one run id and any number of policies, the named ones or the whole active set, each is provable.
    async fn a_run_holds_a_set(hub: Hub) {
        let client = hub.client().await;
        for id in ["a", "b", "c", "idle"] {
            release(&client, id, "x: 1").await;
        }
        release(&client, "b", "x: 2").await;
        deactivate(&client, "idle").await;
        let place = head(&client).await;
        let named = record(&client, run_request("named", &["c", &policy("a"), "c"], None)).await.expect("a run");
        assert_eq!((under(&named).as_str(), named.policy_count, named.whole_set), ("a@1 c@1", 2, false));
        let three = record(&client, run_request("three", &["a", "b", "c"], Some(at(place)))).await.expect("a run");
        assert_eq!((under(&three).as_str(), three.policy_count, three.whole_set), ("a@1 b@2 c@1", 3, false));
        let whole = record(&client, run_request("whole", &[], None)).await.expect("a run");
        assert_eq!((under(&whole).as_str(), whole.policy_count, whole.whole_set), ("a@1 b@2 c@1", 3, true));
        assert_eq!((&whole.policies, whole.cursor), (&three.policies, Some(at(place))));
        assert_eq!(head(&client).await, place, "a run is no event");

        // As it was at an earlier cursor.
        let earlier = record(&client, run_request("earlier", &[], Some(at(place - 1)))).await.expect("a run");
        assert_eq!(under(&earlier), "a@1 b@2 c@1 idle@1");
        release(&client, "a", "x: 3").await;
        deactivate(&client, "c").await;
        let later = record(&client, run_request("later", &[], None)).await.expect("a run");
        assert_eq!(under(&later), "a@2 b@2");
        let hub = hub.restart_in_order().await;
        let client = hub.client().await;
        for recorded in [named, three, whole, earlier, later] {
            assert_eq!(get_run(&client, &recorded.id()).await.expect("a run"), recorded);
        }
        // A policy that is not in force at the cursor can't be part of a run, and then nothing is recorded.
        let all: Vec<String> = ('a'..='z').map(String::from).collect();
        let many: Vec<&str> = all.iter().map(String::as_str).collect();
        for (policies, code, reason) in [
            (&["a", "idle"][..], Code::FailedPrecondition, "NO_ACTIVE_VERSION"),
            (&["a", "absent"], Code::NotFound, "POLICY_NOT_FOUND"),
            (&many, Code::FailedPrecondition, "NO_ACTIVE_VERSION"),
            (&many[3..], Code::NotFound, "POLICY_NOT_FOUND"),
        ] {
            refused(record(&client, run_request("none", policies, None)).await, code, reason);
        }
        refused(get_run(&client, "none").await, Code::NotFound, "RUN_NOT_FOUND");
        let names = vec!["a".to_owned(); 1_001];
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        refused_fields(record(&client, run_request("none", &names, None)).await, &["policies"]);
    }

    /// Before the first activation, and after the last pointer was removed, there is no active set to run under.
    async fn an_empty_set_is_no_run(hub: Hub) {
        let client = hub.client().await;
        let nothing = run_request("none", &[], None);
        refused(record(&client, nothing.clone()).await, Code::FailedPrecondition, "NO_ACTIVE_VERSION");
        draft(&client, "p", "x: 1").await;
        refused(record(&client, nothing.clone()).await, Code::FailedPrecondition, "NO_ACTIVE_VERSION");
        release(&client, "q", "x: 1").await;
        let place = head(&client).await;
        deactivate(&client, "q").await;
        refused(record(&client, nothing).await, Code::FailedPrecondition, "NO_ACTIVE_VERSION");
        let then = record(&client, run_request("then", &[], Some(at(place)))).await.expect("a run");
        assert_eq!((under(&then).as_str(), then.policy_count, then.whole_set), ("q@1", 1, true));
        assert_eq!(get_run(&client, "then").await.expect("a run"), then);
    }

    /// The same request again returns the record; any other one is a conflict, and so is that of another principal.
    async fn a_set_is_recorded_once(hub: Hub) {
        let client = hub.client().await;
        let ids: Vec<String> = (0..MANY).map(|number| format!("p{number:02}")).collect();
        for id in &ids {
            release(&client, id, "x: 1").await;
        }
        let place = head(&client).await;
        let all: Vec<&str> = ids.iter().map(String::as_str).collect();
        let named = record(&client, run_request("named", &all, None)).await.expect("a run");
        let whole = record(&client, run_request("whole", &[], None)).await.expect("a run");
        assert_eq!((named.policies.len(), &named.policies), (MANY, &whole.policies));
        release(&client, "p00", "x: 2").await;
        for cursor in [None, Some(at(place))] {
            assert_eq!(record(&client, run_request("named", &all, cursor)).await.expect("the same"), named);
            assert_eq!(record(&client, run_request("whole", &[], cursor)).await.expect("the same"), whole);
        }
        for (id, policies, cursor) in [
            ("named", &all[1..], None),
            ("named", &[], None),
            ("named", &all[..], Some(at(place + 1))),
            ("whole", &all[..], None),
            ("whole", &["p00"], None),
            ("whole", &[], Some(at(place + 1))),
        ] {
            let error = refused(record(&client, run_request(id, policies, cursor)).await, Code::AlreadyExists, "RUN_CONFLICT");
            assert_eq!(error.metadata()["recorded_revision"], place.to_string());
        }
        // With a request id, the answer is what was recorded, whatever is in force by now.
        let with_id = pb::RecordRunRequest { request_id: "r-1".to_owned(), ..run_request("by-id", &[], None) };
        let first = record(&client, with_id.clone()).await.expect("a run");
        release(&client, "p01", "x: 2").await;
        assert_eq!(record(&client, with_id).await.expect("the same"), first);
        let other = pb::RecordRunRequest { request_id: "r-1".to_owned(), ..run_request("by-id", &["p00"], None) };
        refused(record(&client, other).await, Code::InvalidArgument, "REQUEST_ID_REUSED");
        // Given a policy row that is deleted, forged or moved to another run, the run is refused and not returned in part.
        let sqlite = hub.database_url.starts_with("sqlite");
        hub.tamper(&format!("DROP TRIGGER run_policies_refuse_update{}", if sqlite { "" } else { " ON run_policies" }));
        for forged in [
            "DELETE FROM run_policies WHERE id = 'whole' AND policy = 'p03'",
            "UPDATE run_policies SET version = 2 WHERE id = 'named' AND policy = 'p03'",
            "UPDATE run_policies SET part = NULL WHERE id = 'by-id'",
        ] {
            hub.tamper(forged);
        }
        for id in ["whole", "named", "by-id"] {
            refused(get_run(&client, id).await, Code::DataLoss, "DATA_LOSS");
        }
    }

    async fn a_run_ends_once(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "x: 1").await;
        release(&client, "q", "x: 1").await;
        let recorded = record(&client, run_request("job", &[], None)).await.expect("a run");
        let failed = end_request("job", RunOutcome::Failed, "out of disk space");
        let ended = complete(&client, failed.clone()).await.expect("an end");
        assert_eq!((ended.outcome(), ended.message.as_str()), (RunOutcome::Failed, "out of disk space"));
        assert!(ended.complete_time.is_some() && (ended.policies.len(), ended.policy_count) == (1, 2), "{ended:?}");
        assert_eq!(complete(&client, failed.clone()).await.expect("the same"), ended);
        for other in [
            end_request("job", RunOutcome::Succeeded, "out of disk space"),
            end_request("job", RunOutcome::Failed, ""),
        ] {
            let error = refused(complete(&client, other).await, Code::AlreadyExists, "RUN_CONFLICT");
            assert_eq!(error.metadata()["recorded_outcome"], "FAILED");
        }
        let whole = pb::Run { policies: recorded.policies.clone(), ..ended };
        let hub = hub.restart_in_order().await;
        let client = hub.client().await;
        assert_eq!(get_run(&client, "job").await.expect("a run"), whole);
        assert_eq!(record(&client, run_request("job", &[], None)).await.expect("as it is now"), whole);

        let with_id = |outcome, id: &str| pb::CompleteRunRequest {
            request_id: "r-1".to_owned(),
            ..end_request(id, outcome, "")
        };
        record(&client, run_request("by-id", &["p"], None)).await.expect("a run");
        let first = complete(&client, with_id(RunOutcome::Cancelled, "by-id")).await.expect("an end");
        assert_eq!(complete(&client, with_id(RunOutcome::Cancelled, "by-id")).await.expect("the same"), first);
        refused(complete(&client, with_id(RunOutcome::Failed, "by-id")).await, Code::InvalidArgument, "REQUEST_ID_REUSED");

        refused(complete(&client, end_request("absent", RunOutcome::Failed, "")).await, Code::NotFound, "RUN_NOT_FOUND");
        for outcome in [RunOutcome::Unspecified, RunOutcome::Open] {
            refused_fields(complete(&client, end_request("by-id", outcome, "")).await, &["outcome"]);
        }
        let unknown = pb::CompleteRunRequest { outcome: 77, ..end_request("a b", RunOutcome::Failed, &"m".repeat(501)) };
        refused_fields(complete(&client, unknown).await, &["name", "outcome", "message"]);
    }

    /// Given many concurrent completions, one of them counts, and callers with the same outcome are told so.
    async fn one_of_many_ends_a_run(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "x: 1").await;
        record(&client, run_request("job", &[], None)).await.expect("a run");
        let mut calls = JoinSet::new();
        for number in 0..40 {
            let client = client.clone();
            let outcome = if number % 2 == 0 { RunOutcome::Failed } else { RunOutcome::Succeeded };
            calls.spawn(async move { complete(&client, end_request("job", outcome, "")).await });
        }
        let (mut same, mut other) = (Vec::new(), 0);
        for answer in calls.join_all().await {
            match answer {
                Ok(run) => same.push(run),
                refusal => {
                    refused(refusal, Code::AlreadyExists, "RUN_CONFLICT");
                    other += 1;
                }
            }
        }
        assert_eq!((same.len(), other), (20, 20));
        let kept = get_run(&client, "job").await.expect("a run");
        assert!(same.iter().all(|run| *run == kept), "{same:?}");
        assert_eq!(hub.tamper("SELECT count(*) FROM run_ends"), "1");
    }

    /// Only the recorder may complete a run; a refused caller changes nothing, and does not learn the run's state.
    async fn nobody_ends_the_run_of_another(hub: Hub) {
        let admin = hub.client().await;
        for subject in ["prod", "sub1"] {
            grant(&admin, subject, pb::Role::Subscriber, NAMESPACE).await;
        }
        let (prod, sub1) = (caller(&hub, "prod").await, caller(&hub, "sub1").await);
        release(&admin, "p", "x: 1").await;
        record(&prod, run_request("job", &[], None)).await.expect("a run");
        for stranger in [&sub1, &admin] {
            let end = complete(stranger, end_request("job", RunOutcome::Cancelled, "")).await;
            refused(end, Code::PermissionDenied, "PERMISSION_DENIED");
        }
        assert_eq!(get_run(&admin, "job").await.expect("a run").outcome(), RunOutcome::Open);
        complete(&prod, end_request("job", RunOutcome::Succeeded, "")).await.expect("its own");
        for outcome in [RunOutcome::Succeeded, RunOutcome::Failed] {
            let error = refused(complete(&sub1, end_request("job", outcome, "")).await, Code::PermissionDenied, "PERMISSION_DENIED");
            assert!(!error.message().contains("SUCCEEDED"), "{error:?}");
        }
    }

    /// A deleted run is gone with all its rows.
    async fn a_run_is_deleted_whole(hub: Hub) {
        let client = hub.client().await;
        let first = publish(&client, "p", "x: 1").await.version;
        activate(&client, "p", first).await;
        release(&client, "q", "x: 1").await;
        for id in ["gone", "kept"] {
            record(&client, run_request(id, &[], None)).await.expect("a run");
            complete(&client, end_request(id, RunOutcome::Succeeded, "")).await.expect("an end");
        }
        hub.tamper("DELETE FROM runs WHERE id = 'gone'");
        let left: BTreeSet<String> =
            ["run_policies", "run_ends"].map(|table| hub.tamper(&format!("SELECT DISTINCT id FROM {table}"))).into();
        assert_eq!(left, BTreeSet::from(["kept".to_owned()]));
        refused(get_run(&client, "gone").await, Code::NotFound, "RUN_NOT_FOUND");
        assert_eq!(get_run(&client, "kept").await.expect("a run").policies.len(), 2);
        let again = record(&client, run_request("gone", &["p"], None)).await.expect("another run");
        assert_eq!((under(&again).as_str(), again.outcome()), ("p@1", RunOutcome::Open));
    }
}
