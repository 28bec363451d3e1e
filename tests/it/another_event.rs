//! One event at one cursor (docs/guarantees.md#g26): a log that lost its tail and went on has other events at cursors that were seen
//! before.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use policyhub::client::pb::activate_target::To;
use policyhub::client::pb::watch_active_response::Message;
use policyhub::client::{ClientError, pb};
use tonic::Code;

use crate::epochs::bumped;
use crate::harness::calls::{NAMESPACE, activate, draft_request, publish, refused};
use crate::harness::http::{get, metric};
use crate::harness::postgres::Cluster;
use crate::harness::runs::run_request;
use crate::harness::watching::{self, DEADLINE, LIVELY};
use crate::harness::{Database, Hub, on_both_databases};

/// Longer than a server takes to read its logs, to compare them, to read its keys, and to save what it saw.
const SEVERAL_LOOKS: Duration = Duration::from_secs(4);

/// A copy of a database, made after its server had ended.
enum CopyKind {
    Sqlite { copy: PathBuf, database: PathBuf },
    Postgres { copy: String, database: String },
}

impl CopyKind {
    fn take(hub: &Hub, database: Database) -> Self {
        match database {
            Database::Sqlite => {
                let database = hub.data_dir().join("policyhub.db");
                let copy = hub.data_dir().join("policyhub.copy");
                std::fs::copy(&database, &copy).expect("a copy");
                Self::Sqlite { copy, database }
            }
            Database::Postgres => {
                let database = hub.database_url.rsplit('/').next().expect("a name").to_owned();
                let copy = format!("{database}_copy");
                let cluster = Cluster::shared();
                cluster.psql("postgres", &format!("CREATE DATABASE {copy} TEMPLATE {database}"));
                Self::Postgres { copy, database }
            }
        }
    }

    /// Replaces the database by the copy.
    fn restore(&self) {
        match self {
            Self::Sqlite { copy, database } => {
                for extension in ["db-wal", "db-shm"] {
                    let _ = std::fs::remove_file(database.with_extension(extension));
                }
                std::fs::copy(copy, database).expect("the copy");
            }
            Self::Postgres { copy, database } => {
                let cluster = Cluster::shared();
                cluster.psql("postgres", &format!("DROP DATABASE {database} WITH (FORCE)"));
                cluster.psql("postgres", &format!("CREATE DATABASE {database} TEMPLATE {copy}"));
            }
        }
    }
}

/// Stops a server in order, runs `work` on its files, and starts it again.
async fn between(mut hub: Hub, work: impl FnOnce(&Hub)) -> Hub {
    hub.signal("TERM");
    assert!(hub.ended().await.success(), "the server must end in order");
    work(&hub);
    hub.restart().await
}

/// Returns the cursor of the head, as a subscriber receives it.
async fn head(client: &policyhub::client::Client) -> pb::Cursor {
    watching::get_set(client).await.cursor.expect("a cursor")
}

/// Checks that every request that takes a cursor is refused with one of another history.
async fn every_use_is_refused(client: &policyhub::client::Client, lost: pb::Cursor, held: &str) {
    refused(first(client, lost).await, Code::OutOfRange, "RESUME_POINT_GONE");
    refused(report(client, lost).await, Code::OutOfRange, "RESUME_POINT_GONE");
    let run = run_request("job-1", &["p"], Some(lost));
    refused(client.record_run(run).await, Code::OutOfRange, "RESUME_POINT_GONE");
    let convergence =
        pb::GetConvergenceRequest { parent: NAMESPACE.to_owned(), cursor: Some(lost), ..Default::default() };
    refused(client.get_convergence(convergence).await, Code::OutOfRange, "RESUME_POINT_GONE");
    let targets = vec![pb::ActivateTarget { policy: held.to_owned(), to: Some(To::Version(1)), ..Default::default() }];
    let activate = pb::ActivateRequest {
        parent: NAMESPACE.to_owned(),
        targets,
        reason: "test".to_owned(),
        unmoved_since: Some(lost),
        ..Default::default()
    };
    refused(client.activate(activate).await, Code::Aborted, "EXPECTED_ACTIVE_MISMATCH");
}

/// Returns the first message of a stream, or its refusal.
async fn first(client: &policyhub::client::Client, resume: pb::Cursor) -> Result<pb::WatchActiveResponse, ClientError> {
    let mut stream = watching::raw(client, Some(resume)).await?;
    let message = tokio::time::timeout(DEADLINE, stream.message()).await.expect("an answer before the deadline");
    Ok(message.map_err(ClientError::from)?.expect("a message"))
}

/// Checks that suspected data loss lasts until an operator ends it, whatever is read meanwhile: a server compares a log when somebody reads
/// it.
pub async fn stays_in_doubt(client: &policyhub::client::Client) {
    let mut watch = watching::raw(client, None).await.expect("a watch");
    let began = Instant::now();
    while began.elapsed() < SEVERAL_LOOKS {
        assert!(watching::get_set(client).await.in_doubt);
        refused(client.draft(draft_request("q", "a: 1")).await, Code::FailedPrecondition, "STORE_IN_DOUBT");
        let message = tokio::time::timeout(DEADLINE, watch.message()).await.expect("a message before the deadline");
        if let Some(Message::Heartbeat(heartbeat)) = message.expect("no end").expect("a message").message {
            assert!(heartbeat.in_doubt && !heartbeat.degraded, "{heartbeat:?}");
        }
    }
}

async fn report(client: &policyhub::client::Client, cursor: pb::Cursor) -> Result<bool, ClientError> {
    let request = pb::ReportStatusRequest {
        name: format!("{NAMESPACE}/subscribers/shop-1"),
        cursor: Some(cursor),
        digest: watching::digest_of_set(&watching::list_set(client, watching::whole_set()).await?.bundles),
        status: pb::ApplyStatus::Applied.into(),
        ..Default::default()
    };
    Ok(client.report_status(request).await?.stored)
}

on_both_databases! {
    /// Given a server that saw the lost tail and comes back after another server wrote beyond it, it suspects data loss.
    async fn a_server_that_saw_another_event_is_in_doubt(database: Database) {
        let hub = Hub::start_with(database, LIVELY).await;
        publish(&hub.client().await, "p", "a: 1").await;
        let mut copy = None;
        let hub = between(hub, |hub| copy = Some(CopyKind::take(hub, database))).await;
        let copy = copy.expect("a copy");
        let client = hub.client().await;
        // This server saw the event, and the database lost it.
        activate(&client, "p", 1).await;
        let lost = head(&client).await;
        let high_water = hub.data_dir().join("high-water.json");
        let aside = hub.data_dir().join("high-water.aside");
        // Another server, which did not see the event, continues from the copy.
        let hub = between(hub, |_| {
            copy.restore();
            std::fs::rename(&high_water, &aside).expect("what was seen");
        })
        .await;
        let client = hub.client().await;
        for number in 0..3 {
            client.draft(draft_request("q", &format!("other: {number}"))).await.expect("a draft");
        }
        assert!(head(&client).await.revision > lost.revision, "the log is longer than the one that was lost");
        // A subscriber that had seen the event is refused at once.
        every_use_is_refused(&client, lost, "p").await;
        // And the server that had seen it must not continue as if it were the same log.
        let hub = between(hub, |_| std::fs::rename(&aside, &high_water).expect("what was seen")).await;
        let client = hub.client().await;
        let error = refused(client.draft(draft_request("q", "a: 1")).await, Code::FailedPrecondition, "STORE_IN_DOUBT");
        assert!(error.message().contains("another event"), "{error:?}");
        assert_eq!(metric(&hub.http, "policyhub_store_in_doubt"), Some(1.0));
        assert!(get(&hub.http, "/readyz").expect("an answer").2.starts_with("read-only: "));
        // Reads continue, marked as suspected data loss, and nothing has a fresh checkpoint.
        let active = watching::get_set(&client).await;
        assert!(active.in_doubt && !active.degraded && active.checked_time.is_none(), "{active:?}");
        stays_in_doubt(&client).await;
        bumped(&hub, &["--accept-loss"], 2, 2).await;
        let wait = async {
            while client.draft(draft_request("q", "a: 2")).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, wait).await.expect("writes go on");
        let wait = async {
            while watching::get_set(&client).await.in_doubt {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, wait).await.expect("the doubt ends");
    }

    /// A resume point proves which event it means, from whichever source this server has that event.
    async fn a_resume_point_names_its_event(database: Database) {
        let hub = Hub::start_with(database, LIVELY).await;
        let client = hub.client().await;
        publish(&client, "p", "a: 1").await;
        let mut received = vec![head(&client).await];
        for _ in 0..3 {
            activate(&client, "p", 1).await;
            received.push(head(&client).await);
        }
        for at in &received {
            assert_ne!(at.fingerprint, 0, "{at:?}");
            first(&client, *at).await.expect("a message");
            first(&client, pb::Cursor { fingerprint: 0, ..*at }).await.expect("nothing is compared");
            report(&client, *at).await.expect("a report");
            let other = pb::Cursor { fingerprint: at.fingerprint ^ 1, ..*at };
            refused(first(&client, other).await, Code::OutOfRange, "RESUME_POINT_GONE");
        }
        // From the database alone.
        let hub = hub.restart_in_order().await;
        let client = hub.client().await;
        for at in &received {
            first(&client, *at).await.expect("a message");
            let other = pb::Cursor { fingerprint: at.fingerprint ^ 1, ..*at };
            refused(first(&client, other).await, Code::OutOfRange, "RESUME_POINT_GONE");
        }
    }

    /// Given a client that resumes without a fingerprint, the first heartbeat has the fingerprint, and the client compares from then on.
    async fn a_heartbeat_tells_the_fingerprint_that_the_client_did_not_have(database: Database) {
        let hub = Hub::start_with(database, LIVELY).await;
        let client = hub.client().await;
        publish(&client, "p", "a: 1").await;
        activate(&client, "p", 1).await;
        let at = head(&client).await;
        let message = first(&client, pb::Cursor { fingerprint: 0, ..at }).await.expect("a message");
        let Some(pb::watch_active_response::Message::Heartbeat(heartbeat)) = message.message else {
            panic!("no heartbeat: {message:?}")
        };
        assert_eq!(heartbeat.cursor, Some(at));
    }

    /// Given a stream that waits ahead of the log, it ends when the log has another event at its resume point.
    async fn a_resume_point_ahead_is_compared_when_the_log_comes_there(database: Database) {
        let hub = Hub::start_with(database, LIVELY).await;
        let client = hub.client().await;
        publish(&client, "p", "a: 1").await;
        let at = head(&client).await;
        let ahead = pb::Cursor { revision: at.revision + 1, fingerprint: 7, ..at };
        let mut stream = watching::raw(&client, Some(ahead)).await.expect("it waits");
        let waiting = tokio::time::timeout(DEADLINE, stream.message()).await.expect("a sign of life");
        assert!(waiting.expect("a message").is_some());
        activate(&client, "p", 1).await;
        let ended = async {
            loop {
                if let Err(status) = stream.message().await {
                    return ClientError::from(status);
                }
            }
        };
        let error = tokio::time::timeout(DEADLINE, ended).await.expect("an end before the deadline");
        assert_eq!((error.code(), error.reason()), (Code::OutOfRange, "RESUME_POINT_GONE"), "{error:?}");
    }
}

/// Namespaces whose logs went on while a server was away.
const NAMESPACES: usize = 120;
/// Upper bound of the statements of a start and the first poll of the logs.
const START_STATEMENTS_MAX: f64 = 80.0;

on_both_databases! {
    /// Given logs that each continue from the event that was seen, they are compared in pages, not one by one.
    async fn logs_that_went_on_are_compared_in_pages(database: Database) {
        let hub = Hub::start_with(database, &["--poll-interval-ms", "1000"]).await;
        let client = hub.client().await;
        for number in 0..NAMESPACES {
            let namespace_id = format!("team-{number}");
            let request = pb::CreateNamespaceRequest { namespace_id, ..Default::default() };
            client.create_namespace(request).await.expect("a namespace");
        }
        let seen = |hub: &Hub| hub.data_dir().join("high-water.json");
        let aside = hub.data_dir().join("high-water.aside");
        let draft_in_each = async |client: &policyhub::client::Client, content: &str| {
            for number in 0..NAMESPACES {
                let parent = format!("namespaces/team-{number}/policies/p");
                let request = pb::DraftRequest { parent, ..draft_request("p", content) };
                client.draft(request).await.expect("a draft");
            }
        };
        draft_in_each(&client, "a: 1").await;
        let hub = between(hub, |hub| assert!(std::fs::copy(seen(hub), &aside).is_ok())).await;
        draft_in_each(&hub.client().await, "a: 2").await;
        let hub = between(hub, |hub| assert!(std::fs::copy(&aside, seen(hub)).is_ok())).await;
        let begun = metric(&hub.http, "policyhub_database_statements_total").expect("a count");
        assert!(begun < START_STATEMENTS_MAX, "{begun} statements for {NAMESPACES} logs");
        assert_eq!(metric(&hub.http, "policyhub_store_in_doubt"), Some(0.0));
    }
}
