//! A limit of the size of files (`ulimit -f`): the write that meets it fails, as on a full disk, and the process lives.

use std::io;

use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};

/// Takes the place of the end of the process, which is what SIGXFSZ does to one that does not handle it: the write fails with EFBIG.
/// For the rest of the process. Within a runtime.
///
/// # Errors
/// When the system refuses.
pub fn survive_file_size_limit() -> io::Result<()> {
    // The handler stays when nobody listens to it any more.
    signal(SignalKind::from_raw(Signal::SIGXFSZ as i32)).map(drop)
}
