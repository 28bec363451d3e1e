//! `policyhub restore`: exactly the backup, with suspected data loss where something may be missing, or nothing; whenever it is
//! interrupted.

use std::fs;
use std::path::{Path, PathBuf};

use crate::agent_kills::killer;
use crate::backup::copy_keys;
use crate::epochs::{bumped, epoch, is_in_doubt, json, writes_go_on};
use crate::harness::calls::{active, draft, release};
use crate::harness::copies::{backup, document, fails, heads, mode, names, on, run, with_suffix};
use crate::harness::disk_error::{DiskOperation, ENOSPC, FailingDisk};
use crate::harness::sqlite_shell::SqliteShell;
use crate::harness::watching::LIVELY;
use crate::harness::{Database, Hub};

/// A killed server, its database with a write-ahead log beside it, and an older backup.
pub struct Older {
    pub hub: Hub,
    pub file: PathBuf,
    pub database: PathBuf,
    /// The heads in the backup.
    pub old_heads: String,
}

/// Creates the server, its database and the backup.
pub async fn older() -> Older {
    let mut hub = Hub::start_with(Database::Sqlite, LIVELY).await;
    let client = hub.client().await;
    release(&client, "p", "a: 1").await;
    let (file, database) = (hub.dir.path().join("b"), hub.data_dir().join("policyhub.db"));
    backup(&hub, &file);
    release(&client, "p", "a: 2").await;
    hub.kill().await;
    let wal = fs::metadata(with_suffix(&database, "-wal")).expect("a write-ahead log").len();
    assert!(wal > 0, "the newest changes are in the write-ahead log");
    let old_heads = heads(&file);
    assert_ne!(heads(&database), old_heads);
    Older { hub, file, database, old_heads }
}

#[tokio::test]
async fn over_a_left_over_write_ahead_log_it_is_exactly_the_backup() {
    let Older { hub, file, database, old_heads } = older().await;
    // The reason for the command: SQLite would apply the old write-ahead log to a file copied to the database's path.
    let by_hand = hub.dir.path().join("by-hand.db");
    for suffix in ["", "-wal"] {
        fs::copy(with_suffix(&database, suffix), with_suffix(&by_hand, suffix)).expect("a copy");
    }
    fs::copy(&file, &by_hand).expect("a copy");
    let by_hand = std::panic::catch_unwind(|| heads(&by_hand));
    assert!(by_hand.is_err() || by_hand.is_ok_and(|heads| heads != old_heads), "a plain copy restored the backup");

    let before = heads(&database);
    let restored = document(on(&hub.data_dir(), "restore", &file, &[]));
    assert_eq!(heads(&database), old_heads);
    assert_eq!(fs::read(&database).expect("read"), fs::read(&file).expect("read"), "byte for byte");
    assert_eq!(mode(&database), 0o600);
    let kept = PathBuf::from(restored["kept_as"].as_str().expect("a name"));
    let beside = names(&hub.data_dir()).into_iter().filter(|name| name.starts_with("policyhub.db"));
    assert_eq!(beside.collect::<Vec<_>>(), ["policyhub.db", "policyhub.db.replaced-1"]);
    assert_eq!(heads(&kept), before, "the old database is whole, with what its write-ahead log held");
    assert!(restored["doubt"].as_str().expect("a doubt").contains("was seen"), "{restored}");
    assert!(restored["next"].as_str().expect("a step").contains("policyhub epoch bump --accept-loss"), "{restored}");
    assert_eq!(restored["before"]["logs"][0]["namespace"], "default", "{restored}");

    let hub = hub.restart().await;
    let client = hub.client().await;
    is_in_doubt(&hub, &client, "was seen").await;
    assert_eq!(active(&client, "p").await, 1);
    bumped(&hub, &["--accept-loss"], 2, 2).await;
    writes_go_on(&client, "p").await;
}

#[tokio::test]
async fn a_backup_as_new_as_what_was_seen_is_in_no_doubt() {
    let mut hub = Hub::start_with(Database::Sqlite, LIVELY).await;
    release(&hub.client().await, "p", "a: 1").await;
    let file = hub.dir.path().join("b");
    backup(&hub, &file);
    fails(on(&hub.data_dir(), "restore", &file, &[]), "belongs to a policyhub that is running");
    hub.signal("TERM");
    assert!(hub.ended().await.success());
    let restored = document(on(&hub.data_dir(), "restore", &file, &[]));
    assert!(restored["doubt"].is_null(), "{restored}");
    // Again: the same bytes are not kept a second time.
    let restored = document(on(&hub.data_dir(), "restore", &file, &[]));
    assert!(restored["kept_as"].is_null(), "{restored}");
    let hub = hub.restart().await;
    writes_go_on(&hub.client().await, "p").await;
    bumped(&hub, &["--accept-loss"], 1, 0).await;
}

/// Given a killed server, which has not saved the last second of its high-water mark, the old database itself still has it.
#[tokio::test]
async fn what_only_the_old_database_knew_is_remembered() {
    let Older { hub, file, .. } = older().await;
    let high_water = hub.data_dir().join("high-water.json");
    let _ = fs::remove_file(&high_water);
    let restored = document(on(&hub.data_dir(), "restore", &file, &[]));
    assert!(restored["doubt"].as_str().expect("a doubt").contains("was seen"), "{restored}");
    let hub = hub.restart().await;
    is_in_doubt(&hub, &hub.client().await, "was seen").await;
}

#[tokio::test]
async fn into_an_empty_place_it_says_what_nobody_can_know() {
    let mut hub = Hub::start_with(Database::Sqlite, LIVELY).await;
    release(&hub.client().await, "p", "a: 1").await;
    let (file, made) = (hub.dir.path().join("b"), hub.dir.path().join("new").join("data"));
    backup(&hub, &file);
    hub.kill().await;
    // The keys are copied later; the directory is created.
    let (code, said) = run(on(&made, "restore", &file, &[]));
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("before: no database") && said.contains("not checked: seals and rows"), "{said}");
    assert_eq!((mode(&made), heads(&made.join("policyhub.db"))), (0o700, heads(&file)));
    fs::remove_dir_all(hub.data_dir().with_file_name("new")).expect("removed");
    copy_keys(&hub.data_dir(), &made);
    let restored = document(on(&made, "restore", &file, &[]));
    assert!(restored["not_checked"].is_null() && restored["doubt"].is_null(), "{restored}");
    assert!(restored["next"].as_str().expect("a step").contains("--accept-loss --force"), "{restored}");
    // A server starts on it.
    fs::remove_dir_all(hub.data_dir()).expect("removed");
    fs::rename(&made, hub.data_dir()).expect("moved");
    let hub = hub.restart().await;
    assert_eq!(active(&hub.client().await, "p").await, 1);
}

/// Given a database that was restored without a high-water mark, it is no evidence of what it lost: neither for a second restore, nor after
/// a server ran on it.
#[tokio::test]
async fn nobody_vouches_for_it_until_the_epoch_is_raised() {
    let mut hub = Hub::start_with(Database::Sqlite, LIVELY).await;
    release(&hub.client().await, "p", "a: 1").await;
    let (file, data) = (hub.dir.path().join("b"), hub.data_dir());
    backup(&hub, &file);
    hub.kill().await;
    let made = hub.dir.path().join("new");
    fs::create_dir(&made).expect("a directory");
    copy_keys(&data, &made);
    fs::remove_dir_all(&data).expect("removed");
    fs::rename(&made, &data).expect("moved");
    let next = |file: &Path| {
        let restored = document(on(&data, "restore", file, &[]));
        restored["next"].as_str().expect("a step").to_owned()
    };
    for time in 1..=3 {
        let next = next(&file);
        assert!(next.contains("policyhub epoch bump --accept-loss --force"), "run {time}: {next}");
    }
    let mut hub = hub.restart().await;
    let log = hub.log.lock().expect("the log").clone();
    assert!(log.lines().any(|line| line.contains("WARN") && line.contains("nobody could tell")), "{log}");
    hub.signal("TERM");
    assert!(hub.ended().await.success());
    assert!(next(&file).contains("--accept-loss --force"), "after a server ran on it");
    let mut hub = hub.restart().await;
    for arguments in [&["show"][..], &["bump", "--accept-loss"]] {
        let (code, said) = epoch(&hub, arguments);
        assert!(code == 0 && json(&said)["unwitnessed"] == true, "{said}");
    }
    bumped(&hub, &["--accept-loss", "--force"], 2, 2).await;
    assert_eq!(json(&epoch(&hub, &["show"]).1)["unwitnessed"], false);
    let newer = hub.dir.path().join("newer");
    backup(&hub, &newer);
    hub.kill().await;
    // After the epoch was raised, the current data is what was acknowledged.
    let next = next(&newer);
    assert!(next.contains("nothing that was seen here is missing"), "{next}");
    let hub = hub.restart().await;
    let log = hub.log.lock().expect("the log").clone();
    assert!(!log.contains("nobody could tell"), "{log}");
}

#[tokio::test]
async fn what_is_no_backup_of_this_store_changes_nothing() {
    let Older { hub, file, database, .. } = older().await;
    let (data, before) = (hub.data_dir(), (heads(&database), names(&hub.data_dir())));
    let whole = fs::read(&file).expect("a backup");
    let path = |name: &str| hub.dir.path().join(name);
    let made = |name: &str, bytes: &[u8]| {
        fs::write(path(name), bytes).expect("written");
        path(name)
    };
    let flipped = |marker: &str| {
        let (mut bytes, marker) = (whole.clone(), marker.as_bytes());
        let places: Vec<usize> =
            bytes.windows(marker.len()).enumerate().filter(|(_, at)| *at == marker).map(|(at, _)| at).collect();
        assert!(!places.is_empty());
        places.into_iter().for_each(|place| bytes[place] ^= 1);
        bytes
    };
    let mut header = whole.clone();
    header[30] ^= 0xff;
    for (file, words) in [
        (path("none"), "there is no such file"),
        (data.clone(), "there is no such file"),
        (database.clone(), "it is the database itself"),
        (made("text", &b"-- PostgreSQL database dump\n".repeat(100)), "file is not a database"),
        (made("empty", b""), "not one of policyhub"),
        (made("half", &whole[..whole.len() / 2]), "is no backup that can be restored"),
        (made("short", &whole[..whole.len() - 4096]), "is no backup that can be restored"),
        (made("content", &flipped("a: 1")), "the content sha256:"),
        (made("event", &flipped("\"kind\":\"PUBLISH\"")), "is not the one that was written"),
        (made("title", &flipped("SQLite format 3")), "is no backup that can be restored"),
    ] {
        fails(on(&data, "restore", &file, &[]), words);
        assert_eq!((heads(&database), names(&data)), before, "{}", file.display());
    }
    // The digest detects every changed byte, also one without a meaning.
    let digest = document(on(&data, "backup", &path("now"), &[]))["digest"].as_str().expect("a digest").to_owned();
    fails(on(&data, "restore", &file, &["--digest", &digest]), "is not the backup that was named");
    // A database in use, copied with the files beside it, is no backup.
    fs::copy(with_suffix(&database, "-wal"), path("now-wal")).expect("a copy");
    fails(on(&data, "restore", &path("now"), &[]), "together they are a database, not a backup");
    // A backup of a future version.
    let newer = made("newer", &whole);
    sql(&newer, "insert into seaql_migrations values ('m29991231_000009_later', 0)");
    fails(on(&data, "restore", &newer, &[]), "is at schema m29991231_000009_later, newer than this binary's");
    assert_eq!(heads(&database), before.0);
}

#[tokio::test]
async fn another_store_takes_the_place_only_when_told_so() {
    let Older { hub, file, database, old_heads } = older().await;
    let mut other = Hub::start(Database::Sqlite).await;
    other.kill().await;
    let before = heads(&other.data_dir().join("policyhub.db"));
    fails(on(&other.data_dir(), "restore", &file, &[]), "but the database that is here is of store");
    assert_eq!(heads(&other.data_dir().join("policyhub.db")), before);
    fs::remove_file(other.data_dir().join("policyhub.db")).expect("removed");
    fs::remove_file(with_suffix(&other.data_dir().join("policyhub.db"), "-wal")).expect("removed");
    fs::write(other.data_dir().join("high-water.json"), r#"{"store":"x","heads":{}}"#).expect("written");
    fails(on(&other.data_dir(), "restore", &file, &[]), "but high-water.json is of store x");
    fs::remove_file(other.data_dir().join("high-water.json")).expect("removed");
    fails(on(&other.data_dir(), "restore", &file, &[]), "are not those of the backup");
    document(on(&other.data_dir(), "restore", &file, &["--force"]));
    assert_eq!(heads(&other.data_dir().join("policyhub.db")), old_heads);
    // A shell or a backup that has the database open blocks the restore too.
    let shell = SqliteShell::reading(&database);
    fails(on(&hub.data_dir(), "restore", &file, &[]), "the database is used by another process");
    shell.end();
    document(on(&hub.data_dir(), "restore", &file, &[]));
}

/// Given a database that SQLite can't read, it is moved aside unchanged, with its write-ahead log.
#[tokio::test]
async fn a_damaged_database_is_put_aside() {
    let Older { hub, file, database, old_heads } = older().await;
    // A server that ended in order has saved its high-water mark.
    let mut hub = hub.restart().await;
    hub.signal("TERM");
    assert!(hub.ended().await.success());
    // Damage the file and the log: with a log that holds every page, the rest of the file is not needed.
    fs::write(&database, b"no database at all, ".repeat(1000)).expect("written");
    let wal = b"nor its log of writes, ".repeat(1000);
    fs::write(with_suffix(&database, "-wal"), &wal).expect("written");
    let restored = document(on(&hub.data_dir(), "restore", &file, &[]));
    assert!(restored["before"]["unreadable"].as_str().expect("why").contains("not a database"), "{restored}");
    let kept = PathBuf::from(restored["kept_as"].as_str().expect("a name"));
    assert_eq!(fs::read(with_suffix(&kept, "-wal")).expect("kept"), wal);
    assert_eq!(heads(&database), old_heads);
    assert!(restored["doubt"].is_string(), "high-water.json is still there: {restored}");
    // Without a newer high-water mark, the unreadable database may still have been newer than the backup.
    fs::write(&database, b"no database at all, ".repeat(1000)).expect("written");
    fs::remove_file(hub.data_dir().join("high-water.json")).expect("removed");
    let restored = document(on(&hub.data_dir(), "restore", &file, &[]));
    assert!(restored["next"].as_str().expect("a step").contains("--accept-loss --force"), "{restored}");
}

#[tokio::test]
async fn a_full_disk_leaves_the_old_database() {
    let Older { hub, file, database, old_heads } = older().await;
    let disk = FailingDisk::new(hub.dir.path());
    let line = || {
        let mut line = on(&hub.data_dir(), "restore", &file, &[]);
        line.envs(disk.environment());
        line
    };
    let (before, files) = (heads(&database), names(&hub.data_dir()));
    for (operation, first) in [(DiskOperation::Write, 1), (DiskOperation::ShortWrite, 1), (DiskOperation::Sync, 1)] {
        disk.fail(operation, first, 0, ENOSPC, &[".restoring"]);
        fails(line(), "nothing was restored");
        assert_eq!((heads(&database), names(&hub.data_dir())), (before.clone(), files.clone()), "{operation:?}");
    }
    disk.heal();
    document(line());
    assert_eq!(heads(&database), old_heads);
}

fn sql(database: &Path, statement: &str) {
    let script = "import sqlite3,sys\nc=sqlite3.connect(sys.argv[1])\nc.execute(sys.argv[2])\nc.commit()";
    let done = std::process::Command::new("python3").args(["-c", script]).arg(database).arg(statement).status();
    assert!(done.expect("python3 runs").success());
}

/// Given a kill at each disk operation, either the old or the new database is there completely, and the next run completes the restore.
#[tokio::test]
async fn killed_at_each_step_it_is_the_old_or_the_new_database() {
    let Older { hub, file, old_heads, .. } = older().await;
    let (killer, trace, tried) = (killer(hub.dir.path()), hub.dir.path().join("trace"), hub.dir.path().join("tried"));
    let (database, newest) = (tried.join("policyhub.db"), heads(&hub.data_dir().join("policyhub.db")));
    let run_to = |at: usize| {
        let _ = fs::remove_file(&trace);
        let mut line = on(&tried, "restore", &file, &[]);
        line.env("LD_PRELOAD", &killer).env("KILL_TRACE", &trace).env("KILL_AT", at.to_string());
        line.output().expect("the binary runs")
    };
    let begin = || {
        let _ = fs::remove_dir_all(&tried);
        let copied = std::process::Command::new("cp").arg("-a").arg(hub.data_dir()).arg(&tried).status();
        assert!(copied.expect("cp runs").success());
    };
    begin();
    let whole = run_to(0);
    assert!(whole.status.success(), "{}", String::from_utf8_lossy(&whole.stderr));
    let steps = fs::read_to_string(&trace).expect("a trace");
    is_flushed_in_order(&steps, &tried);
    let (steps, mut seen) = (steps.lines().count(), Vec::new());
    assert!(steps > 10, "{steps} steps: is the library in the way?");
    for at in 1..=steps {
        begin();
        run_to(at);
        let found = heads(&database);
        assert!([&newest, &old_heads].contains(&&found), "a mix after a kill at step {at}: {found}");
        seen.push(found == old_heads);
        let again = run_to(0);
        assert!(again.status.success(), "after step {at}: {}", String::from_utf8_lossy(&again.stderr));
        assert_eq!(heads(&database), old_heads, "after step {at}");
        assert_eq!(heads(&with_suffix(&database, ".replaced-1")), newest, "after step {at}");
        let left = names(&tried).into_iter().filter(|name| name.contains(".restoring") || name.ends_with("-wal"));
        assert_eq!(left.count(), 0, "after step {at}");
    }
    assert!(seen.is_sorted() && seen[0] != seen[steps - 1], "once it is the new one, it stays: {seen:?}");
    draft_goes_on(&hub, &tried).await;
}

/// Checks the order of flushes, which a power cut depends on: the new database before its name, the removal of the old database's other
/// files before that, and the name before the command ends.
fn is_flushed_in_order(trace: &str, data: &Path) {
    let steps: Vec<Vec<&str>> = trace.lines().map(|line| line.split('\t').collect()).collect();
    let path = |name: &str| data.join(name).display().to_string();
    let place = |what: &str, on: &str, after: usize| {
        let found = steps.iter().enumerate().skip(after).find(|(_, step)| step[0] == what && step[1] == on);
        found.unwrap_or_else(|| panic!("no {what} of {on} after step {after}: {trace}")).0
    };
    let kept = place("link", &path("policyhub.db.replaced-1"), 0);
    let named = place("rename", &path("policyhub.db.restoring"), kept);
    assert!(place("sync", &path("policyhub.db.restoring"), 0) < kept, "flushed before anything is touched");
    assert!(place("sync", &data.display().to_string(), kept) < named);
    place("sync", &data.display().to_string(), named);
}

/// Checks that the restored database can be served.
async fn draft_goes_on(hub: &Hub, data: &Path) {
    let database = format!("sqlite://{}", data.join("policyhub.db").display());
    let keys = data.join("keys").display().to_string();
    let flags: Vec<&str> = [LIVELY, &["--keys-dir", &keys]].concat();
    let dir = std::sync::Arc::new(tempfile::tempdir().expect("a directory"));
    let hub_again = Hub::start_on(dir, database, &flags).await;
    draft(&hub_again.client().await, "p", "a: 3").await;
    drop(hub_again);
    assert!(hub.data_dir().exists());
}
