//! A wall clock that jumps, for one process: a library that is preloaded into it.

use std::path::Path;
use std::process::Command;

const LIBRARY: &str = "shift_clock.so";
const SHIFT: &str = "clock.shift";

/// Builds the library in a directory. It is preloaded into servers that start on that directory and into commands given to [`preload`].
pub fn build(directory: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/harness/shift_clock.c");
    let flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"];
    let built = Command::new("cc").args(flags).arg(directory.join(LIBRARY)).arg(source).status();
    assert!(built.expect("cc runs").success());
    shift(directory, 0);
}

/// Copies the library to another directory, which then has a clock of its own.
pub fn copy(built: &Path, directory: &Path) {
    std::fs::copy(built.join(LIBRARY), directory.join(LIBRARY)).expect("copied");
    shift(directory, 0);
}

/// Sets the clocks of the directory to this many seconds ahead of the true time.
pub fn shift(directory: &Path, seconds: i64) {
    let (next, path) = (directory.join("clock.next"), directory.join(SHIFT));
    std::fs::write(&next, seconds.to_string()).expect("written");
    std::fs::rename(next, path).expect("renamed");
}

/// Sets the environment of a command to the clock of a directory, if there is one.
pub fn preload(directory: &Path, command: &mut Command) {
    if directory.join(LIBRARY).exists() {
        command.env("LD_PRELOAD", directory.join(LIBRARY)).env("CLOCK_SHIFT", directory.join(SHIFT));
    }
}
