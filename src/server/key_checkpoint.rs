//! The file of the key checkpoint: how far this server verified the log of `system`, for its next start.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::private_file;
use crate::domain::limits::STATEMENT_MAX_BYTES;
use crate::service::Service;

/// Time between two writes of the checkpoint, if the log has moved. Too high: a start after a kill verifies more of the log.
const WRITE_INTERVAL: Duration = Duration::from_secs(5);

/// The largest file that is read. Base64 makes the largest payload of a token a third longer; header and signature have less than 1 KiB.
/// Some 12,000 events fit.
const CHECKPOINT_MAX_BYTES: u64 = (STATEMENT_MAX_BYTES as u64).div_ceil(3) * 4 + 1024;

/// Reads the checkpoint; none when there is none that can be read: it only saves time.
pub(super) fn read(path: &Path) -> Option<String> {
    // Reading a pipe would never end.
    if !path.is_file() {
        return None;
    }
    let mut text = String::new();
    // One that is cut off does not verify.
    match File::open(path).and_then(|file| file.take(CHECKPOINT_MAX_BYTES).read_to_string(&mut text)) {
        Ok(_) => Some(text.trim_end().to_owned()),
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "can't read the key checkpoint; reading the whole log of system");
            None
        }
    }
}

/// Writes the checkpoint when the log of `system` has moved, until it is cancelled.
pub(super) async fn write_when_moved(service: Arc<Service>, path: PathBuf) {
    let mut round = tokio::time::interval(WRITE_INTERVAL);
    let (mut written, mut is_failing) = (None, false);
    loop {
        round.tick().await;
        let head = service.keys.signer().view().head();
        if written == Some(head) {
            continue;
        }
        let done = write(&service, &path).await;
        if let Err(error) = &done
            && !is_failing
        {
            tracing::warn!(%error, path = %path.display(), "failed to write the key checkpoint; the next start takes longer");
        }
        is_failing = done.is_err();
        written = matches!(done, Ok(true)).then_some(head);
    }
}

/// Writes the checkpoint, and returns whether there was one to write.
async fn write(service: &Service, path: &Path) -> io::Result<bool> {
    let token = service.keys.checkpoint();
    let token = token.map_err(|error| io::Error::other(error.internal.unwrap_or(error.message)))?;
    let Some(token) = token else { return Ok(false) };
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || private_file::write(&path, &token)).await??;
    Ok(true)
}
