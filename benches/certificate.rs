//! A certificate for a server on loopback, which is its own authority.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{CertificateParams, KeyPair, SanType};

/// A certificate of 127.0.0.1 and its key, in files.
#[derive(Debug)]
pub struct ServerCertificate {
    /// In PEM.
    pub pem: String,
    /// The file with it.
    pub file: PathBuf,
    /// The file with its key.
    pub key_file: PathBuf,
}

impl ServerCertificate {
    /// Makes one, with its files in a directory.
    pub fn make(dir: &Path) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST))];
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        let (file, key_file) = (dir.join("tls.crt"), dir.join("tls.key"));
        std::fs::write(&file, &pem)?;
        std::fs::write(&key_file, key.serialize_pem())?;
        Ok(Self { pem, file, key_file })
    }
}
