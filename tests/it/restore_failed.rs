//! Failures of `policyhub restore` and `backup`: the message says what became of the database and of the file.

use std::fs;

use crate::epochs::bumped;
use crate::harness::copies::{document, fails, heads, names, on, run, with_suffix};
use crate::harness::disk_error::{DiskOperation, EIO, FailingDisk};
use crate::harness::hub::binary;
use crate::harness::{Database, Hub};
use crate::restore::{Older, older};

/// A failing disk is no damaged database: nothing is moved aside for it.
#[tokio::test]
async fn a_disk_that_fails_under_the_old_database_leaves_it() {
    let Older { hub, file, database, old_heads } = older().await;
    let disk = FailingDisk::new(hub.dir.path());
    let line = || {
        let mut line = on(&hub.data_dir(), "restore", &file, &[]);
        line.envs(disk.environment());
        line
    };
    let before = heads(&database);
    for operation in [DiskOperation::Read, DiskOperation::Write, DiskOperation::Sync] {
        disk.fail(operation, 1, 0, EIO, &["policyhub.db"]);
        let (code, said) = run(line());
        assert_eq!(code, 1, "{operation:?}: {said}");
        assert!(said.contains("nothing was restored") && said.contains("disk I/O error"), "{operation:?}: {said}");
        assert_eq!(heads(&database), before, "{operation:?}");
        assert!(!with_suffix(&database, ".replaced-1").exists(), "{operation:?}");
    }
    disk.heal();
    document(line());
    assert_eq!(heads(&database), old_heads);
}

/// The last step is the flush of the directory: when it fails, the new database is there.
#[tokio::test]
async fn a_name_that_was_not_flushed_is_said_to_be_there() {
    let Older { hub, file, old_heads, .. } = older().await;
    let (disk, tried) = (FailingDisk::new(hub.dir.path()), hub.dir.path().join("tried"));
    let mut is_done = false;
    for first in 1.. {
        let _ = fs::remove_dir_all(&tried);
        let copied = std::process::Command::new("cp").arg("-a").arg(hub.data_dir()).arg(&tried).status();
        assert!(copied.expect("cp runs").success());
        let failures = disk.failures();
        disk.fail(DiskOperation::Sync, first, 1, EIO, &["/tried"]);
        let mut line = on(&tried, "restore", &file, &[]);
        line.envs(disk.environment());
        let (code, said) = run(line);
        if disk.failures() == failures {
            break;
        }
        // SQLite flushes the directory too, and ignores the error.
        if code == 0 {
            continue;
        }
        is_done = heads(&tried.join("policyhub.db")) == old_heads;
        assert_eq!(said.contains("nothing was restored"), !is_done, "flush {first}: {said}");
        assert_eq!(said.contains("the backup is in place of the database"), is_done, "flush {first}: {said}");
    }
    assert!(is_done, "the last flush comes after the new database has its name");
    // A backup reports it in the same way.
    let directory = hub.dir.path().join("backups");
    fs::create_dir(&directory).expect("a directory");
    // SQLite flushes it too, and ignores the error.
    disk.fail(DiskOperation::Sync, 1, 0, EIO, &["/backups"]);
    let mut line = on(&hub.data_dir(), "backup", &directory.join("b"), &[]);
    line.envs(disk.environment());
    fails(line, "the backup was made and checked");
    assert!(directory.join("b").exists());
}

/// When the disk can't read the copy back, the backup is not reported as damaged.
#[tokio::test]
async fn a_copy_that_is_not_read_is_not_blamed_on_the_backup() {
    let Older { hub, file, .. } = older().await;
    let disk = FailingDisk::new(hub.dir.path());
    disk.fail_all(&[DiskOperation::Read], EIO, &[".restoring"]);
    let mut line = on(&hub.data_dir(), "restore", &file, &[]);
    line.envs(disk.environment());
    let (code, said) = run(line);
    assert!(code == 1 && said.contains("failed to read") && said.contains("the copy of"), "{said}");
    assert!(!said.contains("no backup that can be restored"), "{said}");
}

/// The rename is the decisive step: when it fails, all files of the old database are there.
#[tokio::test]
async fn a_rename_that_fails_leaves_the_old_database() {
    let Older { hub, file, database, old_heads } = older().await;
    let disk = FailingDisk::new(hub.dir.path());
    let line = || {
        let mut line = on(&hub.data_dir(), "restore", &file, &[]);
        line.envs(disk.environment());
        line
    };
    let nothing_is_restored = || {
        let failures = disk.failures();
        disk.fail(DiskOperation::Rename, 1, 0, EIO, &["/policyhub.db"]);
        let (code, said) = run(line());
        assert!(disk.failures() > failures, "the failure struck");
        assert!(code == 1 && said.contains("nothing was restored: failed to replace"), "{said}");
        assert_eq!(said.matches("(os error").count(), 1, "{said}");
        let left = names(&hub.data_dir());
        assert!(!left.iter().any(|name| name.contains(".restoring") || name == "unwitnessed.json"), "{left:?}");
        disk.heal();
    };
    let before = heads(&database);
    nothing_is_restored();
    assert_eq!(heads(&database), before);
    // A database that SQLite can't read has been renamed by then.
    let damaged = b"no database at all, ".repeat(1000);
    fs::write(&database, &damaged).expect("written");
    nothing_is_restored();
    assert_eq!(fs::read(&database).ok(), Some(damaged));
    document(line());
    assert_eq!(heads(&database), old_heads);
}

/// The high-water file of another store blocks every server on the restored database: it is reported when it can't be moved away.
#[tokio::test]
async fn what_was_seen_of_another_store_is_in_the_way_when_it_stays() {
    let Older { hub: _hub, file, old_heads, .. } = older().await;
    let mut other = Hub::start(Database::Sqlite).await;
    other.kill().await;
    let (disk, data) = (FailingDisk::new(other.dir.path()), other.data_dir());
    let (database, high_water) = (data.join("policyhub.db"), data.join("high-water.json"));
    let seen = r#"{"store":"x","heads":{}}"#;
    fs::write(&high_water, seen).expect("written");
    let line = || {
        let mut line = on(&data, "restore", &file, &["--force"]);
        line.envs(disk.environment());
        line
    };
    disk.fail(DiskOperation::Rename, 1, 0, EIO, &["/high-water.json.replaced-1"]);
    let (code, said) = run(line());
    assert_eq!(code, 1, "{said}");
    let kept = with_suffix(&database, ".replaced-1").display().to_string();
    for words in [
        &format!("the backup is in place of the database (the old one is {kept}), but {}", high_water.display()),
        "tells of another store and could not be moved away: no server starts until it is; rename it, or run this again",
    ] {
        assert!(said.contains(words), "{words:?}: {said}");
    }
    assert!(!said.contains("nothing was restored") && said.matches("(os error").count() == 1, "{said}");
    assert_eq!((heads(&database), fs::read_to_string(&high_water).expect("it is there")), (old_heads, seen.to_owned()));
    let mut serve = binary();
    serve.args(["serve", "--grpc-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0", "--data-dir"]).arg(&data);
    fails(serve, "remembers store x");
    // Follow the message.
    disk.heal();
    let restored = document(line());
    let kept = restored["high_water_kept_as"].as_str().expect("a name");
    assert_eq!(fs::read_to_string(kept).expect("kept"), seen);
    assert!(!high_water.exists(), "nothing is in the way any more");
}

/// What the old database knows of its logs is saved before that database is changed, or nothing is restored: otherwise a revision could be
/// used twice.
#[tokio::test]
async fn nothing_is_restored_when_what_was_seen_is_not_saved() {
    let Older { hub, file, .. } = older().await;
    let (disk, tried) = (FailingDisk::new(hub.dir.path()), hub.dir.path().join("tried"));
    let (database, high_water) = (tried.join("policyhub.db"), tried.join("high-water.json"));
    let begin = || {
        let _ = fs::remove_dir_all(&tried);
        let copied = std::process::Command::new("cp").arg("-a").arg(hub.data_dir()).arg(&tried).status();
        assert!(copied.expect("cp runs").success());
        // A killed server has not saved the last second.
        let _ = fs::remove_file(&high_water);
    };
    let line = || {
        let mut line = on(&tried, "restore", &file, &[]);
        line.envs(disk.environment());
        line
    };
    begin();
    let before = (heads(&database), names(&tried));
    for operation in [DiskOperation::Open, DiskOperation::Write, DiskOperation::ShortWrite, DiskOperation::Sync] {
        begin();
        let failures = disk.failures();
        disk.fail(operation, 1, 0, EIO, &["high-water.json.new"]);
        fails(line(), "failed to save what the old database knows of its logs");
        assert!(disk.failures() > failures, "{operation:?}: the failure struck");
        let left = names(&tried).into_iter().filter(|name| !name.starts_with("high-water"));
        assert_eq!((heads(&database), left.collect::<Vec<_>>()), before, "{operation:?}");
    }
    // The directory entry must be durable too.
    for first in 1.. {
        begin();
        let failures = disk.failures();
        disk.fail(DiskOperation::Sync, first, 1, EIO, &["/tried"]);
        let (code, said) = run(line());
        let is_new = heads(&database) != before.0;
        assert!(!is_new || high_water.exists(), "flush {first}: {said}");
        assert_eq!(said.contains("nothing was restored"), !is_new, "flush {first}: {said}");
        if disk.failures() == failures {
            assert_eq!(code, 0, "{said}");
            break;
        }
    }
    disk.heal();
    begin();
    let restored = document(line());
    assert!(restored["doubt"].as_str().expect("a doubt").contains("was seen"), "{restored}");
}

/// Bumps and migrations lock the same file.
#[tokio::test]
async fn nothing_else_changes_the_database_meanwhile() {
    let Older { hub, file, database, .. } = older().await;
    let lock = fs::File::create(hub.data_dir().join("policyhub.migrate.lock")).expect("a file");
    lock.lock().expect("a lock");
    let epoch = |arguments: &[&str]| {
        let mut line = hub.cli();
        line.arg("epoch").args(arguments).args(["--database-url", &hub.database_url]);
        line.arg("--keys-dir").arg(hub.data_dir().join("keys"));
        line
    };
    let before = heads(&database);
    for line in
        [on(&hub.data_dir(), "restore", &file, &[]), epoch(&["bump", "--accept-loss", "--force"]), epoch(&["show"])]
    {
        fails(line, "a migration, a restore or `policyhub epoch` is running on the database");
        assert_eq!(heads(&database), before);
    }
    drop(lock);
    bumped(&hub, &["--accept-loss", "--force"], 2, 2).await;
}

/// Given a disk that stops working at some operation, what the command says of the database is true.
#[tokio::test]
async fn a_disk_that_fails_from_some_step_on_leaves_one_of_both() {
    let Older { hub, file, database, old_heads } = older().await;
    let (disk, tried, before) = (FailingDisk::new(hub.dir.path()), hub.dir.path().join("tried"), heads(&database));
    for operation in [DiskOperation::Sync, DiskOperation::Write, DiskOperation::Truncate] {
        for first in 1.. {
            let _ = fs::remove_dir_all(&tried);
            let copied = std::process::Command::new("cp").arg("-a").arg(hub.data_dir()).arg(&tried).status();
            assert!(copied.expect("cp runs").success());
            let failures = disk.failures();
            disk.fail(operation, first, 0, EIO, &["/tried", ".db", ".db-wal", ".restoring"]);
            let mut line = on(&tried, "restore", &file, &[]);
            line.envs(disk.environment());
            let (code, said) = run(line);
            let found = heads(&tried.join("policyhub.db"));
            let is_new = found == old_heads;
            assert!(is_new || found == before, "{operation:?} {first}: neither the old nor the new: {found}\n{said}");
            assert_eq!(said.contains("nothing was restored"), !is_new, "{operation:?} {first}: {said}");
            disk.heal();
            if disk.failures() == failures {
                assert_eq!(code, 0, "{operation:?} {first}: {said}");
                break;
            }
        }
    }
}

/// A damaged database can't be merged into one file: it is incomplete without its write-ahead log, which must be back when a step fails.
#[tokio::test]
async fn a_damaged_database_is_put_back_when_a_step_fails() {
    let Older { hub, file, old_heads, .. } = older().await;
    let (disk, tried) = (FailingDisk::new(hub.dir.path()), hub.dir.path().join("tried"));
    let (damaged, wal) = (b"no database at all, ".repeat(1000), b"nor its log of writes, ".repeat(1000));
    let (database, log) = (tried.join("policyhub.db"), tried.join("policyhub.db-wal"));
    let mut put_back = 0;
    for first in 1.. {
        let _ = fs::remove_dir_all(&tried);
        let copied = std::process::Command::new("cp").arg("-a").arg(hub.data_dir()).arg(&tried).status();
        assert!(copied.expect("cp runs").success());
        fs::write(&database, &damaged).expect("written");
        fs::write(&log, &wal).expect("written");
        let failures = disk.failures();
        disk.fail(DiskOperation::Sync, first, 0, EIO, &["/tried", ".restoring"]);
        let mut line = on(&tried, "restore", &file, &[]);
        line.envs(disk.environment());
        let (code, said) = run(line);
        if said.contains("nothing was restored") {
            put_back += 1;
            assert_eq!(fs::read(&database).ok().as_ref(), Some(&damaged), "flush {first}: {said}");
            assert_eq!(fs::read(&log).ok().as_ref(), Some(&wal), "flush {first}: {said}");
        } else {
            assert_eq!(heads(&database), old_heads, "flush {first}: {said}");
        }
        if disk.failures() == failures {
            assert_eq!(code, 0, "{said}");
            break;
        }
    }
    assert!(put_back > 1, "more than the first flush is before the rename");
}
