//! A disk that fails on request: a shim between a server and the C library, and the rules it reads.
//!
//! The shim (`disk_error.c`) is built by the machine's C compiler at its first use. Boundary: which calls fail, and which
//! error they answer; what must follow is the test's to say.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// `errno` of an input or output error.
pub const EIO: i32 = 5;
/// `errno` of a full disk.
pub const ENOSPC: i32 = 28;
/// `errno` of a file system that was mounted read-only.
pub const EROFS: i32 = 30;

/// No error: the call waits until the disk is healed, and then works.
pub const HANGS: i32 = 0;

/// Says what fails.
#[derive(Debug, Clone, Copy)]
pub enum DiskOperation {
    /// A read.
    Read,
    /// A write.
    Write,
    /// A write that writes half of its bytes; the writes after it fail.
    ShortWrite,
    /// A flush.
    Sync,
    /// A change of a file's length.
    Truncate,
    /// An open.
    Open,
    /// A rename, by the new path.
    Rename,
}

/// The disk under one process.
#[derive(Debug)]
pub struct FailingDisk {
    control: PathBuf,
}

/// Returns the shared object, built once a run.
fn shim() -> &'static Path {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| {
        let directory = std::env::temp_dir().join(format!("policyhub-disk-error-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a temporary directory");
        let object = directory.join("disk_error.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/harness/disk_error.c");
        let flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"];
        let built = Command::new("cc").args(flags).arg(&object).arg(source).status();
        assert!(built.expect("a C compiler, `cc`").success(), "failed to build the shim of the failing disk");
        object
    })
}

impl FailingDisk {
    /// Returns a disk that works, with its rules in `directory`.
    pub fn new(directory: &Path) -> Self {
        let control = directory.join("disk-errors");
        fs::write(&control, "").expect("a control file");
        Self { control }
    }

    /// Returns the environment of a process on this disk.
    pub fn environment(&self) -> Vec<(String, String)> {
        let text = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
        vec![("LD_PRELOAD".to_owned(), text(shim())), ("DISK_ERROR_CONTROL".to_owned(), text(&self.control))]
    }

    /// Returns the same on a disk that keeps a copy of each file of `database` in `durable` as it was flushed last: the shim of the power
    /// cut, built in `directory`. A flush that this disk refuses is none for it.
    pub fn environment_over_losing(&self, directory: &Path, database: &Path, durable: &Path) -> Vec<(String, String)> {
        let object = directory.join("power_cut.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/power_cut.c");
        let flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"];
        let built = Command::new("cc").args(flags).arg(&object).arg(source).status();
        assert!(built.expect("a C compiler, `cc`").success(), "failed to build the shim of the power cut");
        let mut environment = self.environment();
        for (name, value) in &mut environment {
            if name == "LD_PRELOAD" {
                *value = format!("{}:{value}", object.display());
            }
        }
        let text = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
        environment.push(("POWER_CUT_WATCHED".to_owned(), text(database)));
        environment.push(("POWER_CUT_DURABLE".to_owned(), text(durable)));
        environment
    }

    /// From now on, of the calls on files whose paths end in `suffix`, those from the `first` (1: the next) on fail with
    /// `errno`, `count` of them, 0 for all that follow. The rules before no longer hold.
    pub fn fail(&self, operation: DiskOperation, first: u32, count: u32, errno: i32, suffixes: &[&str]) {
        let rule = |suffix: &&str| format!("{} {first} {count} {errno} {suffix}\n", word(operation));
        self.set(&suffixes.iter().map(rule).collect::<String>());
    }

    /// Every call on the files whose paths end so fails with `errno`, from now on.
    pub fn fail_all(&self, operations: &[DiskOperation], errno: i32, suffixes: &[&str]) {
        let rules = operations
            .iter()
            .flat_map(|operation| suffixes.iter().map(|suffix| format!("{} 1 0 {errno} {suffix}\n", word(*operation))));
        self.set(&rules.collect::<String>());
    }

    /// Nothing fails any more.
    pub fn heal(&self) {
        self.set("");
    }

    /// Replaced at once: the shim never reads half of the rules.
    fn set(&self, rules: &str) {
        let new = self.control.with_extension("new");
        fs::write(&new, rules).expect("the rules");
        fs::rename(&new, &self.control).expect("the rules");
    }

    /// Returns how many calls failed so far.
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
