//! Handles the limit of the size of files (`ulimit -f`): a write beyond it fails, as on a full disk, and the process goes on.

use std::io;

use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};

/// Handles SIGXFSZ for the rest of the process, which would otherwise end: the write fails with EFBIG. Must be called within a runtime.
///
/// # Errors
/// The system refuses.
pub fn survive_file_size_limit() -> io::Result<()> {
    // The handler stays installed after the stream is dropped.
    signal(SignalKind::from_raw(Signal::SIGXFSZ as i32)).map(drop)
}
