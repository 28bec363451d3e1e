//! Compares a database with the recorded high-water marks of its logs, without the keys of a server.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};

use super::clock;
use super::whole_file::sync_directory_of;
use crate::domain::digest::{Digest, Hash};
use crate::domain::row_mac::RowMac;
use crate::store::{CopyState, DatabaseCopy};

/// Stands in for the MAC key of rows: heads have no MAC, so they are read without it.
#[derive(Debug)]
struct NoTags;

impl RowMac for NoTags {
    fn mac(&self, _: &[u8]) -> Hash {
        [0; 32]
    }

    fn verify(&self, _: &[u8], _: &[u8]) -> bool {
        false
    }

    fn digest(&self, row: &[u8]) -> Digest {
        crate::signing::digest_of(row)
    }
}

/// Saves where the logs of a database end in the high-water file.
pub(super) async fn remember(path: &Path, state: &CopyState, high_water: &Path) -> Result<()> {
    if state.missing_migrations > 0 {
        // Its tables have another schema; the file keeps what its own server wrote.
        return Ok(());
    }
    let live = DatabaseCopy::open_live(path).await?;
    let store = live.store(Arc::new(NoTags), clock::CLOCKS);
    store.remember(high_water.to_owned(), &state.store_id)?;
    let examined = store.check_for_loss().await;
    let saved = store.save_high_water_marks(true);
    live.close().await;
    examined.with_context(|| format!("failed to compare the old database with {}", high_water.display()))?;
    // Otherwise the next start could use a revision twice. The directory is flushed too, for a name that an earlier run or a server
    // could not flush.
    saved
        .and_then(|()| if high_water.exists() { sync_directory_of(high_water) } else { Ok(()) })
        .with_context(|| format!("failed to save what the old database knows of its logs in {}", high_water.display()))
}

/// Returns what the next start will suspect as lost, and the highest epoch that is recorded or restored.
pub(super) async fn suspected_data_loss(
    path: &Path,
    state: &CopyState,
    high_water: &Path,
) -> Result<(Option<String>, i64)> {
    if state.missing_migrations > 0 {
        return Ok((None, 0));
    }
    let copy = DatabaseCopy::open(path).await?;
    let store = copy.store(Arc::new(NoTags), clock::CLOCKS);
    store.remember(high_water.to_owned(), &state.store_id)?;
    let epoch = store.remembered_epoch();
    let doubt = store.check_for_loss().await;
    copy.close().await;
    Ok((doubt.with_context(|| format!("failed to compare the backup with {}", high_water.display()))?, epoch))
}
