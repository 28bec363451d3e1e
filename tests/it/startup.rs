//! Refused starts: always with exit code 1, a message that says what to do, and nothing left behind.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Stdio};

use crate::harness::calls::{active, release};
use crate::harness::hub::binary;
use crate::harness::postgres::Cluster;
use crate::harness::{Database, Hub, on_both_databases};

/// The result of a start.
enum Start {
    /// It serves; dropping this ends it.
    Serving(Serving),
    /// It ended with this exit code and output.
    Ended { code: Option<i32>, said: String },
}

pub struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts `policyhub serve` with these arguments, and waits until it serves or has ended.
fn start(data: &Path, arguments: &[&str]) -> Start {
    let mut command = binary();
    command.arg("serve").arg("--data-dir").arg(data).args(["--log-format", "json", "--http-addr", "127.0.0.1:0"]);
    if !arguments.iter().any(|argument| argument.starts_with("--grpc-addr")) {
        command.args(["--grpc-addr", "127.0.0.1:0"]);
    }
    let mut child =
        command.args(arguments).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary runs");
    let mut said = String::new();
    for line in BufReader::new(child.stderr.take().expect("stderr")).lines().map_while(Result::ok) {
        if line.contains(r#""message":"serving""#) {
            return Start::Serving(Serving(child));
        }
        said += &line;
        said.push('\n');
    }
    Start::Ended { code: child.wait().expect("a child").code(), said }
}

/// Returns the message of a start that must be refused, which must contain all of these words.
pub fn refused(data: &Path, arguments: &[&str], words: &[&str]) -> String {
    let Start::Ended { code, said } = start(data, arguments) else { panic!("it serves with {arguments:?}") };
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("error: "), "{said}");
    for word in words {
        assert!(said.contains(word), "{said} does not say {word:?}");
    }
    for name in ["addr.json", "admin.token"] {
        assert!(!data.join(name).exists(), "{name} is left behind");
    }
    said
}

pub fn serves(data: &Path, arguments: &[&str]) -> Serving {
    match start(data, arguments) {
        Start::Serving(serving) => serving,
        Start::Ended { said, .. } => panic!("it does not serve: {said}"),
    }
}

fn directory() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let data = dir.path().join("data");
    (dir, data)
}

#[tokio::test]
async fn a_port_that_is_taken() {
    let (_dir, data) = directory();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    refused(&data, &["--grpc-addr", &address], &["failed to listen on", &address, "--grpc-addr", "port 0"]);
    drop(taken);
    // The data directory was released: the same start works now.
    serves(&data, &["--grpc-addr", &address]);
}

/// Returns what a server with a new data directory prints on a terminal until it serves.
fn on_a_terminal(data: &Path, arguments: &str) -> String {
    let policyhub = binary().get_program().to_string_lossy().into_owned();
    let serve = format!("exec '{policyhub}' serve --data-dir '{}' {arguments}", data.display());
    let mut command = std::process::Command::new("script");
    command.args(["--quiet", "--flush", "--command", &serve, "/dev/null"]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut terminal = command.spawn().expect("script, of util-linux");
    let mut said = String::new();
    for line in BufReader::new(terminal.stdout.take().expect("stdout")).lines().map_while(Result::ok) {
        said += line.trim_end();
        said.push('\n');
        if line.contains("policyhub help") {
            break;
        }
    }
    // The server ends with its terminal.
    let _ = terminal.kill();
    let _ = terminal.wait();
    said
}

#[tokio::test]
async fn who_starts_it_on_a_terminal_is_told_where_everything_is() {
    let (_dir, data) = directory();
    let said = on_a_terminal(&data, "--grpc-addr 127.0.0.1:0 --http-addr 127.0.0.1:0 --console-addr 127.0.0.1:0");
    let data = data.display().to_string();
    for words in [
        &format!("database     SQLite, {data}/policyhub.db"),
        &format!("admin token  {data}/admin.token"),
        "gRPC         http://127.0.0.1:",
        "HTTP         http://127.0.0.1:",
        "console      http://127.0.0.1:",
        &format!("export POLICYHUB_DATA_DIR='{data}'"),
        "export POLICYHUB_SERVER=http://127.0.0.1:",
        "policyhub draft my-policy my-policy.yaml --create",
    ] {
        assert!(said.contains(words), "{said} does not say {words:?}");
    }
    assert!(!said.contains("signing again") && !said.contains("audit_interval_ms"), "{said}");
    assert!(said.lines().all(|line| line.len() < 200), "{said}");
}

/// Given a data directory with its database, both use the same lock file.
#[tokio::test]
async fn one_lock_file_is_left() {
    let (_dir, data) = directory();
    drop(serves(&data, &[]));
    let names = std::fs::read_dir(&data).expect("a directory").map(|entry| entry.expect("an entry").file_name());
    let locks = names.filter(|name| name.to_string_lossy().ends_with("server.lock"));
    assert_eq!(locks.collect::<Vec<_>>(), ["policyhub.server.lock"]);
}

#[tokio::test]
async fn a_database_file_of_a_server_that_runs() {
    let hub = Hub::start(Database::Sqlite).await;
    let (_dir, data) = directory();
    refused(&data, &["--database-url", &hub.database_url], &["used by a policyhub that is running", "PostgreSQL"]);
    release(&hub.client().await, "p", "a: 1").await;
}

#[tokio::test]
async fn a_data_directory_of_a_server_that_runs() {
    let hub = Hub::start(Database::Sqlite).await;
    let said = match start(&hub.data_dir(), &[]) {
        Start::Ended { code: Some(1), said } => said,
        _ => panic!("two servers in one directory"),
    };
    assert!(said.contains("belongs to a policyhub that is running") && said.contains("--data-dir"), "{said}");
    // The running server is not affected.
    release(&hub.client().await, "p", "a: 1").await;
    let address = std::fs::read_to_string(hub.data_dir().join("addr.json")).expect("addr.json");
    assert!(
        hub.grpc.ends_with(
            serde_json::from_str::<serde_json::Value>(&address).expect("json")["grpc"].as_str().expect("grpc")
        )
    );
}

#[tokio::test]
async fn keys_that_others_may_read() {
    let (_dir, data) = directory();
    drop(serves(&data, &[]));
    for name in ["signing-eddsa.pem", "seal.pem", "issuer.pem"] {
        let path = data.join("keys").join(name);
        std::fs::remove_file(data.join("admin.token")).ok();
        std::fs::remove_file(data.join("addr.json")).ok();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("chmod");
        refused(&data, &[], &[name, "0644", "chmod 600"]);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
    }
    serves(&data, &[]);
}

#[tokio::test]
async fn configuration_that_can_not_be_meant() {
    let (dir, data) = directory();
    let file = dir.path().join("hub.toml");
    std::fs::write(&file, "heartbeat_interval_ms = 1000\nheartbeet = 3\n").expect("a file");
    let config = file.display().to_string();
    refused(&data, &["--config", &config], &["heartbeet", "line 2", "hub.toml"]);
    refused(&data, &["--heartbeat-interval-ms", "99"], &["heartbeat_interval_ms", "100 to 10000"]);
    refused(&data, &["--tls-cert", "x.pem"], &["tls_key", "is needed with tls_cert"]);
    refused(&data, &["--database-url", "mysql://root:hunter2@db/x"], &["database_url", "postgres://"]);
    assert!(!data.exists(), "a configuration that can't be used touches nothing");
}

#[tokio::test]
async fn a_password_is_not_repeated() {
    let (_dir, data) = directory();
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address").port()
    };
    // However it is written, and at any log level.
    for url in [
        format!("postgres://hub:hunter2@127.0.0.1:{closed}/x"),
        format!("postgres://hub:%68unter2@127.0.0.1:{closed}/x"),
        format!("postgres://hub@127.0.0.1:{closed}/x?password=hunter2"),
        format!("postgres://hub@127.0.0.1:{closed}/x?options[a.b]=hunter2"),
    ] {
        for level in ["info", "trace"] {
            let arguments = ["--database-url", &url, "--log-level", level];
            let said = refused(&data, &arguments, &["failed to reach the database"]);
            assert!(!said.contains("hunter2") && !said.contains("%68unter2"), "{said}");
        }
    }
    // Nor in a part of the URL that the driver does not know and would log.
    for (secret, says) in [
        ("?sslpassword=hunter2", "sslpassword"),
        ("?sslMode=verify-full&password=hunter2", "write it sslmode"),
        ("?hunter2=1", "not known and not repeated"),
        ("#hunter2", "percent-encoded"),
    ] {
        let url = format!("postgres://hub@127.0.0.1:{closed}/x{secret}");
        for key in ["--database-url", "--listen-url"] {
            let said = refused(&data, &[key, &url], &[&key.trim_start_matches('-').replace('-', "_"), says]);
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
}

#[tokio::test]
async fn plaintext_beyond_loopback() {
    let (_dir, data) = directory();
    refused(&data, &["--grpc-addr", "0.0.0.0:0"], &["grpc_addr", "tls_cert", "insecure_plaintext"]);
    serves(&data, &["--grpc-addr", "0.0.0.0:0", "--insecure-plaintext"]);
}

/// Starts on the database of a server that ended, which must be refused.
fn refused_on(hub: &Hub, arguments: &[&str], words: &[&str]) {
    let (_dir, data) = directory();
    let keys = hub.data_dir().join("keys").display().to_string();
    refused(&data, &[&["--database-url", &hub.database_url, "--keys-dir", &keys], arguments].concat(), words);
}

on_both_databases! {
    async fn a_newer_schema(hub: Hub) {
        let mut hub = hub;
        hub.kill().await;
        hub.tamper("INSERT INTO seaql_migrations (version, applied_at) VALUES ('m29990101_000001_future', 1)");
        for migrate in ["--migrate=true", "--migrate=false"] {
            refused_on(&hub, &[migrate], &["m29990101_000001_future", "newer", "run a policyhub at least as new"]);
        }
        let output = binary().args(["migrate", "--database-url", &hub.database_url]).output().expect("the binary runs");
        assert_eq!(output.status.code(), Some(1));
        hub.tamper("DELETE FROM seaql_migrations WHERE version = 'm29990101_000001_future'");
        hub.restart().await;
    }

    async fn keys_of_another_server(hub: Hub) {
        let mut hub = hub;
        release(&hub.client().await, "p", "a: 1").await;
        hub.kill().await;
        let (_dir, data) = directory();
        let url = ["--database-url", &hub.database_url];
        refused(&data, &url, &["was made with seal key", "give it the same keys, or another database"]);
        // The database is unchanged.
        let hub = hub.restart().await;
        assert_eq!(active(&hub.client().await, "p").await, 1);
    }

}

on_both_databases! {
    async fn an_older_schema_that_it_may_not_migrate(database: Database) {
        let (dir, data) = directory();
        let url = match database {
            Database::Sqlite => format!("sqlite://{}", dir.path().join("new.db").display()),
            Database::Postgres => Cluster::shared().create_database(),
        };
        let arguments = ["--database-url", &url, "--migrate=false"];
        refused(&data, &arguments, &["older schema", "run `policyhub migrate` first"]);
        let migrated = binary().args(["migrate", "--database-url", &url]).status().expect("the binary runs");
        assert!(migrated.success());
        serves(&data, &arguments);
    }
}

#[tokio::test]
async fn a_postgresql_that_may_lose_what_it_acknowledged() {
    for setting in ["fsync", "full_page_writes"] {
        let cluster = Cluster::start(&[(setting, "off")]);
        let url = cluster.create_database();
        let (_dir, data) = directory();
        let words = ["may lose acknowledged writes", setting, "is off", "set it to on"];
        refused(&data, &["--database-url", &url], &words);
        let name = url.rsplit('/').next().expect("a name");
        let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
        assert_eq!(cluster.psql(name, tables), "0", "a database that is refused stays as it was");
        let migrate = binary().args(["migrate", "--database-url", &url]).output().expect("the binary runs");
        assert_eq!(migrate.status.code(), Some(1), "{}", String::from_utf8_lossy(&migrate.stderr));
    }
}
