//! Missing files: a database that is not where it was, before a start and under a running server (docs/guarantees.md#g1, #g1b). A server
//! does not begin a new log where it saw one, and acknowledges nothing that the next start would not find.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tonic::Code;

use crate::harness::calls::{active, draft, draft_request, release};
use crate::harness::copies::{backup, document, fails, heads, on, with_suffix};
use crate::harness::outages::{readyz, until, until_database_up, until_ready};
use crate::harness::postgres::Cluster;
use crate::harness::watching::LIVELY;
use crate::harness::{Database, Hub};
use crate::startup::{refused, serves};

const FILES: [&str; 3] = ["", "-wal", "-shm"];

/// Returns a server that wrote something, saved its high-water mark, and ended: with its data directory and its database file.
async fn ended() -> (Hub, PathBuf, PathBuf) {
    let mut hub = Hub::start_with(Database::Sqlite, LIVELY).await;
    release(&hub.client().await, "p", "a: 1").await;
    hub.signal("TERM");
    assert!(hub.ended().await.success());
    // A refused start must not leave these files behind.
    for name in ["addr.json", "admin.token"] {
        let _ = fs::remove_file(hub.data_dir().join(name));
    }
    let (data, database) = (hub.data_dir(), hub.data_dir().join("policyhub.db"));
    (hub, data, database)
}

fn epoch(data: &Path, arguments: &[&str]) -> Command {
    let mut line = crate::harness::hub::binary();
    line.env("POLICYHUB_DATA_DIR", data).arg("epoch").args(arguments);
    line
}

#[tokio::test]
async fn no_store_begins_over_one_that_was_here() {
    let (hub, data, database) = ended().await;
    let (aside, high_water) = (hub.dir.path().join("aside.db"), data.join("high-water.json"));
    let seen = fs::read(&high_water).expect("what was seen");
    fs::rename(&database, &aside).expect("moved");
    let bump = ["bump", "--accept-loss", "--force"];
    // A missing file, an empty one, and a new one whose write-ahead log is lost.
    let young = {
        let path = hub.dir.path().join("young.db");
        let script =
            "import sqlite3,sys\nc=sqlite3.connect(sys.argv[1])\nc.execute('pragma journal_mode=wal')\nc.close()";
        assert!(Command::new("python3").args(["-c", script]).arg(&path).status().expect("python3 runs").success());
        fs::read(path).expect("a database")
    };
    assert_eq!(young.len(), 4096);
    for found in [None, Some(Vec::new()), Some(young)] {
        if let Some(found) = &found {
            fs::write(&database, found).expect("written");
        }
        let words = ["high-water.json remembers store", "policyhub restore", "move", "away first"];
        refused(&data, &[], &words);
        refused(&data, &["--migrate=false"], &words);
        assert_eq!(fs::read(&high_water).expect("the witness"), seen);
        assert_eq!(fs::read(&database).ok(), found, "nothing is made in its place");
        for arguments in [&["show"][..], &bump[..]] {
            let said = if found.as_ref().is_some_and(|found| !found.is_empty()) {
                "remembers store"
            } else {
                "there is no database at"
            };
            fails(epoch(&data, arguments), said);
            assert_eq!(fs::read(&database).ok(), found, "{arguments:?}");
        }
        let mut migrate = crate::harness::hub::binary();
        migrate.env("POLICYHUB_DATA_DIR", &data).arg("migrate");
        fails(migrate, "remembers store");
    }
    // When the original is back, the server starts.
    fs::rename(&aside, &database).expect("moved back");
    let hub = hub.restart().await;
    assert_eq!(active(&hub.client().await, "p").await, 1);
}

#[tokio::test]
async fn another_store_is_refused_until_what_was_seen_is_moved_away() {
    let (hub, data, database) = ended().await;
    let (_other, other_data, other_database) = ended().await;
    let high_water = data.join("high-water.json");
    let seen = fs::read(&high_water).expect("what was seen");
    fs::copy(&other_database, &database).expect("copied");
    for key in fs::read_dir(other_data.join("keys")).expect("keys").map(|key| key.expect("a key").path()) {
        fs::copy(&key, data.join("keys").join(key.file_name().expect("a name"))).expect("copied");
    }
    refused(&data, &[], &["high-water.json remembers store", "but the database is of store"]);
    fails(epoch(&data, &["show"]), "but the database is of store");
    assert_eq!(fs::read(&high_water).expect("the witness"), seen);
    fs::rename(&high_water, data.join("elsewhere.json")).expect("moved");
    serves(&data, &[]);
    drop(hub);
}

/// Given a PostgreSQL URL that leads to a new database, the start is refused as well.
#[tokio::test]
async fn another_database_of_postgresql_is_refused() {
    let mut hub = Hub::start_with(Database::Postgres, LIVELY).await;
    release(&hub.client().await, "p", "a: 1").await;
    hub.signal("TERM");
    assert!(hub.ended().await.success());
    let data = hub.data_dir();
    for name in ["addr.json", "admin.token"] {
        fs::remove_file(data.join(name)).expect("removed");
    }
    let empty = Cluster::shared().create_database();
    refused(&data, &["--database-url", &empty], &["high-water.json remembers store", "the database holds no store"]);
    let name = empty.rsplit('/').next().expect("a name");
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(Cluster::shared().psql(name, tables), "0", "a database that is refused stays as it was");
    hub.restart().await;
}

/// Given a high-water file that can't be read, it is not overwritten, and the start is refused at once.
#[tokio::test]
async fn what_was_seen_must_be_readable() {
    let (hub, data, _) = ended().await;
    let high_water = data.join("high-water.json");
    for broken in [&b"{\"store\":\"x"[..], b"", b"[]"] {
        fs::write(&high_water, broken).expect("written");
        refused(&data, &[], &["failed to read", "high-water.json", "repair it, or move it away"]);
        assert_eq!(fs::read(&high_water).expect("as it was"), broken);
    }
    fs::remove_file(&high_water).expect("removed");
    assert!(Command::new("mkfifo").arg(&high_water).status().expect("mkfifo runs").success());
    refused(&data, &[], &["high-water.json", "it is not a file"]);
    fs::remove_file(&high_water).expect("removed");
    fs::create_dir(data.join("addr.json")).expect("a directory");
    let serving = serves(&data, &[]);
    drop(serving);
    fs::remove_dir(data.join("addr.json")).expect("removed");
    hub.restart().await;
}

/// Given an open database file that is removed or replaced by its copy, nothing is acknowledged after that, and the server recovers when
/// the file is put back.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_removed_under_a_server_acknowledges_nothing() {
    for (suffixes, is_replaced) in
        [(&FILES[..1], false), (&FILES[1..2], false), (&FILES[..], false), (&FILES[..1], true)]
    {
        let mut hub = Hub::start_with(Database::Sqlite, LIVELY).await;
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        let database = hub.data_dir().join("policyhub.db");
        let aside = |suffix: &str| hub.dir.path().join(format!("aside{suffix}"));
        for suffix in suffixes {
            fs::rename(with_suffix(&database, suffix), aside(suffix)).expect("moved");
            if is_replaced {
                fs::copy(aside(suffix), with_suffix(&database, suffix)).expect("copied");
            }
        }
        let error = client.draft(draft_request("q", "a: 1")).await.expect_err("no start would find it");
        assert_eq!(error.code(), Code::Unavailable, "{error:?}");
        until_database_up(&hub, false).await;
        let error = client.draft(draft_request("q", "a: 1")).await.expect_err("no start would find it");
        assert_eq!(error.reason(), "DATABASE_UNAVAILABLE", "{error:?}");
        assert!(error.message().contains("not where it was opened"), "{error:?}");
        let (status, body) = readyz(&hub);
        assert!(status == 503 && body.contains("policyhub.db"), "{status} {body}");
        let log = hub.log.lock().expect("the log").clone();
        assert!(log.lines().any(|line| line.contains("ERROR") && line.contains("puts its files back")), "{log}");
        for suffix in suffixes {
            fs::rename(aside(suffix), with_suffix(&database, suffix)).expect("moved back");
        }
        until_ready(&hub).await;
        draft(&client, "r", "a: 1").await;
        hub.kill().await;
        let hub = hub.restart().await;
        assert_eq!(active(&hub.client().await, "p").await, 1);
        draft(&hub.client().await, "r", "a: 2").await;
    }
}

/// The check runs while nobody writes.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_removed_is_noticed_without_a_write() {
    let hub = Hub::start_with(Database::Sqlite, LIVELY).await;
    fs::remove_file(hub.data_dir().join("policyhub.db-wal")).expect("removed");
    until("not ready", || readyz(&hub).0 == 503).await;
}

/// `restore --force` of another store moves away the files that would refuse the next start.
#[tokio::test]
async fn a_restored_other_store_starts() {
    let (hub, data, _) = ended().await;
    let mut other = Hub::start_with(Database::Sqlite, LIVELY).await;
    release(&other.client().await, "p", "b: 1").await;
    let file = hub.dir.path().join("b");
    backup(&other, &file);
    other.kill().await;
    fails(on(&data, "restore", &file, &[]), "say --force to replace one store by another");
    let seen = fs::read(data.join("high-water.json")).expect("what was seen");
    // All names for the other store's high-water file are taken, so nothing is changed.
    let aside = |number: u32| data.join(format!("high-water.json.replaced-{number}"));
    (1..=100).for_each(|number| fs::write(aside(number), "").expect("written"));
    let before = heads(&data.join("policyhub.db"));
    fails(on(&data, "restore", &file, &["--force"]), "nothing was restored: there are 100 files named");
    assert_eq!(heads(&data.join("policyhub.db")), before);
    (1..=100).for_each(|number| fs::remove_file(aside(number)).expect("removed"));
    let restored = document(on(&data, "restore", &file, &["--force"]));
    let kept = restored["high_water_kept_as"].as_str().expect("a name");
    assert_eq!(fs::read(kept).expect("kept"), seen);
    assert!(!data.join("high-water.json").exists());
    assert_eq!(heads(&data.join("policyhub.db")), heads(&file));
}

/// Given a backup path that SQLite itself uses beside the database, the command refuses it.
#[tokio::test]
async fn no_backup_takes_the_name_of_a_part_of_the_database() {
    let hub = Hub::start_with(Database::Sqlite, LIVELY).await;
    release(&hub.client().await, "p", "a: 1").await;
    let database = hub.data_dir().join("policyhub.db");
    for suffix in ["-wal", "-shm", "-journal"] {
        fails(on(&hub.data_dir(), "backup", &with_suffix(&database, suffix), &["--force"]), "under that name");
    }
    assert_eq!(readyz(&hub), (200, "ok\n".to_owned()));
}
