//! A wall clock that jumps, for one process: a library preloaded into it.

use std::path::Path;
use std::process::Command;

const LIBRARY: &str = "shift_clock.so";
const SHIFT: &str = "clock.shift";

/// Builds the library in a directory. Servers that start on that directory have it, and so has what [`preload`] is called for.
pub fn build(directory: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/harness/shift_clock.c");
    let flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"];
    let built = Command::new("cc").args(flags).arg(directory.join(LIBRARY)).arg(source).status();
    assert!(built.expect("cc runs").success());
    shift(directory, 0);
}

/// Gives another directory the library, and a clock of its own.
pub fn copy(built: &Path, directory: &Path) {
    std::fs::copy(built.join(LIBRARY), directory.join(LIBRARY)).expect("copied");
    shift(directory, 0);
}

/// Lets the clocks of the directory jump to so many seconds ahead of the true time.
pub fn shift(directory: &Path, seconds: i64) {
    let (next, path) = (directory.join("clock.next"), directory.join(SHIFT));
    std::fs::write(&next, seconds.to_string()).expect("written");
    std::fs::rename(next, path).expect("renamed");
}

/// Gives a command the clock of a directory, if there is one.
pub fn preload(directory: &Path, command: &mut Command) {
    if directory.join(LIBRARY).exists() {
        command.env("LD_PRELOAD", directory.join(LIBRARY)).env("CLOCK_SHIFT", directory.join(SHIFT));
    }
}
