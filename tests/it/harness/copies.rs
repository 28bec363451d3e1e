//! Backups of the embedded database: the commands, and what SQLite reads from a database file without the server.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use super::Hub;
use super::hub::binary;

/// Prints the head of every log of the database, its last event, and whether its events have no gap.
const READ_HEADS: &str = "
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
print(db.execute('pragma integrity_check').fetchall())
for row in db.execute('select id, epoch, head_revision, hex(head_hash) from namespaces order by id').fetchall():
    count, last, sealed = db.execute('select count(*), max(revision), max(length(seal)) from events where namespace = ?', row[:1]).fetchone()
    print(row, count == (last or 0) == row[2], sealed)
";

/// Returns a command line on the data directory `data`, whether a server runs there or not.
pub fn on(data: &Path, command: &str, file: &Path, flags: &[&str]) -> Command {
    let mut line = binary();
    line.env("POLICYHUB_DATA_DIR", data).arg(command).arg(file).args(flags);
    line
}

/// Runs a command and returns its exit code and output: stdout on success, otherwise stderr.
pub fn run(mut command: Command) -> (i32, String) {
    let Output { status, stdout, stderr } = command.output().expect("the binary runs");
    let said = if status.success() { stdout } else { stderr };
    (status.code().expect("an exit code"), String::from_utf8_lossy(&said).into_owned())
}

/// Runs a command that must succeed and returns the JSON document it printed.
#[track_caller]
pub fn document(command: Command) -> Value {
    let mut command = command;
    let (code, said) = run({
        command.args(["--output", "json"]);
        command
    });
    assert_eq!(code, 0, "{said}");
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{said}: {error}"))
}

/// Runs a command that must fail with a message that contains `words`.
#[track_caller]
pub fn fails(command: Command, words: &str) {
    let (code, said) = run(command);
    assert!(code == 1 && said.contains(words), "wanted {words:?}, exit code {code}: {said}");
}

/// Writes a backup of a server's database and returns the command's document.
#[track_caller]
pub fn backup(hub: &Hub, file: &Path) -> Value {
    document(on(&hub.data_dir(), "backup", file, &[]))
}

/// Returns what SQLite reads from a database and the files beside it. Works on a copy, so the original does not change.
pub fn heads(database: &Path) -> String {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let copy = dir.path().join("copy.db");
    for suffix in ["", "-wal", "-journal"] {
        let (from, to) = (with_suffix(database, suffix), with_suffix(&copy, suffix));
        if from.exists() {
            std::fs::copy(from, to).expect("a copy");
        }
    }
    let output = Command::new("python3").args(["-c", READ_HEADS]).arg(&copy).output().expect("python3 runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).expect("text");
    assert!(said.starts_with("[('ok',)]\n") && !said.contains("False"), "{said}");
    said
}

/// Returns a path with a suffix appended.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

/// Returns the names in a directory, sorted.
pub fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = entries.map(|name| name.into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

/// Returns the permission bits of a file.
pub fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("a file").permissions().mode() & 0o7777
}
