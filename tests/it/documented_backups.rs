//! The commands of "Backup and restore" in docs/operations/backup.md, run as written, on separate databases.
//!
//! Only the directories of the page (`/mnt/…`) are replaced. The line above a block says which user runs it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use crate::epochs::writes_go_on;
use crate::harness::calls::{active, release};
use crate::harness::hub::BINARY;
use crate::harness::postgres::Cluster;
use crate::harness::watching::LIVELY;
use crate::harness::{Database, Hub};

/// Returns the shell blocks of a part of the page, in order: the user and the text of each.
fn blocks(part: &str) -> Vec<(String, String)> {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations/backup.md")).expect("the page");
    let part = part_of(&page, part);
    let (mut found, mut before, mut lines) = (Vec::new(), "", part.lines());
    while let Some(line) = lines.next() {
        if line == "```sh" {
            let who = before.strip_prefix("<!-- run by: ").and_then(|who| who.strip_suffix(" -->"));
            let who = who.unwrap_or_else(|| panic!("a block does not say who runs it, after {before:?}"));
            let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            found.push((who.to_owned(), text.join("\n")));
        }
        before = line;
    }
    found
}

fn part_of<'a>(page: &'a str, part: &str) -> &'a str {
    let (_, part) = page.split_once(&format!("\n### {part}\n")).unwrap_or_else(|| panic!("no part {part:?}"));
    let end = part.find("\n## ").unwrap_or(part.len()).min(part.find("\n### ").unwrap_or(part.len()));
    &part[..end]
}

/// The directories of the page, writable for everybody.
struct Mounts(tempfile::TempDir);

impl Mounts {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["", "backups", "archive"] {
            let path = dir.path().join(name);
            fs::create_dir_all(&path).expect("a directory");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("a mode");
        }
        Self(dir)
    }

    fn here(&self, text: &str) -> String {
        text.replace("/mnt", &self.0.path().display().to_string())
    }
}

/// Runs a block as the user that the page names.
fn run(block: &(String, String), mounts: &Mounts, cluster: Option<&Cluster>, environment: &BTreeMap<&str, String>) {
    let text = mounts.here(&block.1);
    let mut command = match (block.0.as_str(), cluster) {
        ("database administrator", Some(cluster)) => cluster.shell(&text),
        ("operator", _) => {
            let mut command = Command::new("bash");
            let path = Path::new(BINARY).parent().expect("a directory").display().to_string();
            let path = format!("{path}:{}", std::env::var("PATH").expect("PATH"));
            command.args(["-euc", &text]).env("PATH", path);
            command
        }
        (who, _) => panic!("nobody here is {who}"),
    };
    let Output { status, stdout, stderr } = command.envs(environment).output().expect("bash runs");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(status.success(), "{text}\n{}{}", said(&stdout), said(&stderr));
}

fn settings(hub: &Hub) -> BTreeMap<&'static str, String> {
    let url = hub.database_url.clone();
    BTreeMap::from([("POLICYHUB_DATA_DIR", hub.data_dir().display().to_string()), ("POLICYHUB_DATABASE_URL", url)])
}

/// Runs the first blocks, which make a backup while the server runs, and the others, which restore it: then later changes are gone, and the
/// epoch is raised.
async fn walk(part: &str, mut hub: Hub, cluster: Option<&Cluster>, restored_database: &str) {
    let (mounts, blocks) = (Mounts::new(), blocks(part));
    let mut environment = settings(&hub);
    let url = hub.database_url.clone();
    let restored_url = url.rsplit_once('/').map(|(server, _)| format!("{server}/{restored_database}"));
    if !restored_database.is_empty() {
        environment.insert("RESTORED_DATABASE_URL", restored_url.clone().expect("a URL"));
    }
    if let Some(cluster) = cluster {
        environment.insert("ADMIN_DATABASE_URL", cluster.url("postgres"));
        environment.insert("RESTORED_ADMIN_DATABASE_URL", cluster.url(restored_database));
    }
    let client = hub.client().await;
    release(&client, "p", "a: 1").await;
    run(&blocks[0], &mounts, cluster, &environment);
    release(&client, "p", "a: 2").await;
    hub.signal("TERM");
    assert!(hub.ended().await.success());
    for block in &blocks[1..] {
        run(block, &mounts, cluster, &environment);
    }
    if cluster.is_none() {
        let bump = ("operator".to_owned(), "policyhub epoch bump --accept-loss".to_owned());
        run(&bump, &mounts, None, &environment);
    }
    let url = if restored_database.is_empty() { url } else { restored_url.expect("a URL") };
    let migrate: &[&str] = if cluster.is_some() { &["--migrate=false"] } else { &[] };
    let hub = Hub::start_on(hub.dir.clone(), url, &[LIVELY, migrate].concat()).await;
    let client = hub.client().await;
    assert_eq!(active(&client, "p").await, 1, "what came after the backup is gone");
    writes_go_on(&client, "p").await;
    let log = crate::harness::watching::log(&client).await;
    assert_eq!(log.last().and_then(|event| event.cursor).map(|cursor| cursor.epoch), Some(2));
}

#[tokio::test]
async fn sqlite_as_written() {
    walk("SQLite", Hub::start_with(Database::Sqlite, LIVELY).await, None, "").await;
}

#[tokio::test]
async fn a_dump_of_postgresql_as_written() {
    let cluster = Cluster::start(&[]);
    let dir = Arc::new(tempfile::tempdir().expect("a directory"));
    // With the roles of the page: the serving role neither owns tables nor creates databases.
    let owned = cluster.create_database();
    let database = owned.rsplit('/').next().expect("a name");
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations/deploy.md")).expect("the page");
    let (_, sql) = part_of(&page, "Roles of the database").split_once("```sql\n").expect("the roles");
    cluster.psql(database, sql.split_once("```").expect("its end").0);
    let of = |role: &str| owned.replacen("postgres@", &format!("{role}@"), 1);
    let migrated = Command::new(BINARY)
        .arg("migrate")
        .arg("--data-dir")
        .arg(dir.path().join("data"))
        .env("POLICYHUB_DATABASE_URL", of("policyhub_migrator"))
        .output()
        .expect("the binary runs");
    assert!(migrated.status.success(), "{migrated:?}");
    let hub = Hub::start_on(dir, of("policyhub_server"), &[LIVELY, &["--migrate=false"]].concat()).await;
    walk("PostgreSQL: a dump", hub, Some(&cluster), "policyhub_restored").await;
}

#[tokio::test]
async fn a_base_backup_and_its_archive_as_written() {
    const PART: &str = "PostgreSQL: base backup and archived WAL";
    let (mounts, blocks) = (Mounts::new(), blocks(PART));
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations/backup.md")).expect("the page");
    let (_, configuration) = part_of(&page, PART).split_once("```ini\n").expect("the configuration");
    let configuration = mounts.here(configuration.split_once("```").expect("its end").0);
    let setting = |line| str::split_once(line, " = ").map(|(name, value)| (name, value.trim_matches('\'')));
    let extra: Vec<(&str, &str)> = configuration.lines().filter_map(setting).collect();
    assert_eq!(extra.len(), 2);
    let cluster = Cluster::start(&extra);
    let (data, url) = (cluster.data(), cluster.create_database());
    let hub = Hub::start_on(Arc::new(tempfile::tempdir().expect("a directory")), url.clone(), LIVELY).await;
    let mut environment = settings(&hub);
    environment.insert("ADMIN_DATABASE_URL", cluster.url("postgres"));
    environment.insert("PGDATA", data.display().to_string());
    let client = hub.client().await;
    release(&client, "p", "a: 1").await;
    run(&blocks[0], &mounts, Some(&cluster), &environment);
    release(&client, "p", "a: 2").await;
    // An archived segment is kept, though the base backup is older.
    let segment = cluster.psql("postgres", "SELECT pg_walfile_name(pg_switch_wal())");
    while cluster.psql("postgres", "SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver") < segment {}
    release(&client, "p", "a: 3").await;
    cluster.stop(&data);
    let mut hub = hub;
    hub.kill().await;

    run(&blocks[1], &mounts, Some(&cluster), &environment);
    run(&blocks[2], &mounts, Some(&cluster), &environment);
    assert_eq!(blocks.len(), 3, "every block ran");
    let hub = hub.restart().await;
    let client = hub.client().await;
    assert_eq!(active(&client, "p").await, 2, "what was archived is there, and nothing after it");
    writes_go_on(&client, "p").await;
}
