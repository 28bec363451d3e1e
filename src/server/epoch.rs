//! `policyhub epoch`: runs on the server's machine, with its database and its keys; servers may be running.

use std::fs::File;
use std::sync::Arc;

use anyhow::{Context as _, Result};

use super::clock;
use super::config::{Config, Settings};
use super::data_dir::{high_water, unwitnessed};
use super::keys::ServerKeys;
use super::serve::{Maintenance, database, identify, lock_maintenance};
use super::telemetry::Telemetry;
use crate::domain::event::Cursor;
use crate::domain::name::NamespaceId;
use crate::service::{EpochBump, EpochBumpOutcome, Signer};
use crate::signing::RowMacKey;
use crate::store::{RememberedStore, Store};

/// The epochs that the store records.
#[derive(Debug)]
pub struct EpochState {
    /// The end of each log.
    pub heads: Vec<(NamespaceId, Cursor)>,
    /// System identifier and timeline of PostgreSQL; empty on SQLite.
    pub incarnation: String,
    /// Why the store suspects a data loss, if it does.
    pub doubt: Option<String>,
    /// Whether a restore's loss is unknown: nothing recorded which changes were acknowledged after the backup.
    pub is_unwitnessed: bool,
    /// The target of a bump that was interrupted.
    pub unfinished: Option<i64>,
}

/// The outcome of a bump.
#[derive(Debug)]
pub struct BumpDone {
    /// The epoch in force.
    pub epoch: i64,
    /// Number of logs that were raised; 0 when no data loss was suspected.
    pub logs: usize,
    /// As in `EpochState`, after the bump.
    pub is_unwitnessed: bool,
}

/// Reads the epochs, and changes nothing in the logs.
///
/// # Errors
/// Everything that keeps a server from starting.
pub async fn epoch_state(settings: Settings) -> Result<EpochState> {
    let (config, _telemetry) = load(settings)?;
    let _lock = lock_existing(&config, Maintenance::Reads)?;
    let (store, signer) = open(&config).await?;
    let doubt = store.check_for_loss().await?;
    let is_unwitnessed = store.has_unverified_restore(&unwitnessed(&config.storage.data_dir), signer.store()).await?;
    let epochs = store.epochs().await?;
    store.close().await;
    Ok(EpochState {
        heads: epochs.heads.into_iter().collect(),
        incarnation: epochs.system_identity,
        doubt,
        is_unwitnessed,
        unfinished: epochs.unfinished,
    })
}

/// Raises the epoch of every log.
///
/// # Errors
/// As `epoch_state`, and a write fails: run it again. Refused while a migration, a restore or another bump runs on a SQLite file.
pub async fn bump_epoch(settings: Settings, force: bool) -> Result<BumpDone> {
    let (config, _telemetry) = load(settings)?;
    // The locks of a server are not taken: one may be running, and goes on.
    let _lock = lock_existing(&config, Maintenance::Changes)?;
    let (store, signer) = open(&config).await?;
    let bumped = crate::service::bump_epoch(&store, &signer, EpochBump { force }).await;
    let mark = unwitnessed(&config.storage.data_dir);
    let is_unwitnessed = store.has_unverified_restore(&mark, signer.store()).await;
    store.close().await;
    let (epoch, logs) = match bumped.context("failed to raise every log; run it again")? {
        EpochBumpOutcome::Raised { epoch, logs } => (epoch, logs),
        EpochBumpOutcome::NotInDoubt { epoch } => (epoch, 0),
    };
    Ok(BumpDone { epoch, logs, is_unwitnessed: is_unwitnessed? })
}

fn load(settings: Settings) -> Result<(Config, Telemetry)> {
    let mut config = settings.load()?;
    // The store's log line about a suspected loss tells the user to run this command, which already prints the details.
    config.telemetry.log_level.push_str(",policyhub::store::loss::suspected_loss=off");
    let telemetry = Telemetry::start(&config.telemetry)?;
    Ok((config, telemetry))
}

/// Locks an existing database; no command here may create one.
fn lock_existing(config: &Config, maintenance: Maintenance) -> Result<Option<File>> {
    let database = database(&config.storage)?;
    database.check_exists()?;
    lock_maintenance(&database, maintenance)
}

async fn open(config: &Config) -> Result<(Store, Signer)> {
    let keys = ServerKeys::existing(&config.keys).context("failed to read the keys of the server")?;
    let tags = Arc::new(RowMacKey::derive(&keys.seal)?);
    let high_water = high_water(&config.storage.data_dir);
    let remembered = RememberedStore::read(&high_water)?;
    let store = database(&config.storage)?.open(false, remembered.as_ref(), tags, clock::CLOCKS).await?;
    let signer = identify(&store, keys, &config.keys).await?;
    store.remember(high_water, signer.store())?;
    Ok((store, signer))
}
