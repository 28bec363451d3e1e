//! A throwaway PgBouncer in front of a PostgreSQL. Dropping it ends it.
//!
//! Without the binary a test panics; it never passes by not running.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::postgres::{Cluster, unprivileged};

/// The longest time that a start may take.
const START_MAX: Duration = Duration::from_secs(20);
/// The number of backends: as many as the connections of one server, and some more.
const POOL: u32 = 40;

/// A running PgBouncer.
pub struct PgBouncer {
    child: Child,
    /// The port that it listens on.
    pub port: u16,
    _directory: TempDir,
}

impl PgBouncer {
    /// Starts one with this `pool_mode` in front of a cluster. Otherwise Debian's configuration applies, which ignores no startup
    /// parameter.
    pub fn before(cluster: &Cluster, mode: &str) -> Self {
        Self::with_backends(cluster, mode, POOL)
    }

    /// Starts one with at most this many backends.
    pub fn with_backends(cluster: &Cluster, mode: &str, backends: u32) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = {mode}\n\
             max_client_conn = 300\ndefault_pool_size = {backends}\n",
            cluster.port
        );
        std::fs::write(&file, text).expect("a file");
        // PgBouncer may run as another user.
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).expect("chmod");
        let mut command = Command::new(binary());
        command.arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
        if let Some((user, group)) = unprivileged() {
            command.uid(user).gid(group);
        }
        let mut child = command.spawn().expect("pgbouncer runs");
        let began = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(child.try_wait().expect("a child").is_none(), "pgbouncer ended");
            assert!(began.elapsed() < START_MAX, "pgbouncer does not listen");
            std::thread::yield_now();
        }
        Self { child, port, _directory: directory }
    }

    /// Returns the URL of a database through it.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn binary() -> PathBuf {
    let asked = std::env::var_os("POLICYHUB_TEST_PGBOUNCER").map(PathBuf::from);
    let candidates = asked.into_iter().chain(["/usr/sbin/pgbouncer".into(), "/usr/bin/pgbouncer".into()]);
    let found = candidates.into_iter().find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!("found no pgbouncer for the tests: run `make postgres`, or set POLICYHUB_TEST_PGBOUNCER")
    })
}
