//! `policyhub backup`: one complete, private file, also during writes, or nothing at all.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::calls::{create, draft, events, release};
use crate::harness::copies::{backup, document, fails, heads, mode, names, on, run};
use crate::harness::disk_error::{DiskOperation, EIO, ENOSPC, EROFS};
use crate::harness::postgres::Cluster;
use crate::harness::watching::{self, LIVELY};
use crate::harness::{Database, Hub};
use policyhub::client::pb;

/// Disables background checks, so that the command makes the findings.
const QUIET: &[&str] = &["--audit-interval-ms", "0"];

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_beside_writers_at_full_speed_is_one_moment() {
    const WRITERS: usize = 4;
    let hub = Hub::start_with(Database::Sqlite, LIVELY).await;
    let (client, ended) = (hub.client().await, Arc::new(AtomicBool::new(false)));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (client, ended) = (client.clone(), ended.clone());
            tokio::spawn(async move {
                let mut written = 0_u32;
                while !ended.load(Ordering::Relaxed) {
                    draft(&client, &format!("p{writer}"), &format!("a: {written}")).await;
                    written += 1;
                }
                written
            })
        })
        .collect();
    let mut before = 0;
    for number in 0..4 {
        while watching::head(&client).await <= before {}
        let file = hub.dir.path().join(format!("{number}.backup"));
        let data = hub.data_dir();
        let line = on(&data, "backup", &file, &[]);
        let made = tokio::task::spawn_blocking(move || document(line)).await.expect("a backup");
        assert_eq!((&made["findings"], &made["not_checked"]), (&serde_json::json!([]), &serde_json::Value::Null));
        heads(&file);
        let end =
            made["logs"].as_array().expect("logs").iter().find(|log| log["namespace"] == "default").expect("a log");
        let (revision, hash) = (end["revision"].as_i64().expect("a revision"), end["hash"].as_str().expect("a hash"));
        assert!(revision > before, "what was acknowledged is in it: {revision} after {before}");
        // The head of the copy is an event of the server's own log.
        let event = &events(&client, "namespaces/default", revision - 1).await[0];
        let served: String = event.hash.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!((event.cursor.expect("a cursor").revision, served.as_str()), (revision, hash));
        before = revision;
    }
    ended.store(true, Ordering::Relaxed);
    for writer in writers {
        assert!(writer.await.expect("a writer") > 0, "every writer wrote");
    }
}

#[tokio::test]
async fn a_backup_is_private_and_replaces_nothing_unasked() {
    let mut hub = Hub::start(Database::Sqlite).await;
    release(&hub.client().await, "p", "a: 1").await;
    for umask in ["000", "022", "0777"] {
        let file = hub.dir.path().join(format!("{umask}.backup"));
        let mut line = Command::new("sh");
        line.args(["-c", "umask \"$1\"; shift; exec \"$@\"", "sh", umask, crate::harness::hub::BINARY, "backup"]);
        line.arg(&file).env("POLICYHUB_DATA_DIR", hub.data_dir());
        let (code, said) = run(line);
        assert_eq!((code, mode(&file)), (0, 0o600), "{umask}: {said}");
        assert!(said.contains(&format!("wrote {}: ", file.display())) && said.contains("seals, statements"), "{said}");
    }
    let file = hub.dir.path().join("000.backup");
    let first = std::fs::read(&file).expect("a backup");
    fails(on(&hub.data_dir(), "backup", &file, &[]), "it is there already; --force replaces it");
    assert_eq!(std::fs::read(&file).expect("a backup"), first);
    release(&hub.client().await, "p", "a: 2").await;
    document(on(&hub.data_dir(), "backup", &file, &["--force"]));
    assert_ne!(std::fs::read(&file).expect("a backup"), first);
    fails(
        on(&hub.data_dir(), "backup", &hub.data_dir().join("policyhub.db"), &["--force"]),
        "it is the database itself",
    );
    fails(on(&hub.data_dir(), "backup", hub.dir.path(), &["--force"]), "it is a directory");
    fails(on(&hub.data_dir(), "backup", &hub.dir.path().join("none/f"), &[]), "No such file or directory");
    fails(on(&hub.dir.path().join("none"), "backup", &hub.dir.path().join("f"), &[]), "there is no database at");

    // A temporary file of a killed backup is replaced; one that is being written is not.
    let (half, other) = (hub.dir.path().join("x.unfinished"), hub.dir.path().join("x"));
    std::fs::write(&half, "half of an older one").expect("written");
    std::fs::write(hub.dir.path().join("x.unfinished-journal"), "of it").expect("written");
    let lock = std::fs::File::open(&half).expect("a file");
    lock.lock().expect("a lock");
    fails(on(&hub.data_dir(), "backup", &other, &[]), "another policyhub is writing");
    drop(lock);
    // Also after a crash, with the contents of the write-ahead log, and without a server.
    hub.kill().await;
    let served = heads(&hub.data_dir().join("policyhub.db"));
    backup(&hub, &other);
    assert_eq!(heads(&other), served);
    assert_eq!(names(hub.dir.path()), ["000.backup", "022.backup", "0777.backup", "data", "x"]);
}

#[tokio::test]
async fn a_full_disk_leaves_nothing_half_written() {
    let (hub, disk) = Hub::start_on_failing_disk(&[]).await;
    let client = hub.client().await;
    for version in 0..20 {
        draft(&client, "p", &format!("a: {}", "x".repeat(20_000 + version))).await;
    }
    let file = hub.dir.path().join("to").join("b");
    std::fs::create_dir(hub.dir.path().join("to")).expect("a directory");
    let line = || {
        let mut line = on(&hub.data_dir(), "backup", &file, &[]);
        line.envs(disk.environment());
        line
    };
    let mut failures = 0;
    for (operation, first, errno) in [
        (DiskOperation::Write, 1, ENOSPC),
        (DiskOperation::Write, 40, ENOSPC),
        (DiskOperation::ShortWrite, 30, ENOSPC),
        (DiskOperation::Sync, 1, EIO),
        (DiskOperation::Truncate, 1, EIO),
        (DiskOperation::Open, 1, EROFS),
    ] {
        disk.fail(operation, first, 0, errno, &[".unfinished"]);
        fails(line(), "no backup was made");
        assert_eq!(names(file.parent().expect("a parent")), Vec::<String>::new(), "{operation:?} {first}");
        assert!(disk.failures() > failures, "{operation:?} {first}: the disk did not fail");
        failures = disk.failures();
    }
    disk.heal();
    document(line());
    heads(&file);
}

#[tokio::test]
async fn what_a_server_would_not_serve_is_no_backup() {
    let hub = Hub::start_with(Database::Sqlite, QUIET).await;
    let client = hub.client().await;
    release(&client, "p", "a: 1").await;
    create(&client, "q", pb::PolicyKind::Yaml, pb::PolicySettings::default()).await;
    let (data, file) = (hub.data_dir(), hub.dir.path().join("b"));
    hub.tamper("UPDATE policies SET description = 'x' WHERE id = 'q'");
    fails(on(&data, "backup", &file, &[]), "default: policies q: its tag does not hold");
    assert!(!file.exists());
    let made = document(on(&data, "backup", &file, &["--accept-findings"]));
    assert_eq!(made["findings"].as_array().map(Vec::len), Some(1), "{made}");
    // The restored database has the same history.
    let target = hub.dir.path().join("target");
    copy_keys(&data, &target);
    fails(on(&target, "restore", &file, &[]), "policies q: its tag does not hold");
    assert!(!target.join("policyhub.db").exists());
    document(on(&target, "restore", &file, &["--accept-findings"]));
    // Without the keys, the document says what was not checked.
    let made = document({
        let mut line = on(&data, "backup", &hub.dir.path().join("c"), &[]);
        line.env("POLICYHUB_KEYS_DIR", hub.dir.path().join("none"));
        line
    });
    assert!(
        made["findings"].is_null() && made["not_checked"].as_str().expect("a reason").contains("not here"),
        "{made}"
    );

    hub.tamper("DROP TRIGGER events_refuse_update");
    hub.tamper("UPDATE events SET prev_hash = zeroblob(32) WHERE namespace = 'default' AND revision = 2");
    fails(on(&data, "backup", &file, &["--force", "--accept-findings"]), "event 2 of the log of default");
}

/// Copies the keys of one data directory to another.
pub fn copy_keys(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    let copied = Command::new("cp").arg("-a").arg(from.join("keys")).arg(to.join("keys")).status();
    assert!(copied.expect("cp runs").success());
}

#[tokio::test]
async fn postgresql_is_told_of_its_own_ways() {
    let dir = tempfile::tempdir().expect("a directory");
    let url = Cluster::shared().create_database();
    for command in ["backup", "restore"] {
        let line = on(dir.path(), command, &dir.path().join("f"), &["--database-url", &url]);
        fails(line, "use pg_dump and pg_restore, or a base backup with archived WAL");
    }
    assert_eq!(names(dir.path()), Vec::<String>::new());
}

/// `--force` replaces an earlier backup, but no key, no high-water file and no device.
#[tokio::test(flavor = "multi_thread")]
async fn force_replaces_a_former_backup_alone() {
    let hub = Hub::start_with(Database::Sqlite, QUIET).await;
    release(&hub.client().await, "p", "a: 1").await;
    let data = hub.data_dir();
    let file = hub.dir.path().join("once.backup");
    document(on(&data, "backup", &file, &[]));
    document(on(&data, "backup", &file, &["--force"]));
    let device = hub.dir.path().join("device");
    assert!(Command::new("mkfifo").arg(&device).status().expect("mkfifo runs").success());
    let link = hub.dir.path().join("link");
    std::os::unix::fs::symlink(&file, &link).expect("a link");
    for name in ["keys/seal.pem", "high-water.json", "admin.token", "policyhub.server.lock"] {
        let before = std::fs::read(data.join(name)).expect("a file");
        fails(on(&data, "backup", &data.join(name), &["--force"]), "replaces a former backup alone");
        assert_eq!(std::fs::read(data.join(name)).expect("a file"), before, "{name}");
    }
    for other in [device, link] {
        fails(on(&data, "backup", &other, &["--force"]), "replaces a former backup alone");
    }
}

/// Given a database that lacks events its server has seen, a backup does not replace a better one.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_lost_its_tail_is_not_backed_up_unsaid() {
    let mut hub = Hub::start_with(Database::Sqlite, QUIET).await;
    let client = hub.client().await;
    release(&client, "p", "a: 1").await;
    let (data, good) = (hub.data_dir(), hub.dir.path().join("good.backup"));
    document(on(&data, "backup", &good, &[]));
    release(&client, "p", "a: 2").await;
    hub.signal("TERM");
    hub.ended().await;
    std::fs::copy(&good, data.join("policyhub.db")).expect("an older copy");
    let file = hub.dir.path().join("next.backup");
    fails(on(&data, "backup", &file, &[]), "lacks what its server has seen");
    assert!(!file.exists());
    document(on(&data, "backup", &file, &["--accept-findings"]));
    assert_eq!(names(hub.dir.path()).iter().filter(|name| name.contains(".seen")).count(), 0);
}
