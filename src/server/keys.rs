//! Reads the key files; each key has one purpose.
//!
//! `signing-*.pem` of every key directory sign bundles, as the log of `system` decides; `seal.pem` signs events and `issuer.pem`
//! signs the local issuer's tokens, both of the first directory alone. The keys are disjoint: none is ever accepted in place of
//! another (docs/security.md#t18).

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};

use super::config::{KeysConfig, SigningAlgorithm};
use super::data_dir::make_private_dir;
use crate::auth::LocalIssuer;
use crate::signing::{Algorithm, KeyDirs, PrivateKey, key_file};

/// File of the key that signs the tokens of the local issuer.
const ISSUER: &str = "issuer.pem";
/// File of the key that signs events.
const SEAL: &str = "seal.pem";

/// The keys of a server.
#[derive(Debug)]
pub struct ServerKeys {
    /// Signs events.
    pub seal: PrivateKey,
    /// Sign bundles, statements and checkpoints.
    pub signing: Arc<KeyDirs>,
}

impl ServerKeys {
    /// Reads the keys, and creates the seal key when it is absent.
    ///
    /// # Errors
    /// A file is unreadable, readable by others, or holds no such key.
    pub fn load(config: &KeysConfig) -> Result<Self> {
        make_dir(&config.keys_dir)?;
        let dirs = std::iter::once(&config.keys_dir).chain(&config.extra_keys_dirs).cloned().collect();
        let signing = Arc::new(KeyDirs::open(dirs)?);
        let seal = key_file::read_or_create(&config.keys_dir.join(SEAL), Algorithm::EdDsa)?;
        ensure!(seal.public().algorithm() == Algorithm::EdDsa, "{SEAL} must hold an Ed25519 key");
        Ok(Self { seal, signing })
    }

    /// Reads the keys of a server that has run before.
    ///
    /// # Errors
    /// Its seal key does not exist, or as `load`.
    pub fn existing(config: &KeysConfig) -> Result<Self> {
        key_file::read(&config.keys_dir.join(SEAL))?;
        Self::load(config)
    }
}

/// Converts the setting to the algorithm of `signing`.
#[must_use]
pub fn algorithm(configured: SigningAlgorithm) -> Algorithm {
    match configured {
        SigningAlgorithm::EdDSA => Algorithm::EdDsa,
        SigningAlgorithm::ES256 => Algorithm::Es256,
    }
}

fn make_dir(dir: &Path) -> Result<()> {
    make_private_dir(dir).with_context(|| format!("failed to make the keys directory {}", dir.display()))
}

/// Loads the local issuer, and creates its key when it is absent.
///
/// # Errors
/// As `Keys::load`.
pub fn local_issuer(dir: &Path, audience: &str) -> Result<LocalIssuer> {
    make_dir(dir)?;
    key_file::read_or_create(&dir.join(ISSUER), Algorithm::EdDsa)?;
    existing_issuer(dir, audience)
}

/// Loads the local issuer of a server that has run before.
///
/// # Errors
/// Its key does not exist, or as `Keys::load`.
pub fn existing_issuer(dir: &Path, audience: &str) -> Result<LocalIssuer> {
    let path = dir.join(ISSUER);
    // Read first for its better error messages.
    key_file::read(&path)?;
    Ok(LocalIssuer::from_pem(&key_file::read_text(&path)?, audience)?)
}
