//! A disk that fails on request: a shim between a server and the C library, and the rules that the shim reads.
//!
//! The shim (`disk_error.c`) is built by the machine's C compiler for each disk, in the directory of its test. Boundary: this module decides which calls fail and
//! with which error; what must follow is for the test to say.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `errno` of an input or output error.
pub const EIO: i32 = 5;
/// `errno` of a full disk.
pub const ENOSPC: i32 = 28;
/// `errno` of a file system that was mounted read-only.
pub const EROFS: i32 = 30;

/// No error: the call waits until the disk is healed, and then succeeds.
pub const HANGS: i32 = 0;

/// The kind of call that fails.
#[derive(Debug, Clone, Copy)]
pub enum DiskOperation {
    /// A read.
    Read,
    /// A write.
    Write,
    /// A write that writes half of its bytes; later writes fail.
    ShortWrite,
    /// A flush.
    Sync,
    /// A change of a file's length.
    Truncate,
    /// An open.
    Open,
    /// A rename, matched by the new path.
    Rename,
}

/// The failing disk of one process.
#[derive(Debug)]
pub struct FailingDisk {
    shim: PathBuf,
    control: PathBuf,
}

/// Builds a shim in a directory, which removes it at the end of the test, and returns its path.
fn build(directory: &Path, name: &str, source: &str) -> PathBuf {
    let object = directory.join(name);
    let flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"];
    let built = Command::new("cc").args(flags).arg(&object).arg(source).status();
    assert!(built.expect("a C compiler, `cc`").success(), "failed to build {source}");
    object
}

fn text(path: &Path) -> String {
    path.to_str().expect("a path in UTF-8").to_owned()
}

impl FailingDisk {
    /// Returns a disk on which nothing fails, with its shim and its rules in `directory`.
    pub fn new(directory: &Path) -> Self {
        let shim =
            build(directory, "disk_error.so", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/harness/disk_error.c"));
        let control = directory.join("disk-errors");
        fs::write(&control, "").expect("a control file");
        Self { shim, control }
    }

    /// Returns the environment variables of a process on this disk.
    pub fn environment(&self) -> Vec<(String, String)> {
        vec![("LD_PRELOAD".to_owned(), text(&self.shim)), ("DISK_ERROR_CONTROL".to_owned(), text(&self.control))]
    }

    /// Returns the environment of a disk that also copies each file of `database` to `durable` as it was last flushed, by the power cut
    /// shim built in `directory`. A flush that this disk refuses is not copied.
    pub fn environment_over_losing(&self, directory: &Path, database: &Path, durable: &Path) -> Vec<(String, String)> {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/power_cut.c");
        let object = build(directory, "power_cut.so", source);
        let mut environment = self.environment();
        for (name, value) in &mut environment {
            if name == "LD_PRELOAD" {
                *value = format!("{}:{value}", object.display());
            }
        }
        environment.push(("POWER_CUT_WATCHED".to_owned(), text(database)));
        environment.push(("POWER_CUT_DURABLE".to_owned(), text(durable)));
        environment
    }

    /// Lets calls on files whose paths end in one of `suffixes` fail with `errno`: `count` of them (0: all), beginning with the `first` (1:
    /// the next). Replaces the earlier rules.
    pub fn fail(&self, operation: DiskOperation, first: u32, count: u32, errno: i32, suffixes: &[&str]) {
        let rule = |suffix: &&str| format!("{} {first} {count} {errno} {suffix}\n", word(operation));
        self.set(&suffixes.iter().map(rule).collect::<String>());
    }

    /// Lets every call on files whose paths end in one of `suffixes` fail with `errno`.
    pub fn fail_all(&self, operations: &[DiskOperation], errno: i32, suffixes: &[&str]) {
        let rules = operations
            .iter()
            .flat_map(|operation| suffixes.iter().map(|suffix| format!("{} 1 0 {errno} {suffix}\n", word(*operation))));
        self.set(&rules.collect::<String>());
    }

    /// Removes all rules, so that nothing fails.
    pub fn heal(&self) {
        self.set("");
    }

    /// Replaces the rules atomically, so that the shim never reads half of them.
    fn set(&self, rules: &str) {
        let new = self.control.with_extension("new");
        fs::write(&new, rules).expect("the rules");
        fs::rename(&new, &self.control).expect("the rules");
    }

    /// Returns how many calls have failed so far.
    pub fn failures(&self) -> usize {
        let failed = self.control.with_extension("failed");
        fs::read_to_string(failed).unwrap_or_default().lines().count()
    }
}

fn word(operation: DiskOperation) -> &'static str {
    match operation {
        DiskOperation::Read => "read",
        DiskOperation::Write => "write",
        DiskOperation::ShortWrite => "short",
        DiskOperation::Sync => "sync",
        DiskOperation::Truncate => "truncate",
        DiskOperation::Open => "open",
        DiskOperation::Rename => "rename",
    }
}
