//! The server process.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use policyhub::client::Client;
use tempfile::TempDir;

use super::clock;
use super::disk_error::FailingDisk;
use super::postgres::Cluster;

/// The database that a server runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Database {
    Sqlite,
    Postgres,
}

/// A running server.
#[derive(Debug)]
pub struct Hub {
    child: Child,
    /// The directory that holds the server's data and, with SQLite, its database.
    pub dir: Arc<TempDir>,
    pub database_url: String,
    /// The gRPC address, `http://…`.
    pub grpc: String,
    /// The address of the HTTP port, `http://…`.
    pub http: String,
    /// The address of the console, `http://…` or `https://…`.
    pub console: String,
    /// What the server has logged so far.
    pub log: Arc<Mutex<String>>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_policyhub");

/// Returns a command for the binary, without settings from our own environment.
pub fn binary() -> Command {
    program(Path::new(BINARY))
}

fn program(path: &Path) -> Command {
    let mut command = Command::new(path);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("POLICYHUB_")) {
        command.env_remove(name);
    }
    // Servers of tests run side by side, so none may take the default port.
    command.env("POLICYHUB_CONSOLE_ADDR", "127.0.0.1:0");
    command
}

impl Hub {
    /// Starts a server on a new database.
    pub async fn start(database: Database) -> Self {
        Self::start_with(database, &[]).await
    }

    /// Starts a server on a new database, with further arguments.
    pub async fn start_with(database: Database, arguments: &[&str]) -> Self {
        let dir = Arc::new(tempfile::tempdir().expect("a temporary directory"));
        let url = match database {
            Database::Sqlite => format!("sqlite://{}", dir.path().join("data/policyhub.db").display()),
            Database::Postgres => Cluster::shared().create_database(),
        };
        Self::start_on(dir, url, arguments).await
    }

    /// Starts a server on a directory and a database that may already hold data.
    pub async fn start_on(dir: Arc<TempDir>, database_url: String, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(ToString::to_string).collect();
        Self::start_in(dir, database_url, arguments, Vec::new()).await
    }

    /// Starts a server on a new SQLite database whose disk can fail.
    pub async fn start_on_failing_disk(arguments: &[&str]) -> (Self, FailingDisk) {
        let dir = Arc::new(tempfile::tempdir().expect("a temporary directory"));
        let disk = FailingDisk::new(dir.path());
        let url = format!("sqlite://{}", dir.path().join("data/policyhub.db").display());
        let arguments = arguments.iter().map(ToString::to_string).collect();
        (Self::start_in(dir, url, arguments, disk.environment()).await, disk)
    }

    /// Starts a server on a failing disk that also keeps what was last flushed of the database, by a shim of `tests/faults`. The third
    /// value is the directory with the flushed files.
    pub async fn start_on_losing_disk(arguments: &[&str]) -> (Self, FailingDisk, PathBuf) {
        let dir = Arc::new(tempfile::tempdir().expect("a temporary directory"));
        let (disk, durable) = (FailingDisk::new(dir.path()), dir.path().join("durable"));
        std::fs::create_dir(&durable).expect("a directory");
        let database = dir.path().join("data/policyhub.db");
        let environment = disk.environment_over_losing(dir.path(), &database, &durable);
        let arguments = arguments.iter().map(ToString::to_string).collect();
        let url = format!("sqlite://{}", database.display());
        (Self::start_in(dir, url, arguments, environment).await, disk, durable)
    }

    /// Starts a server on a new SQLite database from a copy of the binary.
    pub async fn start_program(program: &Path) -> Self {
        let dir = Arc::new(tempfile::tempdir().expect("a temporary directory"));
        let url = format!("sqlite://{}", dir.path().join("data/policyhub.db").display());
        let program = program.to_owned();
        let spawned = tokio::task::spawn_blocking(move || spawn(program, dir, url, Vec::new(), Vec::new()));
        spawned.await.expect("the server starts")
    }

    async fn start_in(
        dir: Arc<TempDir>,
        database_url: String,
        arguments: Vec<String>,
        environment: Vec<(String, String)>,
    ) -> Self {
        let spawned =
            tokio::task::spawn_blocking(move || spawn(BINARY.into(), dir, database_url, arguments, environment));
        spawned.await.expect("the server starts")
    }

    /// Starts the server again with the same directory, database and arguments. The process must have ended.
    pub async fn restart(self) -> Self {
        let (dir, url) = (self.dir.clone(), self.database_url.clone());
        let (arguments, environment) = (self.arguments.clone(), self.environment.clone());
        drop(self);
        Self::start_in(dir, url, arguments, environment).await
    }

    /// Stops the server in order and starts it again.
    pub async fn restart_in_order(mut self) -> Self {
        self.signal("TERM");
        assert!(self.ended().await.success(), "the server must end in order");
        self.restart().await
    }

    /// Returns whether the server logged this text since its start.
    pub fn has_logged(&self, words: &str) -> bool {
        self.log.lock().expect("the log").contains(words)
    }

    /// Returns the port of its gRPC address.
    pub fn grpc_port(&self) -> u16 {
        self.grpc.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
    }

    /// Returns the data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Returns the admin's token.
    pub fn token(&self) -> String {
        std::fs::read_to_string(self.data_dir().join("admin.token")).expect("admin.token").trim().to_owned()
    }

    /// Returns a client as the admin.
    pub async fn client(&self) -> Client {
        self.client_with(Some(self.token())).await
    }

    /// Returns a client with another token, or none.
    pub async fn client_with(&self, token: Option<String>) -> Client {
        Client::connect(&self.grpc, token, None).await.expect("a connection")
    }

    /// Returns a command line client against this server; the caller adds a command.
    pub fn cli(&self) -> Command {
        let mut command = binary();
        command.env("POLICYHUB_SERVER", &self.grpc).env("POLICYHUB_DATA_DIR", self.data_dir());
        command
    }

    /// Returns the server's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns whether the process is running.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// Sends a signal: "TERM", "KILL", "STOP", "CONT".
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success(), "failed to send SIG{name}");
    }

    /// Waits until the process ends.
    pub async fn ended(&mut self) -> ExitStatus {
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    /// Kills the process as a crash would.
    pub async fn kill(&mut self) {
        self.signal("KILL");
        self.ended().await;
    }

    /// Returns the revision up to which `high-water.json` says that a log was seen: it has a document, and a line for each later save.
    pub fn seen_revision(&self, namespace: &str) -> Option<i64> {
        let text = std::fs::read_to_string(self.data_dir().join("high-water.json")).unwrap_or_default();
        let kept = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let revision = |kept: serde_json::Value| kept.get("heads").unwrap_or(&kept)[namespace]["revision"].as_i64();
        kept.filter_map(revision).next_back()
    }

    /// Runs SQL on the database without the server, as an intruder would.
    pub fn tamper(&self, sql: &str) -> String {
        self.try_tamper(sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Runs such SQL and returns the database's error when it is refused.
    pub fn try_tamper(&self, sql: &str) -> Result<String, String> {
        match self.database_url.strip_prefix("sqlite://") {
            Some(path) => sqlite(Path::new(path), sql),
            None => {
                let name = self.database_url.rsplit('/').next().expect("a database name");
                Cluster::shared().try_psql(name, sql)
            }
        }
    }
}

/// Runs SQL through Python, which includes SQLite; the `sqlite3` shell is not installed everywhere.
fn sqlite(path: &Path, sql: &str) -> Result<String, String> {
    let script = "import sqlite3,sys\nc=sqlite3.connect(sys.argv[1],timeout=5)\nr=None\n\
                  for s in sys.argv[2].split(';;'):\n r=c.execute(s).fetchall()\nc.commit()\n\
                  print('\\n'.join('|'.join(str(v) for v in x) for x in r))";
    let output = Command::new("python3").args(["-c", script]).arg(path).arg(sql).output().expect("python3 runs");
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn spawn(
    path: PathBuf,
    dir: Arc<TempDir>,
    database_url: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
) -> Hub {
    let mut command = program(&path);
    clock::preload(dir.path(), &mut command);
    let mut child = command
        .args(["serve", "--grpc-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0", "--log-format", "json"])
        .arg("--data-dir")
        .arg(dir.path().join("data"))
        .args(["--database-url", &database_url])
        .args(&arguments)
        .envs(environment.iter().cloned())
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut lines = BufReader::new(child.stderr.take().expect("stderr")).lines();
    let log = Arc::new(Mutex::new(String::new()));
    let mut serving = None;
    for line in lines.by_ref() {
        let line = line.expect("a line");
        *log.lock().expect("the log") += &format!("{line}\n");
        let Ok(entry) = serde_json::from_str::<serde_json::Value>(&line) else { continue };
        let fields = &entry["fields"];
        if fields["message"] == "serving" {
            let address = |name: &str| fields[name].as_str().expect("an address").to_owned();
            let console = fields["console_addr"].as_str().unwrap_or_default().to_owned();
            serving = Some((address("grpc_addr"), address("http_addr"), console));
            break;
        }
    }
    let Some((grpc, http, console)) = serving else {
        let status = child.wait().expect("a child");
        panic!("the server did not start ({status}):\n{}", log.lock().expect("the log"));
    };
    let rest = Arc::clone(&log);
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            *rest.lock().expect("the log") += &format!("{line}\n");
        }
    });
    let tls = arguments.iter().any(|argument| argument == "--tls-cert");
    let scheme = if tls { "https" } else { "http" };
    let (grpc, http, console) =
        (format!("{scheme}://{grpc}"), format!("http://{http}"), format!("{scheme}://{console}"));
    Hub { child, dir, database_url, grpc, http, console, log, arguments, environment }
}

impl Drop for Hub {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("log of the server:\n{}", self.log.lock().map(|log| log.clone()).unwrap_or_default());
        }
    }
}
