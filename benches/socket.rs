//! A connection of a driver: plain, or with TLS.
//!
//! Boundary: bytes. TLS sessions are never resumed, so that each opening is a whole handshake.

use std::cell::RefCell;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::net::TcpStream;

/// Bytes that are read at once while a connection is set up.
const HANDSHAKE_BYTES: usize = 16 * 1024;

/// What a driver's connections use for TLS; without it they are plain.
pub type BenchTls = Arc<ClientConfig>;

/// Returns what trusts one certificate, in PEM.
pub fn trust(certificate: &str) -> Result<BenchTls> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate.as_bytes())?)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let mut config = builder.with_protocol_versions(&[&TLS13])?.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// An open connection.
#[derive(Debug)]
pub struct BenchSocket {
    tcp: TcpStream,
    tls: Option<RefCell<ClientConnection>>,
}

impl BenchSocket {
    /// Connects, and shakes hands.
    pub async fn connect(address: SocketAddr, tls: Option<&BenchTls>) -> Result<Self> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let Some(config) = tls else { return Ok(Self { tcp, tls: None }) };
        let mut tls = ClientConnection::new(Arc::clone(config), ServerName::from(address.ip()))?;
        let mut received = vec![0; HANDSHAKE_BYTES];
        loop {
            write_encrypted(&tcp, &mut tls).await?;
            if !tls.is_handshaking() {
                return Ok(Self { tcp, tls: Some(RefCell::new(tls)) });
            }
            tcp.readable().await?;
            match tcp.try_read(&mut received) {
                Ok(0) => bail!("the server closed the connection"),
                Ok(count) => decrypt(&mut tls, received.get(..count).unwrap_or_default(), |_| {
                    bail!("the server sent before it was asked")
                })?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits until there may be something to read.
    pub async fn readable(&self) -> Result<()> {
        Ok(self.tcp.readable().await?)
    }

    /// Reads what is available.
    pub fn read_all(&self, scratch: &RefCell<Vec<u8>>, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut scratch = scratch.borrow_mut();
        loop {
            match self.tcp.try_read(&mut scratch) {
                Ok(0) => bail!("the server closed the connection"),
                Ok(count) => {
                    let bytes = scratch.get(..count).unwrap_or_default();
                    match &self.tls {
                        Some(tls) => decrypt(&mut tls.borrow_mut(), bytes, &mut take)?,
                        None => take(bytes)?,
                    }
                    if count < scratch.len() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Writes all bytes.
    // Each connection belongs to one task, which reads only after it has written.
    #[expect(clippy::await_holding_refcell_ref, reason = "nobody else borrows it meanwhile")]
    pub async fn write_all(&self, bytes: &[u8]) -> Result<()> {
        let Some(tls) = &self.tls else { return write_plain(&self.tcp, bytes).await };
        let mut tls = tls.borrow_mut();
        for part in bytes.chunks(HANDSHAKE_BYTES) {
            tls.writer().write_all(part)?;
            write_encrypted(&self.tcp, &mut tls).await?;
        }
        Ok(())
    }
}

fn decrypt(tls: &mut ClientConnection, mut encrypted: &[u8], mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    while !encrypted.is_empty() {
        tls.read_tls(&mut encrypted)?;
        let state = tls.process_new_packets().context("the server speaks no TLS")?;
        if state.plaintext_bytes_to_read() > 0 {
            let mut plain = vec![0; state.plaintext_bytes_to_read()];
            tls.reader().read_exact(&mut plain)?;
            take(&plain)?;
        }
    }
    Ok(())
}

async fn write_encrypted(tcp: &TcpStream, tls: &mut ClientConnection) -> Result<()> {
    let mut out = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut out)?;
    }
    write_plain(tcp, &out).await
}

async fn write_plain(tcp: &TcpStream, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        tcp.writable().await?;
        match tcp.try_write(bytes) {
            Ok(count) => bytes = bytes.split_at(count).1,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
