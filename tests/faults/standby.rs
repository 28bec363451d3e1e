//! A standby of PostgreSQL that streams, is disconnected, and is promoted without the tail.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::database::Postgres;
use super::server::steady_port;

/// How long creating a standby may take, and how long until it has caught up with its primary.
const STEP_MAX: Duration = Duration::from_secs(60);

impl Postgres {
    fn standby_data(&self) -> PathBuf {
        self.data.with_file_name("standby")
    }

    /// Runs a program of PostgreSQL and waits until it ends.
    pub(super) fn run(&self, name: &str, arguments: &[&str]) -> Result<(), String> {
        let status = self.program(name).args(arguments).status().map_err(|error| error.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("{name} {arguments:?} failed: {status}")) }
    }

    /// Creates an asynchronous standby of the primary, and starts it on a port of its own.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_standby(&self) -> Result<(), String> {
        let (data, port) = (self.standby_data(), self.cluster.port.to_string());
        if data.exists() {
            fs::remove_dir_all(&data).map_err(|error| error.to_string())?;
        }
        let data = data.display().to_string();
        let base = ["-D", &data, "-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-R", "--checkpoint=fast"];
        self.run("pg_basebackup", &base)?;
        let (log, port) = (format!("{data}.log"), format!("-p {}", steady_port()));
        self.run("pg_ctl", &["start", "-s", "-w", "-t", "60", "-D", &data, "-l", &log, "-o", &port])
    }

    /// Stops the standby, once it has everything that the primary had when this call began.
    ///
    /// # Errors
    /// When it does not get that far.
    pub fn cut_standby_off(&self) -> Result<(), String> {
        let has = self.cluster.psql("postgres", "SELECT pg_current_wal_flush_lsn()");
        let sql = format!("SELECT count(*) FROM pg_stat_replication WHERE flush_lsn >= '{has}'::pg_lsn");
        let deadline = Instant::now() + STEP_MAX;
        while self.cluster.psql("postgres", &sql) != "1" {
            if Instant::now() > deadline {
                return Err(format!("the standby did not come to {has} in {STEP_MAX:?}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.run("pg_ctl", &["stop", "-s", "-w", "-m", "fast", "-D", &self.standby_data().display().to_string()])
    }

    /// Kills the primary, and promotes the standby on the primary's port, on a new timeline.
    ///
    /// # Errors
    /// When it is not promoted.
    pub fn promote_standby(&self) -> Result<(), String> {
        self.kill();
        fs::remove_dir_all(&self.data).map_err(|error| error.to_string())?;
        fs::rename(self.standby_data(), &self.data).map_err(|error| error.to_string())?;
        self.start_again();
        self.run("pg_ctl", &["promote", "-s", "-w", "-t", "60", "-D", &self.data.display().to_string()])
    }
}
