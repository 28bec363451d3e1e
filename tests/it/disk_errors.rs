//! A disk that fails under SQLite (docs/guarantees.md#g1, #g17, #g25): acknowledged writes are kept, a failing disk is an outage like any
//! other, and the server recovers by itself when the disk does.

use std::time::{Duration, Instant};

use policyhub::client::Watch;
use policyhub::client::{Client, pb};
use tonic::Code;

use crate::harness::calls::{Revision as _, draft_request, policy, try_activate};
use crate::harness::copies::with_suffix;
use crate::harness::disk_error::{DiskOperation, EIO, ENOSPC, EROFS, FailingDisk, HANGS};
use crate::harness::http::metric;
use crate::harness::outages::{
    WRITE_FAILS_WITHIN, check_alive, check_recovered, prepare, readyz, until, until_database_up, until_ready,
};
use crate::harness::sqlite_shell::SqliteShell;
use crate::harness::watching::{self, DEADLINE, LIVELY};
use crate::harness::{Database, Hub};

/// Number of drafts after a failure: enough to show that each of them is kept.
const DRAFTS: usize = 20;
/// The database files that SQLite writes.
const FILES: [&str; 2] = ["policyhub.db", "-wal"];

/// A draft that was acknowledged.
struct AcknowledgedDraft {
    revision: i64,
    name: String,
    digest: String,
}

async fn try_draft(client: &Client, content: &str) -> Result<AcknowledgedDraft, policyhub::client::ClientError> {
    let answer = client.draft(draft_request("q", content)).await?;
    let made = answer.version.expect("a version");
    Ok(AcknowledgedDraft { revision: answer.cursor.revision(), name: made.name, digest: made.digest })
}

/// Drafts until this many are acknowledged; only outages may occur meanwhile.
async fn drafts(client: &Client, count: usize) -> Vec<AcknowledgedDraft> {
    let mut acknowledged = Vec::new();
    let all = async {
        while acknowledged.len() < count {
            match try_draft(client, &format!("number: {}", acknowledged.len())).await {
                Ok(draft) => acknowledged.push(draft),
                Err(error) => {
                    assert_eq!(error.code(), Code::Unavailable, "{error:?}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    };
    tokio::time::timeout(DEADLINE, all).await.expect("drafts before the deadline");
    acknowledged
}

/// Checks that every acknowledged draft is in the log and readable as a version.
async fn check(client: &Client, acknowledged: &[AcknowledgedDraft]) {
    let log = watching::log(client).await;
    for draft in acknowledged {
        let index = usize::try_from(draft.revision - 1).expect("an index");
        let event = log.get(index).unwrap_or_else(|| panic!("{} at revision {} is lost", draft.name, draft.revision));
        let says_so = event.versions.iter().any(|each| each.version_name == draft.name && each.digest == draft.digest);
        assert!(says_so, "revision {} is not {}", draft.revision, draft.name);
        let request = pb::GetVersionRequest { name: draft.name.clone(), view: pb::VersionView::Basic.into() };
        assert_eq!(client.get_version(request).await.expect("it").version.expect("a version").digest, draft.digest);
    }
}

/// Sends an invalid write, which is refused under the lock and rolled back.
async fn refused_write(client: &Client) {
    let error = try_activate(client, "q", 1, Some(4_000)).await.expect_err("that is not active");
    assert!([Code::Aborted, Code::FailedPrecondition, Code::Unavailable].contains(&error.code()), "{error:?}");
}

/// A failure of the disk, as the file system reports it.
#[derive(Debug, Clone, Copy)]
struct DiskFailure {
    operation: DiskOperation,
    errno: i32,
    file: &'static str,
}

/// Checks one failure of the disk, then an ordinary refusal, then drafts: each acknowledged draft is kept, before and after a crash.
async fn acknowledged_after(failure: DiskFailure) {
    let (mut hub, disk) = Hub::start_on_failing_disk(LIVELY).await;
    let client = hub.client().await;
    let mut acknowledged = drafts(&client, 2).await;
    let DiskFailure { operation, errno, file } = failure;
    // A short write is no failure yet: writing the rest fails.
    let calls = if matches!(operation, DiskOperation::ShortWrite) { 2 } else { 1 };
    disk.fail(operation, 1, calls, errno, &[file]);
    let error = try_draft(&client, "a: 1").await.err().expect("the disk failed");
    assert_eq!(error.code(), Code::Unavailable, "{error:?}");
    assert_eq!(disk.failures(), calls as usize, "the failure struck");
    refused_write(&client).await;
    acknowledged.extend(drafts(&client, DRAFTS).await);
    check(&client, &acknowledged).await;
    until_ready(&hub).await;
    hub.kill().await;
    // The calls of the new process are numbered from 1 again.
    disk.heal();
    let hub = hub.restart().await;
    check(&hub.client().await, &acknowledged).await;
}

/// Given each failure of one write, flush or read of the write-ahead log, no acknowledged write is lost.
#[tokio::test(flavor = "multi_thread")]
async fn one_failure_of_the_disk_loses_no_acknowledged_write() {
    for (operation, errno) in [
        (DiskOperation::Write, EIO),
        (DiskOperation::Write, ENOSPC),
        (DiskOperation::ShortWrite, ENOSPC),
        (DiskOperation::Sync, EIO),
        (DiskOperation::Write, EROFS),
    ] {
        let failure = DiskFailure { operation, errno, file: "-wal" };
        println!("{failure:?}");
        acknowledged_after(failure).await;
    }
}

async fn until_readyz(hub: &Hub, words: &str) {
    until("what the server says of itself", || readyz(hub).1.starts_with(words)).await;
}

/// A server with a watch at the head, on a disk that can fail.
struct DiskErrorFixture {
    hub: Hub,
    disk: FailingDisk,
    client: Client,
    watch: Watch,
}

impl DiskErrorFixture {
    async fn start() -> Self {
        let (hub, disk) = Hub::start_on_failing_disk(LIVELY).await;
        let client = hub.client().await;
        let watch = prepare(&client).await;
        Self { hub, disk, client, watch }
    }

    /// Checks what must hold while the disk rejects writes: reads are answered.
    async fn hold_out_reading(&mut self, words: &str) {
        self.refuses_writes().await;
        until_readyz(&self.hub, &format!("read-only: {words}")).await;
        assert_eq!(readyz(&self.hub).0, 503);
        let error = self.client.draft(draft_request("q", "a: 2")).await.expect_err("no disk, no write");
        assert!(error.reason() == "DATABASE_UNAVAILABLE" && error.message().contains(words), "{error:?}");
        let read = watching::get_set(&self.client).await;
        assert!(!read.degraded, "{read:?}");
        assert_eq!(read.bundles.len(), 1);
        check_alive(&self.hub, &mut self.watch).await;
    }

    async fn refuses_writes(&self) {
        for _ in 0..4 {
            let began = Instant::now();
            let error = self.client.draft(draft_request("q", "a: 2")).await.expect_err("no disk, no write");
            assert!(began.elapsed() < WRITE_FAILS_WITHIN, "{:?}: {error:?}", began.elapsed());
            assert_eq!(error.code(), Code::Unavailable, "{error:?}");
        }
    }

    /// Checks what must hold while the disk does not work.
    async fn hold_out(&mut self) {
        self.refuses_writes().await;
        until_database_up(&self.hub, false).await;
        let (status, body) = readyz(&self.hub);
        assert_eq!(status, 503, "{body}");
        // Verified data is still served, marked as not compared with the database.
        let held = watching::get_set(&self.client).await;
        assert!(held.degraded, "{held:?}");
        assert_eq!(held.bundles.len(), 1);
        check_alive(&self.hub, &mut self.watch).await;
    }

    /// Checks what must recover by itself.
    async fn recover(mut self) {
        let acknowledged = drafts(&self.client, DRAFTS).await;
        check(&self.client, &acknowledged).await;
        check_recovered(&self.hub, &self.client, &mut self.watch).await;
        let request = pb::GetActiveRequest { name: policy("p"), ..Default::default() };
        assert!(!self.client.get_active(request).await.expect("an answer").degraded);
        self.hub.kill().await;
        let hub = self.hub.restart().await;
        check(&hub.client().await, &acknowledged).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_an_outage_that_ends() {
    let mut scene = DiskErrorFixture::start().await;
    scene.disk.fail_all(&[DiskOperation::Write], ENOSPC, &FILES);
    scene.hold_out_reading("the disk of the database is full").await;
    scene.disk.heal();
    scene.recover().await;
}

/// Given a full disk, a server that runs or starts there answers reads and refuses writes.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_starts_on_a_full_disk() {
    let DiskErrorFixture { mut hub, disk, client, watch } = DiskErrorFixture::start().await;
    drop((client, watch));
    let token = hub.token();
    hub.kill().await;
    disk.fail_all(
        &[DiskOperation::Write],
        ENOSPC,
        &["policyhub.db", "-wal", "admin.token.new", ".addr.json.new", ".json.new"],
    );
    let hub = hub.restart().await;
    assert_eq!(hub.token(), token, "the token from before stays");
    assert!(!hub.data_dir().join("addr.json").exists(), "no address rather than an old one");
    let client = hub.client().await;
    assert_eq!(watching::get_set(&client).await.bundles.len(), 1, "what is there");
    let error = client.draft(draft_request("q", "a: 2")).await.expect_err("no disk, no write");
    assert_eq!(error.code(), Code::Unavailable, "{error:?}");
    disk.heal();
    let acknowledged = drafts(&client, 3).await;
    check(&client, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_system_that_shut_down_is_an_outage_that_ends() {
    let mut scene = DiskErrorFixture::start().await;
    let all =
        [DiskOperation::Read, DiskOperation::Write, DiskOperation::Sync, DiskOperation::Truncate, DiskOperation::Open];
    scene.disk.fail_all(&all, EIO, &FILES);
    scene.hold_out().await;
    scene.disk.heal();
    scene.recover().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_system_that_is_read_only_is_an_outage_that_ends() {
    let mut scene = DiskErrorFixture::start().await;
    scene.disk.fail_all(&[DiskOperation::Write, DiskOperation::Truncate], EROFS, &FILES);
    scene.hold_out_reading("the disk does not take what is written").await;
    scene.disk.heal();
    scene.recover().await;
}

/// Given a disk that hangs, writes to it never end, and it counts as an outage that ends with the hang.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_hangs_is_an_outage_that_ends() {
    for operation in [DiskOperation::Write, DiskOperation::Sync] {
        let mut scene = DiskErrorFixture::start().await;
        scene.disk.fail_all(&[operation], HANGS, &FILES);
        scene.hold_out().await;
        let error = scene.client.draft(draft_request("q", "a: 3")).await.expect_err("no disk, no write");
        assert_eq!(error.reason(), "DATABASE_UNAVAILABLE", "nothing waits for it any more: {error:?}");
        let (_, body) = readyz(&scene.hub);
        assert!(body.contains("has not ended what was written"), "{body}");
        scene.disk.heal();
        scene.recover().await;
    }
}

/// Given a checkpoint of the write-ahead log that fails, which SQLite does not report, the server reports it.
#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_that_fail_are_told_and_bounded() {
    let scene = DiskErrorFixture::start().await;
    scene.disk.fail_all(&[DiskOperation::Write], EIO, &["policyhub.db"]);
    let wal = with_suffix(&scene.hub.data_dir().join("policyhub.db"), "-wal");
    let bytes = || wal.metadata().expect("a write-ahead log").len();
    let failing = || metric(&scene.hub.http, "policyhub_checkpoints_failing");
    let mut acknowledged = Vec::new();
    let refused = async {
        for number in 0.. {
            let content = format!("number: {number}\ntext: {}", "x".repeat(900_000));
            match try_draft(&scene.client, &content).await {
                Ok(draft) => acknowledged.push(draft),
                Err(error) => return error,
            }
        }
        unreachable!("the numbers end");
    };
    let refused = tokio::time::timeout(10 * DEADLINE, refused).await.expect("a bound");
    assert_eq!(refused.reason(), "DATABASE_UNAVAILABLE", "{refused:?}");
    assert!(refused.message().contains("write-ahead log"), "{refused:?}");
    assert!(bytes() < 256 << 20, "{}", bytes());
    assert_eq!(failing(), Some(1.0));
    assert!(metric(&scene.hub.http, "policyhub_wal_bytes").expect("a size") > 1e6);
    assert!(readyz(&scene.hub).1.starts_with("read-only: the write-ahead log"), "{:?}", readyz(&scene.hub));
    let log = scene.hub.log.lock().expect("the log").clone();
    assert!(
        log.lines().any(|line| line.contains("ERROR") && line.contains("failed to move the write-ahead log")),
        "{log}"
    );
    scene.disk.heal();
    until_ready(&scene.hub).await;
    assert_eq!(failing(), Some(0.0));
    acknowledged.extend(drafts(&scene.client, 3).await);
    let mut hub = scene.hub;
    hub.kill().await;
    let hub = hub.restart().await;
    check(&hub.client().await, &acknowledged).await;
}

/// Given a reader that stays, as a hanging backup does, the write-ahead log can't be emptied: this is reported, and nothing is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_a_reader_holds_is_told() {
    let hub = Hub::start(Database::Sqlite).await;
    let client = hub.client().await;
    try_draft(&client, "a: 1").await.expect("a draft");
    let database = hub.data_dir().join("policyhub.db");
    let reader = SqliteShell::reading(&database);
    let said = |words: &str| hub.log.lock().expect("the log").contains(words);
    let held = "reads the database without an end";
    let writes = async {
        for number in 0.. {
            if said(held) {
                return;
            }
            let content = format!("number: {number}\ntext: {}", "x".repeat(900_000));
            try_draft(&client, &content).await.expect("it is written");
        }
    };
    tokio::time::timeout(10 * DEADLINE, writes).await.expect("it is said");
    assert!(metric(&hub.http, "policyhub_wal_bytes").expect("a size") > 64e6);
    reader.end();
    until("it is said to have ended", || said("the write-ahead log can be emptied again")).await;
    assert!(with_suffix(&database, "-wal").metadata().expect("a log").len() < 1 << 20);
}

/// Given a hanging disk of the data directory, the server reports that the high-water mark is no longer saved, and it can still end.
#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_save_of_what_was_seen_is_said_and_holds_no_end_up() {
    let (mut hub, disk) = Hub::start_on_failing_disk(LIVELY).await;
    let client = hub.client().await;
    try_draft(&client, "a: 1").await.expect("a draft");
    disk.fail_all(&[DiskOperation::Sync], HANGS, &["high-water.json.new", "high-water.json"]);
    try_draft(&client, "a: 2").await.expect("the database has a disk of its own");
    let said = || hub.log.lock().expect("the log").contains("is not saved in high-water.json");
    until("it is said", said).await;
    try_draft(&client, "a: 3").await.expect("all else goes on");
    hub.signal("TERM");
    assert!(hub.ended().await.success(), "it ends although the disk hangs");
    assert!(hub.log.lock().expect("the log").contains("ending without what was seen last of the logs"));
}
