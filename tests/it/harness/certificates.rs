//! Certificate authorities and certificates, created for each test, as PEM files where a server needs files.

use std::path::Path;

use policyhub::client::ClientIdentity;
use rcgen::string::Ia5String;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use rustls::client::WantsClientCert;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder};

/// An authority.
pub struct TestAuthority {
    issuer: Issuer<'static, KeyPair>,
    /// The authority's certificate as PEM.
    pub pem: String,
}

impl TestAuthority {
    /// Returns a new authority.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("an authority").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Returns a TLS client configuration that trusts this authority.
    pub fn trusted(&self) -> ClientConfig {
        self.client_config().with_no_client_auth()
    }

    /// Returns the same for a client with a certificate.
    pub fn trusted_by(&self, client: &ClientIdentity) -> ClientConfig {
        let chain = vec![CertificateDer::from_pem_slice(&client.cert).expect("a certificate")];
        let key = PrivateKeyDer::from_pem_slice(&client.key).expect("a key");
        self.client_config().with_client_auth_cert(chain, key).expect("a pair")
    }

    fn client_config(&self) -> ConfigBuilder<ClientConfig, WantsClientCert> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).expect("a certificate")).expect("an authority");
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        builder.expect("versions").with_root_certificates(roots)
    }

    fn sign(&self, names: Vec<SanType>, usage: ExtendedKeyUsagePurpose) -> (String, String) {
        self.sign_for(names, usage, None)
    }

    /// Signs a certificate that is valid between two moments, in seconds from now.
    fn sign_for(
        &self,
        names: Vec<SanType>,
        usage: ExtendedKeyUsagePurpose,
        valid: Option<(i64, i64)>,
    ) -> (String, String) {
        let mut params = CertificateParams::default();
        if let Some((from, to)) = valid {
            let now = time::OffsetDateTime::now_utc();
            params.not_before = now + time::Duration::seconds(from);
            params.not_after = now + time::Duration::seconds(to);
        }
        params.subject_alt_names = names;
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    /// Writes a server certificate for 127.0.0.1 and its key. Each file is replaced atomically.
    pub fn serve(&self, cert: &Path, key: &Path) {
        let address = SanType::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
        let (chain, private) = self.sign(vec![address], ExtendedKeyUsagePurpose::ServerAuth);
        replace(cert, &chain);
        replace(key, &private);
    }

    /// Writes a server certificate that is valid between two moments, in seconds from now, and its key.
    pub fn serve_for(&self, cert: &Path, key: &Path, valid: (i64, i64)) {
        let address = SanType::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
        let (chain, private) = self.sign_for(vec![address], ExtendedKeyUsagePurpose::ServerAuth, Some(valid));
        replace(cert, &chain);
        replace(key, &private);
    }

    /// Returns a client certificate with this URI, valid between two moments, in seconds from now.
    pub fn client_for(&self, uri: &str, valid: (i64, i64)) -> ClientIdentity {
        let names = vec![SanType::URI(Ia5String::try_from(uri).expect("ASCII"))];
        let (cert, key) = self.sign_for(names, ExtendedKeyUsagePurpose::ClientAuth, Some(valid));
        ClientIdentity::new(cert, key)
    }

    /// Returns a client certificate with these URIs.
    pub fn client(&self, uris: &[&str]) -> ClientIdentity {
        self.identity(uris, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// Returns a server certificate with these URIs, which must not authenticate a client.
    pub fn not_for_clients(&self, uris: &[&str]) -> ClientIdentity {
        self.identity(uris, ExtendedKeyUsagePurpose::ServerAuth)
    }

    fn identity(&self, uris: &[&str], usage: ExtendedKeyUsagePurpose) -> ClientIdentity {
        let names = uris.iter().map(|uri| SanType::URI(Ia5String::try_from(*uri).expect("ASCII"))).collect();
        let (cert, key) = self.sign(names, usage);
        ClientIdentity::new(cert, key)
    }
}

/// Replaces a file atomically, as an operator should.
pub fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("written");
    std::fs::rename(&new, path).expect("renamed");
}
