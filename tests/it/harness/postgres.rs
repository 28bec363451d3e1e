//! A throwaway PostgreSQL for tests: real binaries, loopback only, durable settings on, gone when the tests are.
//!
//! Boundary: std and the binaries of an installed PostgreSQL. Invariant: a cluster never outlives its test process, not
//! even one that was killed: a shell holds the cluster and reads a pipe whose other end only the test process has.
//! Without the binaries a test panics; it never passes by not running.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

/// Runs the cluster and ends it when its standard input ends. Arguments: bin, parent, the port of a primary to follow or nothing, then
/// lines of postgresql.conf.
const KEEPER: &str = r#"
trap '' PIPE
trap : HUP INT TERM
exec 2>&1
bin=$1 parent=$2 source=$3
shift 3
umask 077
dir=$(mktemp -d "$parent/policyhub-postgres.XXXXXX") || exit 1
if [ -n "$source" ]; then
  "$bin/pg_basebackup" -D "$dir/data" -h 127.0.0.1 -p "$source" -U postgres -R --checkpoint=fast >"$dir/log" 2>&1
else
  "$bin/initdb" -D "$dir/data" -U postgres -A trust --no-sync -E UTF8 --locale=C >"$dir/log" 2>&1
fi &&
  printf '%s\n' "$@" >>"$dir/data/postgresql.conf" &&
  "$bin/pg_ctl" start -s -w -t 60 -D "$dir/data" -l "$dir/log" >>"$dir/log" 2>&1 &&
  echo ready && read -r _
[ -s "$dir/data/postmaster.pid" ] && "$bin/pg_ctl" stop -s -m immediate -D "$dir/data" >>"$dir/log" 2>&1
cat "$dir/log"
rm -rf "$dir"
"#;

/// Free memory that a cluster may need, in KiB. With less, the data is not kept in memory.
const MEMORY_WANTED_KIB: u64 = 1024 * 1024;

/// How many ports are tried when another process takes the chosen port before it is used.
const PORT_ATTEMPTS: usize = 8;

/// A running PostgreSQL. Dropping it stops it and removes its files.
pub struct Cluster {
    pub(super) bin: PathBuf,
    /// The port that it listens on.
    pub port: u16,
    keeper: Child,
    databases: AtomicU64,
    /// The frozen processes.
    pub(super) stopped: Mutex<Vec<u32>>,
}

impl Cluster {
    /// Returns the cluster that the tests of this process share. It ends with the process.
    pub fn shared() -> &'static Cluster {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| Cluster::start(&[]))
    }

    /// Returns a separate cluster, for tests that break it or need other settings. These settings override the harness's.
    pub fn start(extra_settings: &[(&str, &str)]) -> Cluster {
        Self::start_after(None, extra_settings)
    }

    /// Starts an asynchronous standby of this cluster.
    pub fn standby(&self) -> Cluster {
        Self::start_after(Some(self.port), &[])
    }

    fn start_after(source: Option<u16>, extra_settings: &[(&str, &str)]) -> Cluster {
        let bin = binaries();
        let mut said = String::new();
        for _ in 0..PORT_ATTEMPTS {
            let port = free_port();
            match keep(&bin, port, source, extra_settings) {
                Ok(keeper) => {
                    let databases = AtomicU64::new(0);
                    let cluster = Cluster { bin, port, keeper, databases, stopped: Mutex::default() };
                    return cluster;
                }
                Err(log) if log.contains("could not bind") || log.contains("could not create any TCP/IP") => said = log,
                Err(log) => panic!("failed to start PostgreSQL from {}:\n{log}", bin.display()),
            }
        }
        panic!("failed to find a free port for PostgreSQL in {PORT_ATTEMPTS} attempts:\n{said}");
    }

    /// Returns the URL of a database of this cluster.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Creates an empty database for one test and returns its URL.
    pub fn create_database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("CREATE DATABASE {name} TEMPLATE template0"));
        self.url(&name)
    }

    /// Runs SQL as superuser in one transaction and returns the rows: a line each, columns separated by `|`.
    pub fn psql(&self, database: &str, sql: &str) -> String {
        self.try_psql(database, sql).unwrap_or_else(|errors| panic!("failed to run `{sql}` on {database}: {errors}"))
    }

    /// Runs such SQL and returns PostgreSQL's error when it is refused.
    pub fn try_psql(&self, database: &str, sql: &str) -> Result<String, String> {
        let output =
            self.psql_command(database, sql).output().unwrap_or_else(|error| panic!("failed to run psql: {error}"));
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    pub(super) fn psql_command(&self, database: &str, sql: &str) -> Command {
        let mut command = Command::new(self.bin.join("psql"));
        command
            .args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1"])
            .args(["--host=127.0.0.1", "--username=postgres", "--no-password"])
            .arg(format!("--port={}", self.port))
            .arg(format!("--dbname={database}"))
            .arg(format!("--command={sql}"))
            // PG* variables of the caller would select another server.
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.go_on();
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// Starts the keeper and waits until it reports readiness. The error is everything that it printed.
fn keep(bin: &Path, port: u16, source: Option<u16>, extra_settings: &[(&str, &str)]) -> Result<Child, String> {
    let port = port.to_string();
    // fsync, full_page_writes and synchronous_commit stay on: the server under test requires them.
    let ours = [
        ("listen_addresses", "127.0.0.1"),
        ("port", port.as_str()),
        ("unix_socket_directories", ""),
        ("max_connections", "300"),
        ("max_wal_size", "256MB"),
        ("timezone", "UTC"),
    ];
    let lines =
        ours.iter().chain(extra_settings).map(|(key, value)| format!("{key} = '{}'", value.replace('\'', "''")));
    let mut command = Command::new("sh");
    let source = source.map(|port| port.to_string()).unwrap_or_default();
    command.args(["-c", KEEPER, "sh"]).arg(bin).arg(data_parent()).arg(source).args(lines);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).current_dir("/");
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("LC_ALL", "C");
    // A Ctrl-C for the tests must not end the keeper before it has removed its files.
    command.process_group(0);
    if let Some((user, group)) = unprivileged() {
        command.uid(user).gid(group);
    }
    let mut keeper = command.spawn().map_err(|error| format!("failed to run sh: {error}"))?;
    let mut said = String::new();
    for line in BufReader::new(keeper.stdout.take().ok_or("sh has no output")?).lines().map_while(Result::ok) {
        if line == "ready" {
            return Ok(keeper);
        }
        said.push_str(&line);
        said.push('\n');
    }
    let _ = keeper.wait();
    Err(said)
}

/// Returns the directory of initdb, pg_ctl, postgres and psql.
fn binaries() -> PathBuf {
    let asked = std::env::var_os("POLICYHUB_TEST_PG_BIN").map(PathBuf::from);
    let candidates = match &asked {
        Some(directory) => vec![directory.clone()],
        None => configured().into_iter().chain(installed()).collect(),
    };
    let whole = |bin: &PathBuf| ["initdb", "pg_ctl", "postgres", "psql"].iter().all(|name| bin.join(name).is_file());
    match (candidates.into_iter().find(whole), asked) {
        (Some(bin), _) => bin,
        (None, Some(asked)) => panic!("POLICYHUB_TEST_PG_BIN is {}, which holds no PostgreSQL server", asked.display()),
        (None, None) => {
            panic!("found no PostgreSQL server for the tests: run `make postgres`, or set POLICYHUB_TEST_PG_BIN")
        }
    }
}

fn configured() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").stderr(Stdio::null()).output().ok()?;
    Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
}

/// Returns the directories in which Debian and Ubuntu install PostgreSQL, newest first.
fn installed() -> Vec<PathBuf> {
    let entries = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let versions: BTreeSet<u32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    versions.iter().rev().map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin"))).collect()
}

/// Returns a memory file system when it has enough space, so that fsync is fast; otherwise the directory for temporary files.
fn data_parent() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let is_tmpfs = mounts.lines().rfind(|line| line.split(' ').nth(1) == memory.to_str()).is_some_and(|line| {
        let mut words = line.split(' ').skip(2);
        words.next() == Some("tmpfs") && words.next().is_some_and(|options| options.split(',').any(|word| word == "rw"))
    });
    if is_tmpfs && free_kib(&memory).is_some_and(|free| free >= MEMORY_WANTED_KIB) {
        memory
    } else {
        std::env::temp_dir()
    }
}

fn free_kib(directory: &Path) -> Option<u64> {
    let output = Command::new("df").args(["-P", "-k"]).arg(directory).output().ok()?;
    String::from_utf8(output.stdout).ok()?.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap_or_else(|error| panic!("failed to find a port: {error}"));
    listener.local_addr().unwrap_or_else(|error| panic!("failed to read a port: {error}")).port()
}

/// Returns the user and group to run as when this process is root, which PostgreSQL refuses; otherwise `None`.
pub(super) fn unprivileged() -> Option<(u32, u32)> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1));
    if effective != Some("0") {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let ids = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    let found = ids("postgres").or_else(|| ids("nobody"));
    Some(
        found
            .unwrap_or_else(|| panic!("PostgreSQL refuses root, and there is no user postgres or nobody to run it as")),
    )
}

#[cfg(test)]
mod tests {
    use super::Cluster;

    #[test]
    fn the_shared_cluster_is_durable_and_gives_each_test_its_own_database() {
        let cluster = Cluster::shared();
        for setting in ["fsync", "full_page_writes", "synchronous_commit"] {
            assert_eq!(cluster.psql("postgres", &format!("SHOW {setting}")), "on", "{setting}");
        }
        let (one, other) = (cluster.create_database(), cluster.create_database());
        assert_ne!(one, other);
        let name = one.rsplit('/').next().unwrap();
        assert_eq!(cluster.url(name), one);
        cluster.psql(name, "CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, 'x'), (2, 'y')");
        assert_eq!(cluster.psql(name, "SELECT a, b FROM t ORDER BY a"), "1|x\n2|y");
        assert_eq!(cluster.psql(other.rsplit('/').next().unwrap(), "SELECT to_regclass('t')"), "");
    }

    #[test]
    fn a_cluster_of_ones_own_takes_settings_and_ends_when_dropped() {
        let cluster = Cluster::start(&[("fsync", "off"), ("application_name", "it's")]);
        assert_eq!(cluster.psql("postgres", "SHOW fsync"), "off");
        assert_eq!(
            cluster.psql("postgres", "SELECT reset_val FROM pg_settings WHERE name = 'port'"),
            cluster.port.to_string()
        );
        let directory = cluster.psql("postgres", "SHOW data_directory");
        let port = cluster.port;
        drop(cluster);
        assert!(!std::path::Path::new(&directory).exists(), "{directory} is still there");
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap_err();
    }

    #[test]
    #[should_panic(expected = "failed to start PostgreSQL")]
    fn a_setting_that_postgresql_refuses_is_a_clear_failure() {
        Cluster::start(&[("max_connections", "many")]);
    }
}
