//! Measures what a TLS 1.3 handshake costs the server, full and resumed, and prints a table. Asserts nothing but that each is of its kind.
//!
//! Both ends are in this process and exchange bytes in memory; only the time in the server's end counts. Medians.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use rustls::client::Resumption;
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConfig, ServerConnection};

/// Number of handshakes for a median.
const ROUNDS: usize = 1_001;
/// The name that the certificate is for.
const NAME: &str = "hub.example";

/// Whether and how the server lets clients resume.
#[derive(Debug, Clone, Copy)]
enum Tickets {
    /// It sends none.
    None,
    /// Two for each handshake, of sessions that it remembers.
    Stateful,
    /// Two for each handshake, with the session in them, encrypted.
    Stateless,
}

/// Whether the client has a certificate, which a full handshake verifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ClientAuth {
    None,
    Certificate,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("{:<44} {:>12} {:>14}", "handshake", "server us", "server bytes");
    for client_auth in [ClientAuth::None, ClientAuth::Certificate] {
        if client_auth == ClientAuth::Certificate {
            println!("with a certificate of the client:");
        }
        measure(client_auth)?;
    }
    Ok(())
}

fn measure(client_auth: ClientAuth) -> Result<(), Box<dyn std::error::Error>> {
    for (tickets, resumes, what) in [
        (Tickets::None, false, "full, no tickets"),
        (Tickets::Stateful, false, "full, stateful tickets"),
        (Tickets::Stateless, false, "full, stateless tickets"),
        (Tickets::Stateful, true, "resumed by a stateful ticket"),
        (Tickets::Stateless, true, "resumed by a stateless ticket"),
    ] {
        let (server, client) = configs(tickets, resumes, client_auth)?;
        // The first handshake has nothing to resume.
        handshake(&server, &client)?;
        let mut taken = Vec::with_capacity(ROUNDS);
        let mut sent = 0;
        for _ in 0..ROUNDS {
            let (kind, time, bytes) = handshake(&server, &client)?;
            assert_eq!(kind == HandshakeKind::Resumed, resumes, "{what}: {kind:?}");
            taken.push(time);
            sent = bytes;
        }
        taken.sort();
        let median = taken.get(ROUNDS / 2).copied().unwrap_or_default();
        println!("{what:<44} {:>12.1} {sent:>14}", median.as_secs_f64() * 1e6);
    }
    Ok(())
}

fn configs(
    tickets: Tickets,
    resumes: bool,
    client_auth: ClientAuth,
) -> Result<(Arc<ServerConfig>, Arc<ClientConfig>), Box<dyn std::error::Error>> {
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new([NAME.to_owned()])?.self_signed(&key)?;
    let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone())?;
    let key = PrivateKeyDer::try_from(key.serialize_der())?;
    let provider = Arc::new(default_provider());
    let server = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[&TLS13])?;
    let server = match client_auth {
        ClientAuth::None => server.with_no_client_auth(),
        ClientAuth::Certificate => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots.clone()), provider);
            server.with_client_cert_verifier(verifier.build()?)
        }
    };
    let mut server = server.with_single_cert(chain.clone(), key.clone_key())?;
    match tickets {
        Tickets::None => server.send_tls13_tickets = 0,
        Tickets::Stateful => {}
        Tickets::Stateless => server.ticketer = Ticketer::new()?,
    }
    let client = ClientConfig::builder_with_provider(Arc::new(default_provider())).with_protocol_versions(&[&TLS13])?;
    let client = client.with_root_certificates(roots);
    let mut client = match client_auth {
        ClientAuth::None => client.with_no_client_auth(),
        ClientAuth::Certificate => client.with_client_auth_cert(chain, key)?,
    };
    if !resumes {
        client.resumption = Resumption::disabled();
    }
    Ok((Arc::new(server), Arc::new(client)))
}

/// Performs a handshake and exchanges one byte each way, so that tickets are sent and read. Returns its kind, the time in the server's end,
/// and the bytes it sent.
fn handshake(
    server: &Arc<ServerConfig>,
    client: &Arc<ClientConfig>,
) -> Result<(HandshakeKind, Duration, usize), Box<dyn std::error::Error>> {
    let mut client = ClientConnection::new(Arc::clone(client), ServerName::try_from(NAME)?)?;
    client.writer().write_all(b"?")?;
    let (mut time, mut sent) = (Duration::ZERO, 0);
    let begun = Instant::now();
    let mut server = ServerConnection::new(Arc::clone(server))?;
    server.writer().write_all(b"!")?;
    time += begun.elapsed();
    let mut is_answered = false;
    while client.is_handshaking() || server.is_handshaking() || !is_answered {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes)?;
        }
        let (mut received, mut answer) = (bytes.as_slice(), Vec::new());
        let begun = Instant::now();
        while !received.is_empty() {
            server.read_tls(&mut received)?;
            server.process_new_packets()?;
        }
        while server.wants_write() {
            server.write_tls(&mut answer)?;
        }
        time += begun.elapsed();
        sent += answer.len();
        let mut answer = answer.as_slice();
        while !answer.is_empty() {
            client.read_tls(&mut answer)?;
            is_answered |= client.process_new_packets()?.plaintext_bytes_to_read() > 0;
        }
    }
    let mut byte = [0];
    client.reader().read_exact(&mut byte)?;
    Ok((server.handshake_kind().ok_or("no handshake")?, time, sent))
}
