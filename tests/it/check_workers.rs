//! Checks of untrusted content run in separate processes: one that exceeds its limits, dies or is killed is a finding, and the server is
//! not affected.

use std::os::unix::fs::PermissionsExt;

use policyhub::client::pb::PolicyKind::Json;
use policyhub::client::{CONTENT_MAX_BYTES, Client, ClientError, pb};
use tokio::task::JoinHandle;
use tonic::Code;

use crate::harness::calls::{create, draft_of_its_kind, policy, refused, version};
use crate::harness::http::get;
use crate::harness::hub::BINARY;
use crate::harness::metrics::{counted, text};
use crate::harness::workers::{
    LEFT_TICKS_MAX, WorkerProcess, busy_worker, ended_after_ticks, signal, workers, workers_until,
};
use crate::harness::{Database, Hub, on_both_databases, peak_kib};

/// How much a hostile check may add to the peak memory of a server, which parses a content of a MiB and sends it on.
const GROWTH_MAX_KIB: u64 = 64 * 1024;
/// The text that every such finding begins with.
const OVER_LIMIT: &str = "CHECK_LIMIT_EXCEEDED";

fn with_schema(schema: &str) -> pb::PolicySettings {
    pb::PolicySettings { json_schema: schema.to_owned(), ..Default::default() }
}

/// Returns a schema of 2^60 steps that needs no memory: `not` only asks for the result, so no errors are kept.
pub fn endless_schema() -> String {
    let of = |number: usize| {
        format!(r##""a{number}":{{"anyOf":[{{"$ref":"#/$defs/a{0}"}},{{"$ref":"#/$defs/a{0}"}}]}}"##, number + 1)
    };
    let pairs: Vec<String> = (0..60).map(of).collect();
    format!(r##"{{"not":{{"$ref":"#/$defs/a0"}},"$defs":{{{},"a60":{{"type":"string"}}}}}}"##, pairs.join(","))
}

/// Returns a schema with 100 times 100 errors, each with a copy of its document: for a MiB, 10 GB.
fn hungry_schema() -> String {
    let references = |to: &str| vec![format!(r##"{{"$ref":"#/$defs/{to}"}}"##); 100].join(",");
    let inner = references("a");
    format!(r#"{{"anyOf":[{}],"$defs":{{"a":{{"enum":[1]}},"b":{{"anyOf":[{inner}]}}}}}}"#, references("b"))
}

/// Returns patterns that each take a tenth of a second and 5 MiB to compile.
fn costly_schema() -> String {
    let pattern = |number: usize| format!(r#"{{"pattern":"(x{{1000}}){{100}}y{number}"}}"#);
    format!("{{\"allOf\":[{}]}}", (0..4_000).map(pattern).collect::<Vec<_>>().join(","))
}

async fn drafted(client: &Client, id: &str, schema: &str, content: &str) {
    create(client, id, Json, with_schema(schema)).await;
    let request = draft_of_its_kind(id, content);
    client.draft(request).await.expect("a draft");
}

async fn stage(client: &Client, id: &str) -> Result<pb::StageResponse, ClientError> {
    client.stage(pb::StageRequest { name: version(id, 1), ..Default::default() }).await
}

/// Drafts a version whose check does not end and a good one, and begins to stage the first.
async fn staging_endless(client: &Client) -> JoinHandle<Result<pb::StageResponse, ClientError>> {
    drafted(client, "endless", &endless_schema(), "{}").await;
    drafted(client, "good", r#"{"type":"object"}"#, "{}").await;
    let client = client.clone();
    tokio::spawn(async move { stage(&client, "endless").await })
}

/// Checks that the version was refused by its check, with one of these limits in the finding.
#[track_caller]
fn over_limit(answer: Result<pb::StageResponse, ClientError>, limits: &[&str]) {
    let error = refused(answer, Code::FailedPrecondition, "VALIDATION_FAILED");
    assert_eq!(error.metadata()["check"], "json-schema", "{error:?}");
    let named = limits.iter().any(|limit| error.message().contains(&format!("{OVER_LIMIT} ({limit})")));
    assert!(named, "one of {limits:?} in {error:?}");
}

on_both_databases! {
    /// Given a check that would take 10 GB, its process ends, the finding is stored like any other, and the server's memory does not grow.
    async fn a_schema_that_eats_memory(hub: Hub) {
        let client = hub.client().await;
        let large = format!("{{\"{}\":1}}", "k".repeat(CONTENT_MAX_BYTES - 100));
        drafted(&client, "hungry", &hungry_schema(), &large).await;
        drafted(&client, "good", r#"{"type":"object"}"#, "{}").await;
        let before = peak_kib(hub.pid());
        over_limit(stage(&client, "hungry").await, &["memory"]);
        let grown = peak_kib(hub.pid()) - before;
        assert!(grown <= GROWTH_MAX_KIB, "the server grew by {grown} KiB");
        let request = pb::GetValidationReportRequest { name: version("hungry", 1) };
        let report = client.get_validation_report(request).await.expect("a report").report.expect("a report");
        let found = report.checks.iter().find(|check| check.id == "json-schema").expect("the check");
        assert!(found.findings[0].message.starts_with(OVER_LIMIT), "{found:?}");
        stage(&client, "good").await.expect("the next check");
        assert_eq!(counted(&text(&hub), r#"policyhub_checks_over_limit_total{limit="memory"}"#), Some(1.0));
    }

    /// Given a check that would never end, it ends within the deadline of its caller.
    async fn a_schema_that_burns_time(hub: Hub) {
        let client = hub.client().await;
        drafted(&client, "endless", &endless_schema(), "{}").await;
        drafted(&client, "good", r#"{"type":"object"}"#, "{}").await;
        // On a busy machine the wall clock limit is reached first.
        over_limit(stage(&client, "endless").await, &["cpu", "wall_time"]);
        stage(&client, "good").await.expect("the next check");
    }

    /// Given a schema that is endless to compile, it is refused on a new policy and on an existing one.
    async fn a_schema_that_never_compiles(hub: Hub) {
        let client = hub.client().await;
        create(&client, "p", Json, with_schema("{}")).await;
        let schema = costly_schema();
        let settings = Some(with_schema(&schema));
        let given = pb::Policy { kind: Json.into(), settings: settings.clone(), ..Default::default() };
        let request = pb::CreatePolicyRequest {
            parent: "namespaces/default".to_owned(),
            policy_id: "q".to_owned(),
            policy: Some(given),
            ..Default::default()
        };
        let created = refused(client.create_policy(request).await, Code::InvalidArgument, "INVALID_SCHEMA");
        let given = pb::Policy { name: policy("p"), settings, ..Default::default() };
        let mask = prost_types::FieldMask { paths: vec!["settings.json_schema".to_owned()] };
        let request = pb::UpdatePolicyRequest { policy: Some(given), update_mask: Some(mask), ..Default::default() };
        let updated = refused(client.update_policy(request).await, Code::InvalidArgument, "INVALID_SCHEMA");
        for error in [created, updated] {
            assert!(error.message().contains(OVER_LIMIT), "{error:?}");
        }
    }
}

/// Given a worker killed from outside, the check is tried once more; killed again, it is a finding. The next check has a new process.
#[tokio::test]
async fn a_worker_that_is_killed() {
    let hub = Hub::start(Database::Sqlite).await;
    let client = hub.client().await;
    let staging = staging_endless(&client).await;
    let first = busy_worker(&hub, None).await;
    signal(first, "TERM");
    let second = busy_worker(&hub, Some(first)).await;
    signal(second, "KILL");
    over_limit(staging.await.expect("an answer"), &["died"]);
    // An idle worker that dies affects no call.
    let idle = workers_until(&hub, |found| found.iter().all(|worker| worker.state != 'Z')).await;
    idle.iter().for_each(|worker| signal(worker.pid, "KILL"));
    stage(&client, "good").await.expect("the next check");
}

/// Returns the priorities of the threads of a process, as the system has them: higher numbers give way to lower ones.
fn nice(pid: u32) -> Vec<i32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let of = |thread: std::fs::DirEntry| {
        // The name, in parentheses, may contain anything; the priority is the 17th field after it.
        let stat = std::fs::read_to_string(thread.path().join("stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(16)?.parse().ok()
    };
    threads.filter_map(of).collect()
}

/// A check that takes long gives way to the server; its process answers no other.
#[tokio::test]
async fn a_long_check_gives_way() {
    let hub = Hub::start(Database::Sqlite).await;
    let client = hub.client().await;
    let staging = staging_endless(&client).await;
    let gives_way = |pid: u32| nice(pid).iter().any(|nice| *nice > 0);
    let found = workers_until(&hub, |found| found.iter().any(|worker| gives_way(worker.pid))).await;
    let first = found.iter().map(|worker| worker.pid).find(|pid| gives_way(*pid)).expect("one gives way");
    over_limit(staging.await.expect("an answer"), &["cpu", "wall_time"]);
    stage(&client, "good").await.expect("the next check");
    let left = workers(&hub);
    assert!(left.iter().all(|worker| worker.pid != first && !gives_way(worker.pid)), "{first}: {left:?}");
}

/// Given a check that keeps its worker, another one is ready before anybody asks for it.
#[tokio::test]
async fn the_next_check_finds_a_worker_ready() {
    let hub = Hub::start(Database::Sqlite).await;
    let client = hub.client().await;
    let staging = staging_endless(&client).await;
    let busy = busy_worker(&hub, None).await;
    workers_until(&hub, |found| found.iter().any(|worker| worker.pid != busy && worker.state == 'S')).await;
    stage(&client, "good").await.expect("a check");
    staging.abort();
}

/// Given a thousand checks, no zombie process and no descriptor is left. Workers are replaced meanwhile.
#[tokio::test]
async fn a_thousand_checks() {
    let hub = Hub::start(Database::Sqlite).await;
    let client = hub.client().await;
    drafted(&client, "p", r#"{"type":"object"}"#, "{}").await;
    let check = || async {
        let request = pb::StageRequest { name: version("p", 1), validate_only: true, ..Default::default() };
        assert!(client.stage(request).await.expect("a report").report.expect("a report").checks.len() >= 4);
    };
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", hub.pid())).expect("descriptors").count();
    for _ in 0..10 {
        check().await;
    }
    let (before, first) = (descriptors(), workers(&hub));
    for _ in 0..1_000 {
        check().await;
    }
    let last = workers_until(&hub, |found| found.iter().all(|worker| worker.state != 'Z')).await;
    assert!(!first.is_empty() && !last.is_empty() && last.len() <= 4, "{first:?}, then {last:?}");
    assert!(first.iter().all(|worker| !last.contains(worker)), "none is replaced: {first:?}, then {last:?}");
    // The number of database and client connections varies.
    let after = descriptors();
    assert!(after <= before + 4, "{before} descriptors became {after}");
}

/// Given a server killed as by a crash, its idle and busy workers end too.
#[tokio::test]
async fn a_server_that_is_killed() {
    let mut hub = Hub::start(Database::Sqlite).await;
    let client = hub.client().await;
    drafted(&client, "endless", &endless_schema(), "{}").await;
    let _staging = tokio::spawn(async move { stage(&client, "endless").await });
    busy_worker(&hub, None).await;
    let left: Vec<u32> = workers(&hub).iter().map(|worker| worker.pid).collect();
    hub.kill().await;
    let used = ended_after_ticks(&left).await;
    assert!(used <= LEFT_TICKS_MAX, "a check used {used} ticks more");
}

/// A worker has no environment, no descriptor but its pipes, every limit, and it ends before the server does.
#[tokio::test]
async fn a_worker_has_nothing() {
    let hub = Hub::start(Database::Sqlite).await;
    let client = hub.client().await;
    drafted(&client, "p", r#"{"type":"object"}"#, "{}").await;
    stage(&client, "p").await.expect("a check");
    // The limit of CPU time is the last that one sets before it answers.
    let is_ready = |worker: &WorkerProcess| {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", worker.pid)).unwrap_or_default();
        limits.lines().any(|line| line.starts_with("Max cpu time") && !line.contains("unlimited"))
    };
    let found = workers_until(&hub, |found| !found.is_empty() && found.iter().all(is_ready)).await;
    for worker in found {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", worker.pid)).expect(name);
        assert_eq!(read("environ"), "");
        let open: Vec<_> = std::fs::read_dir(format!("/proc/{}/fd", worker.pid)).expect("descriptors").collect();
        assert_eq!(open.len(), 3, "{open:?}");
        let limits = read("limits");
        let limit = |name: &str| -> Vec<String> {
            let line =
                limits.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {limits}"));
            line.split_whitespace().take(2).map(str::to_owned).collect()
        };
        assert_eq!(limit("Max core file size"), ["0", "0"]);
        assert_eq!(limit("Max open files"), ["3", "3"]);
        assert_eq!(limit("Max data size"), ["268435456", "268435456"]);
        assert_eq!(limit("Max address space"), ["536870912", "536870912"]);
        assert!(limit("Max cpu time").iter().all(|seconds| seconds.parse::<u64>().is_ok()), "{limits}");
        assert_eq!(read("oom_score_adj"), "1000\n");
        assert!(read("status").lines().any(|line| line == "NoNewPrivs:\t1"), "{}", read("status"));
    }
}

/// Given that no process can be started, versions are not checked and the server reports it; afterwards it recovers.
#[tokio::test]
async fn no_process_can_be_started() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let program = dir.path().join("policyhub");
    std::fs::copy(BINARY, &program).expect("a copy");
    let allow = |mode: u32| std::fs::set_permissions(&program, PermissionsExt::from_mode(mode)).expect("a mode");
    let hub = Hub::start_program(&program).await;
    let client = hub.client().await;
    drafted(&client, "p", r#"{"type":"object"}"#, "{}").await;
    let ready = || get(&hub.http, "/readyz").expect("an answer");
    assert_eq!(ready().2, "ok\n");
    allow(0o600);
    workers(&hub).iter().for_each(|worker| signal(worker.pid, "KILL"));
    refused(stage(&client, "p").await, Code::Unavailable, "CHECKS_UNAVAILABLE");
    let (status, _, said) = ready();
    assert!(status == 200 && said.starts_with("degraded: versions can't be checked"), "{status} {said}");
    assert!(hub.log.lock().expect("the log").contains("failed to start a check worker"), "nothing is logged");
    // Calls that need no worker still work.
    crate::harness::calls::release(&client, "q", "a: 1").await;
    allow(0o700);
    stage(&client, "p").await.expect("a check");
    assert_eq!(ready().2, "ok\n");
}
