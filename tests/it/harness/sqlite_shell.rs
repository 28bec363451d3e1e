//! Another process that has a SQLite database open and holds a lock or a snapshot of it.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Begins a transaction, runs one more statement, prints that it has done so, and stays until its stdin is closed.
const SCRIPT: &str = "import sqlite3,sys\nc=sqlite3.connect(sys.argv[1],timeout=5)\n\
                      for s in sys.argv[2:]:\n c.execute(s).fetchall()\nprint(1,flush=True);sys.stdin.read()";

/// The process.
pub struct SqliteShell(Child);

impl SqliteShell {
    /// Holds the write lock, so that nobody else can write.
    pub fn writing(database: &Path) -> Self {
        Self::start(database, &["BEGIN IMMEDIATE"])
    }

    /// Holds a read snapshot of the current state.
    pub fn reading(database: &Path) -> Self {
        Self::start(database, &["BEGIN", "SELECT * FROM namespaces"])
    }

    fn start(database: &Path, statements: &[&str]) -> Self {
        let mut command = Command::new("python3");
        command.args(["-c", SCRIPT]).arg(database).args(statements).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("python3 runs");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("stdout")).read_line(&mut line).expect("a line");
        assert_eq!(line, "1\n", "it holds what it shall");
        Self(child)
    }

    /// Ends the process in order.
    pub fn end(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().expect("an end").success());
    }
}

impl Drop for SqliteShell {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
