//! `policyhub restore` and `backup` that fail say what became of the database and of the file.

use std::fs;

use crate::epochs::bumped;
use crate::harness::copies::{document, fails, heads, on, run, with_suffix};
use crate::harness::disk_error::{EIO, FailingDisk, Operation};
use crate::restore::{Older, older};

/// A disk that fails is no damaged database: nothing is put aside for it.
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
    for operation in [Operation::Read, Operation::Write, Operation::Sync] {
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

/// The last step is the flush of the directory: when it fails the new database is there.
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
        disk.fail(Operation::Sync, first, 1, EIO, &["/tried"]);
        let mut line = on(&tried, "restore", &file, &[]);
        line.envs(disk.environment());
        let (code, said) = run(line);
        if disk.failures() == failures {
            break;
        }
        // What was seen is saved again: that may fail.
        if code == 0 {
            continue;
        }
        is_done = heads(&tried.join("policyhub.db")) == old_heads;
        assert_eq!(said.contains("nothing was restored"), !is_done, "flush {first}: {said}");
        assert_eq!(said.contains("the backup is in place of the database"), is_done, "flush {first}: {said}");
    }
    assert!(is_done, "the last flush comes after the new database has its name");
    // A backup is told in the same way.
    let directory = hub.dir.path().join("backups");
    fs::create_dir(&directory).expect("a directory");
    // SQLite flushes it too, and does not mind.
    disk.fail(Operation::Sync, 1, 0, EIO, &["/backups"]);
    let mut line = on(&hub.data_dir(), "backup", &directory.join("b"), &[]);
    line.envs(disk.environment());
    fails(line, "the backup was made and checked");
    assert!(directory.join("b").exists());
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
    bumped(&hub, &["--accept-loss", "--force"], 2, 2);
}
