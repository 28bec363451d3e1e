//! Lists of runs: by policy, version, outcome and time, newest first, in pages, with counts.

use policyhub::client::Client;
use policyhub::client::pb::{self, RunOutcome};
use tonic::Code;

use crate::harness::callers::{caller, grant};
use crate::harness::calls::{NAMESPACE, NamedEvent, create, policy, refused, refused_fields, release};
use crate::harness::on_both_databases;
use crate::harness::runs::{complete, end_request, record, run_request, under};

fn all() -> pb::ListRunsRequest {
    pb::ListRunsRequest { parent: NAMESPACE.to_owned(), ..Default::default() }
}

/// Returns a list request with this filter.
fn by(filter: impl Into<String>) -> pb::ListRunsRequest {
    pb::ListRunsRequest { filter: filter.into(), ..all() }
}

/// Returns a request for runs under a policy, or one version of it.
fn of(id: &str, version: i64) -> pb::ListRunsRequest {
    by(if version == 0 { format!("policy = {id:?}") } else { format!("policy = {id:?} AND version = {version}") })
}

/// Returns the request with a further condition.
fn and(request: pb::ListRunsRequest, filter: &str) -> pb::ListRunsRequest {
    let filter = if request.filter.is_empty() { filter.to_owned() } else { format!("{} AND {filter}", request.filter) };
    pb::ListRunsRequest { filter, ..request }
}

async fn page(client: &Client, request: &pb::ListRunsRequest) -> pb::ListRunsResponse {
    client.list_runs(request.clone()).await.expect("a list")
}

fn ids(runs: &[pb::Run]) -> Vec<String> {
    runs.iter().map(NamedEvent::id).collect()
}

/// Returns the ids of all runs of a list, in pages of this size.
async fn listed(client: &Client, request: pb::ListRunsRequest, page_size: i32) -> Vec<String> {
    let mut request = pb::ListRunsRequest { page_size, ..request };
    let mut found = Vec::new();
    loop {
        let page = page(client, &request).await;
        assert!(page.runs.len() <= page_size.try_into().expect("a size"));
        found.extend(page.runs.into_iter().map(|run| run.id()));
        if page.next_page_token.is_empty() {
            return found;
        }
        request.page_token = page.next_page_token;
    }
}

/// Returns version, outcome and number, in the order of the answer.
fn counts(page: &pb::ListRunsResponse) -> Vec<(i64, RunOutcome, i64)> {
    page.counts.iter().map(|count| (count.version, count.outcome(), count.count)).collect()
}

async fn end(client: &Client, id: &str, outcome: RunOutcome) {
    complete(client, end_request(id, outcome, "")).await.expect("an end");
}

/// Records runs under two versions of p: r1 (p@1 q@1) succeeded, r2 (p@1) failed, r3 (all, p@2) open, r4 (q@1) cancelled, r5 (p@2) failed.
async fn five_runs(client: &Client) -> Vec<pb::Run> {
    release(client, "p", "x: 1").await;
    release(client, "q", "x: 1").await;
    let mut runs = vec![
        record(client, run_request("r1", &[], None)).await.expect("a run"),
        record(client, run_request("r2", &["p"], None)).await.expect("a run"),
    ];
    release(client, "p", "x: 2").await;
    runs.push(record(client, run_request("r3", &[], None)).await.expect("a run"));
    runs.push(record(client, run_request("r4", &["q"], None)).await.expect("a run"));
    runs.push(record(client, run_request("r5", &["p"], None)).await.expect("a run"));
    end(client, "r1", RunOutcome::Succeeded).await;
    end(client, "r2", RunOutcome::Failed).await;
    end(client, "r4", RunOutcome::Cancelled).await;
    end(client, "r5", RunOutcome::Failed).await;
    runs
}

on_both_databases! {
    async fn runs_are_found_by_what_they_ran_under(hub: Hub) {
        let client = hub.client().await;
        let runs = five_runs(&client).await;
        let failed = |request| and(request, "outcome = FAILED");
        let open = |request| and(request, "outcome = RUN_OUTCOME_OPEN");
        let since = |run: usize| format!("create_time >= \"{}\"", runs[run].create_time.expect("a time"));
        let until = |run: usize| format!("create_time < \"{}\"", runs[run].create_time.expect("a time"));
        let between = |request, from, to| and(and(request, &since(from)), &until(to));
        for (request, expected) in [
            (all(), &["r5", "r4", "r3", "r2", "r1"][..]),
            (of("p", 0), &["r5", "r3", "r2", "r1"]),
            (of(&policy("p"), 1), &["r2", "r1"]),
            (of("p", 2), &["r5", "r3"]),
            (of("p", 3), &[]),
            (of("q", 1), &["r4", "r3", "r1"]),
            (failed(all()), &["r5", "r2"]),
            (failed(of("p", 0)), &["r5", "r2"]),
            (failed(of("p", 1)), &["r2"]),
            (failed(of("q", 1)), &[]),
            (open(all()), &["r3"]),
            (open(of("p", 2)), &["r3"]),
            (by(since(2)), &["r5", "r4", "r3"]),
            (by(until(2)), &["r2", "r1"]),
            (between(of("p", 0), 1, 4), &["r3", "r2"]),
            (between(failed(of("p", 1)), 1, 4), &["r2"]),
            (by("outcome != OPEN AND NOT outcome = FAILED"), &["r4", "r1"]),
            (by("outcome = FAILED OR outcome = OPEN"), &["r5", "r3", "r2"]),
            (by("outcome = FAILED AND outcome = OPEN"), &[]),
            (by("recorder = \"local:admin\" AND outcome = FAILED"), &["r5", "r2"]),
            (by("recorder = \"local:nobody\""), &[]),
            (by("whole_set = true"), &["r3", "r1"]),
            (by("complete_time:*"), &["r5", "r4", "r2", "r1"]),
            (by("NOT complete_time:* OR name:r1"), &["r3", "r1"]),
            (and(of("p", 0), "whole_set = false"), &["r5", "r2"]),
        ] {
            assert_eq!(ids(&page(&client, &request).await.runs), expected, "{request:?}");
            for size in [1, 2, 3] {
                assert_eq!(listed(&client, request.clone(), size).await, expected, "{size}: {request:?}");
            }
        }
        // Each with one of its policies: the requested one, otherwise the first.
        let found = page(&client, &of("q", 0)).await.runs;
        assert_eq!(found.iter().map(under).collect::<Vec<_>>(), ["q@1", "q@1", "q@1"]);
        assert_eq!(found.iter().map(|run| run.policy_count).collect::<Vec<_>>(), [1, 2, 2]);
        let first = page(&client, &all()).await.runs.pop().expect("a run");
        let expected = pb::Run {
            policies: runs[0].policies[..1].to_vec(),
            outcome: RunOutcome::Succeeded.into(),
            complete_time: first.complete_time,
            ..runs[0].clone()
        };
        assert_eq!(first, expected);
        let before = page(&client, &all()).await;
        let hub = hub.restart_in_order().await;
        assert_eq!(page(&hub.client().await, &all()).await, before, "the same after a restart");
    }

    /// The counts by version and outcome cover all pages and are on the first one.
    async fn runs_are_counted(hub: Hub) {
        use RunOutcome::{Cancelled, Failed, Open, Succeeded};
        let client = hub.client().await;
        let runs = five_runs(&client).await;
        let expected = [(2, Open, 1), (2, Failed, 1), (1, Succeeded, 1), (1, Failed, 1)];
        let first = page(&client, &pb::ListRunsRequest { page_size: 1, ..of("p", 0) }).await;
        assert_eq!((counts(&first), first.counts_omitted), (expected.to_vec(), false));
        let next = pb::ListRunsRequest { page_size: 1, page_token: first.next_page_token, ..of("p", 0) };
        assert_eq!(counts(&page(&client, &next).await), []);
        assert_eq!(counts(&page(&client, &of("p", 1)).await), expected[2..]);
        assert_eq!(counts(&page(&client, &of("q", 0)).await), [(1, Open, 1), (1, Succeeded, 1), (1, Cancelled, 1)]);
        let since = format!("outcome = FAILED AND create_time >= \"{}\"", runs[1].create_time.expect("a time"));
        assert_eq!(counts(&page(&client, &and(of("p", 0), &since)).await), [(2, Failed, 1), (1, Failed, 1)]);
        let never = page(&client, &and(of("p", 0), "outcome = OPEN AND outcome = FAILED")).await;
        assert_eq!((counts(&never), never.counts_omitted), (vec![], false));
        let by_no_index = page(&client, &and(of("p", 0), "whole_set = true")).await;
        assert_eq!((counts(&by_no_index), by_no_index.counts_omitted), (vec![], true));
        assert_eq!(counts(&page(&client, &all()).await), [], "of no policy");
        end(&client, "r3", Succeeded).await;
        assert_eq!(counts(&page(&client, &of("p", 2)).await), [(2, Succeeded, 1), (2, Failed, 1)]);
    }

    async fn what_is_no_list_of_runs_is_refused(hub: Hub) {
        let client = hub.client().await;
        five_runs(&client).await;
        create(&client, "unused", pb::PolicyKind::Yaml, pb::PolicySettings::default()).await;
        assert_eq!(page(&client, &of("unused", 0)).await, pb::ListRunsResponse::default());
        for (request, fields) in [
            (pb::ListRunsRequest { parent: "x".to_owned(), ..all() }, &["parent"][..]),
            (by("version = 1"), &["filter"]),
            (by("policy = p OR policy = q"), &["filter"]),
            (by("policy != p"), &["filter"]),
            (of("namespaces/other/policies/p", 0), &["filter"]),
            (by("outcome = 9"), &["filter"]),
            (by("create_time > 9"), &["filter"]),
            (pb::ListRunsRequest { order_by: "create_time".to_owned(), ..by("x = 1") }, &["filter", "order_by"]),
            (pb::ListRunsRequest { page_size: -1, ..all() }, &["page_size"]),
        ] {
            refused_fields(client.list_runs(request).await, fields);
        }
        refused(client.list_runs(of("absent", 0)).await, Code::NotFound, "POLICY_NOT_FOUND");
        let absent = pb::ListRunsRequest { parent: "namespaces/absent".to_owned(), ..all() };
        refused(client.list_runs(absent).await, Code::NotFound, "NAMESPACE_NOT_FOUND");
        // A page token of one list is not valid for another.
        let token = page(&client, &pb::ListRunsRequest { page_size: 1, ..of("p", 0) }).await.next_page_token;
        let default = pb::ListRunsRequest { order_by: "create_time desc".to_owned(), ..of("p", 0) };
        page(&client, &pb::ListRunsRequest { page_token: token.clone(), ..default }).await;
        for other in [all(), of("p", 1), of("q", 0), and(of("p", 0), "outcome = OPEN")] {
            let other = pb::ListRunsRequest { page_token: token.clone(), ..other };
            refused(client.list_runs(other).await, Code::InvalidArgument, "INVALID_PAGE_TOKEN");
        }
        // A caller who may record runs may not list those of others.
        grant(&client, "sub1", pb::Role::Subscriber, NAMESPACE).await;
        let denied = caller(&hub, "sub1").await.list_runs(all()).await;
        refused(denied, Code::PermissionDenied, "PERMISSION_DENIED");
    }

    /// Given an edited row, it is not listed.
    async fn a_forged_run_is_not_listed(hub: Hub) {
        let client = hub.client().await;
        five_runs(&client).await;
        let sqlite = hub.database_url.starts_with("sqlite");
        for table in ["runs", "run_policies", "run_ends"] {
            let on = if sqlite { String::new() } else { format!(" ON {table}") };
            hub.tamper(&format!("DROP TRIGGER {table}_refuse_update{on}"));
        }
        let whole = page(&client, &of("p", 0)).await;
        for (forged, back) in [
            ("run_policies SET version = 2 WHERE id = 'r1' AND policy = 'p'", "run_policies SET version = 1 WHERE id = 'r1' AND policy = 'p'"),
            ("run_policies SET recorder = 'eve' WHERE id = 'r2'", "run_policies SET recorder = 'local:admin' WHERE id = 'r2'"),
            ("run_ends SET message = 'fine' WHERE id = 'r2'", "run_ends SET message = '' WHERE id = 'r2'"),
            ("run_ends SET outcome = 'SUCCEEDED' WHERE id = 'r2'", "run_ends SET outcome = 'FAILED' WHERE id = 'r2'"),
            ("run_policies SET outcome = 'SUCCEEDED' WHERE id = 'r2'", "run_policies SET outcome = 'FAILED' WHERE id = 'r2'"),
            ("runs SET outcome = 'OPEN' WHERE id = 'r2'", "runs SET outcome = 'FAILED' WHERE id = 'r2'"),
            ("runs SET policies = 1 WHERE id = 'r1'", "runs SET policies = 2 WHERE id = 'r1'"),
        ] {
            hub.tamper(&format!("UPDATE {forged}"));
            refused(client.list_runs(of("p", 0)).await, Code::DataLoss, "DATA_LOSS");
            hub.tamper(&format!("UPDATE {back}"));
            assert_eq!(page(&client, &of("p", 0)).await, whole, "{forged}");
        }
    }

    /// The queries of a list use indexes only, whatever other runs there are.
    async fn a_list_reads_from_indexes(hub: Hub) {
        let client = hub.client().await;
        five_runs(&client).await;
        let newest = "create_time <= 9 ORDER BY create_time DESC, id DESC LIMIT 5";
        let (explain, off) = if hub.database_url.starts_with("sqlite") {
            ("EXPLAIN QUERY PLAN", "")
        } else {
            ("EXPLAIN", "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off; ")
        };
        for (query, index) in [
            (format!("SELECT * FROM runs WHERE namespace = 'n' AND outcome = 'OPEN' AND {newest}"), "runs_of_outcome"),
            (
                format!("SELECT * FROM run_policies WHERE namespace = 'n' AND policy = 'p' AND outcome = 'OPEN' AND {newest}"),
                "run_policies_of_policy",
            ),
            (
                format!("SELECT * FROM run_policies WHERE namespace = 'n' AND policy = 'p' AND version = 1 AND outcome = 'OPEN' AND {newest}"),
                "run_policies_of_version",
            ),
        ] {
            let plan = hub.tamper(&format!("{off}{explain} {query}"));
            assert!(plan.contains(index) && !plan.contains("Sort") && !plan.contains("TEMP B-TREE"), "{query}: {plan}");
        }
    }
}
