//! The key files: which there are, and what each is for.
//!
//! `signing-{algorithm}.pem` signs bundles, `seal.pem` seals events, `issuer.pem` signs the local issuer's tokens; any
//! further `signing-*.pem` only verifies. Disjoint keys: none is ever accepted in place of another (THREATS T18).

use std::fs::{read_dir, read_to_string};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::config::SigningAlgorithm;
use super::data_dir::make_private_dir;
use crate::auth::LocalIssuer;
use crate::signing::{Algorithm, PrivateKey, PublicKey, key_file};

/// Signs the tokens of the local issuer.
const ISSUER: &str = "issuer.pem";
/// Seals events.
const SEAL: &str = "seal.pem";

/// The keys of a server.
#[derive(Debug)]
pub struct Keys {
    /// Signs bundles, statements and checkpoints.
    pub signing: PrivateKey,
    /// Seals events.
    pub seal: PrivateKey,
    /// Every public key that bundles are verified with.
    pub public: Vec<PublicKey>,
}

impl Keys {
    /// Reads the keys, making those that are absent.
    ///
    /// # Errors
    /// When a file is unreadable, readable by others, or holds no such key.
    pub fn load(dir: &Path, algorithm: SigningAlgorithm) -> Result<Self> {
        make_dir(dir)?;
        let name = signing_name(algorithm);
        let algorithm = match algorithm {
            SigningAlgorithm::EdDSA => Algorithm::EdDsa,
            SigningAlgorithm::ES256 => Algorithm::Es256,
        };
        let signing = key_file::read_or_create(&dir.join(name), algorithm)?;
        ensure!(signing.public().algorithm() == algorithm, "{name} holds a key of another algorithm");
        let seal = key_file::read_or_create(&dir.join(SEAL), Algorithm::EdDsa)?;
        ensure!(seal.public().algorithm() == Algorithm::EdDsa, "{SEAL} must hold an Ed25519 key");
        Ok(Self { signing, seal, public: verifying(dir)? })
    }
}

impl Keys {
    /// The keys of a server that has run before.
    ///
    /// # Errors
    /// When one of them is not there, or as `load`.
    pub fn existing(dir: &Path, algorithm: SigningAlgorithm) -> Result<Self> {
        for name in [SEAL, signing_name(algorithm)] {
            key_file::read(&dir.join(name))?;
        }
        Self::load(dir, algorithm)
    }
}

fn signing_name(algorithm: SigningAlgorithm) -> &'static str {
    match algorithm {
        SigningAlgorithm::EdDSA => "signing-eddsa.pem",
        SigningAlgorithm::ES256 => "signing-es256.pem",
    }
}

fn make_dir(dir: &Path) -> Result<()> {
    make_private_dir(dir).with_context(|| format!("failed to make the keys directory {}", dir.display()))
}

fn verifying(dir: &Path) -> Result<Vec<PublicKey>> {
    let mut public = Vec::new();
    for entry in read_dir(dir).with_context(|| format!("failed to list {}", dir.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("signing-") && name.ends_with(".pem") {
            public.push(key_file::read(&entry.path())?.public().clone());
        }
    }
    Ok(public)
}

/// The local issuer, whose key is made when it is absent.
///
/// # Errors
/// As `Keys::load`.
pub fn local_issuer(dir: &Path, audience: &str) -> Result<LocalIssuer> {
    make_dir(dir)?;
    key_file::read_or_create(&dir.join(ISSUER), Algorithm::EdDsa)?;
    existing_issuer(dir, audience)
}

/// The local issuer of a server that has run before.
///
/// # Errors
/// When its key is not there, or as `Keys::load`.
pub fn existing_issuer(dir: &Path, audience: &str) -> Result<LocalIssuer> {
    let path = dir.join(ISSUER);
    key_file::read(&path)?;
    let pem = read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    Ok(LocalIssuer::from_pem(&pem, audience)?)
}
