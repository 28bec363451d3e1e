//! A wall clock that jumps: a shim under each server, and the file with its offset.
//!
//! The shim (`clock_jump.c`) is built by the machine's C compiler at its first use. Boundary: only the wall clock; timers and ordering
//! use the monotonic one, which no operator can set.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::power_cut::shim;

/// The wall clock of one server.
#[derive(Debug)]
pub struct WallClock {
    file: PathBuf,
}

impl WallClock {
    /// Returns a clock that is right, with its offset in `directory`.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn new(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let clock = Self { file: directory.join("clock-jump") };
        fs::write(&clock.file, 0i64.to_ne_bytes())?;
        Ok(clock)
    }

    /// Makes a server use this clock, and returns the shim to preload.
    pub fn mount(&self, server: &mut Command) -> String {
        server.env("CLOCK_JUMP_FILE", &self.file);
        shim("clock_jump").display().to_string()
    }

    /// Sets the clock this many seconds ahead of the machine's; a negative number is behind.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn set(&self, seconds: i64) -> io::Result<()> {
        // Write in place: the server has the file mapped.
        File::options().write(true).open(&self.file)?.write_all_at(&seconds.to_ne_bytes(), 0)
    }
}
