//! Client certificates, TLS 1.3, and files that are replaced during connections and watches.

use std::path::PathBuf;
use std::sync::Arc;

use policyhub::client::{Client, ClientError, ClientIdentity, pb};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::Code;

use crate::harness::callers::try_grant;
use crate::harness::calls::{NAMESPACE, activate, publish, refused};
use crate::harness::certificates::{TestAuthority, replace};
use crate::harness::idp::{kept_out, reloaded, reloads, wait_until};
use crate::harness::watching::{LIVELY, activation, change, open};
use crate::harness::{Database, Hub};

const WEB: &str = "spiffe://example.org/web";
const NOBODY: Option<&str> = Some("CERTIFICATE_INVALID");

/// A server with TLS and two trust domains, and the certificate authorities.
struct MtlsFixture {
    dir: TempDir,
    server: TestAuthority,
    example: TestAuthority,
    other: TestAuthority,
    hub: Hub,
}

impl MtlsFixture {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let (server, example, other) =
            (TestAuthority::new("server"), TestAuthority::new("example"), TestAuthority::new("other"));
        let file = |name: &str| dir.path().join(name);
        server.serve(&file("server.pem"), &file("server.key"));
        replace(&file("example.pem"), &example.pem);
        replace(&file("other.pem"), &other.pem);
        let path = |name: &str| file(name).display().to_string();
        let cas = format!("example.org={},other.example={}", path("example.pem"), path("other.pem"));
        let (cert, key) = (path("server.pem"), path("server.key"));
        let arguments = [LIVELY, &["--tls-cert", &cert, "--tls-key", &key, "--tls-client-ca", &cas]].concat();
        let hub = Hub::start_with(Database::Sqlite, &arguments).await;
        Self { dir, server, example, other, hub }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn connect(&self, token: Option<String>, identity: Option<ClientIdentity>) -> Result<Client, ClientError> {
        Client::connect_as(&self.hub.grpc, token, Some(self.server.pem.clone().into_bytes()), identity).await
    }

    async fn admin(&self) -> Client {
        self.connect(Some(self.hub.token()), None).await.expect("a connection")
    }

    async fn shows(&self, identity: ClientIdentity) -> Client {
        self.connect(None, Some(identity)).await.expect("a connection")
    }

    /// Returns whether the handshake or the first call fails without an error of this server.
    async fn is_cut_off(&self, identity: ClientIdentity) -> bool {
        use policyhub::client::pb::ListSigningKeysRequest;
        match self.connect(None, Some(identity)).await {
            Err(_) => true,
            Ok(client) => client
                .list_signing_keys(ListSigningKeysRequest::default())
                .await
                .is_err_and(|error| error.reason().is_empty()),
        }
    }
}

#[tokio::test]
async fn a_certificate_says_who_calls() {
    let scene = MtlsFixture::start().await;
    assert_eq!(kept_out(&scene.shows(scene.example.client(&[WEB])).await).await, None);
    let other = scene.other.client(&["spiffe://other.example/a/b"]);
    assert_eq!(kept_out(&scene.shows(other).await).await, None);
    // Beside certificates, tokens still work; a client without either is refused.
    assert_eq!(kept_out(&scene.admin().await).await, None);
    let nothing = scene.connect(None, None).await.expect("a connection");
    assert_eq!(kept_out(&nothing).await.as_deref(), Some("TOKEN_MISSING"));
    let both = scene.connect(Some(scene.hub.token()), Some(scene.example.client(&[WEB]))).await.expect("a connection");
    assert_eq!(kept_out(&both).await, None);
    let broken =
        scene.connect(Some("broken".to_owned()), Some(scene.example.client(&[WEB]))).await.expect("a connection");
    assert_eq!(kept_out(&broken).await.as_deref(), Some("TOKEN_MALFORMED"), "a bad token is not made good");

    // The command line presents a certificate too, and then uses no token of a data directory.
    let identity = scene.example.client(&[WEB]);
    std::fs::write(scene.file("client.pem"), &identity.cert).expect("written");
    std::fs::write(scene.file("client.key"), &identity.key).expect("written");
    std::fs::write(scene.file("ca.pem"), &scene.server.pem).expect("written");
    let mut command = scene.hub.cli();
    std::fs::write(scene.hub.data_dir().join("admin.token"), "broken").expect("written");
    command.arg("--ca-cert").arg(scene.file("ca.pem")).arg("--client-cert").arg(scene.file("client.pem"));
    let output = command.arg("--client-key").arg(scene.file("client.key")).args(["keys", "list"]).output();
    let said = String::from_utf8_lossy(&output.expect("the binary runs").stderr).into_owned();
    assert!(!said.contains("TOKEN_") && !said.contains("failed to connect"), "{said}");
}

#[tokio::test]
async fn certificates_that_name_nobody_here_are_refused() {
    let scene = MtlsFixture::start().await;
    for (case, identity) in [
        ("no URI", scene.example.client(&[])),
        ("two URIs", scene.example.client(&[WEB, "spiffe://example.org/root"])),
        ("no SPIFFE ID", scene.example.client(&["https://example.org/web"])),
        ("no workload", scene.example.client(&["spiffe://example.org"])),
        ("another spelling", scene.example.client(&["spiffe://example.org/../web"])),
        ("another domain's authority", scene.other.client(&[WEB])),
        ("a domain nobody knows", scene.example.client(&["spiffe://nobody.example/web"])),
    ] {
        assert_eq!(kept_out(&scene.shows(identity.clone()).await).await.as_deref(), NOBODY, "{case}");
        let with_token = scene.connect(Some(scene.hub.token()), Some(identity)).await.expect("a connection");
        assert_eq!(kept_out(&with_token).await.as_deref(), NOBODY, "{case}, with a good token");
    }
    let stranger = TestAuthority::new("stranger");
    assert!(scene.is_cut_off(stranger.client(&[WEB])).await, "a stranger's authority");
    assert!(scene.is_cut_off(scene.example.not_for_clients(&[WEB])).await, "for servers");
    assert!(!scene.is_cut_off(scene.example.client(&[WEB])).await, "else the test proves nothing");
}

#[tokio::test]
async fn nothing_older_than_tls_1_3_is_spoken() {
    let scene = MtlsFixture::start().await;
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(scene.server.pem.as_bytes()).expect("a certificate"))
        .expect("an authority");
    for (version, spoken) in [(&TLS12, false), (&TLS13, true)] {
        let versions: &[&'static SupportedProtocolVersion] = &[version];
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).expect("a version");
        let mut config = builder.with_root_certificates(roots.clone()).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let address = scene.hub.grpc.trim_start_matches("https://");
        let stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        let shaken = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        assert_eq!(shaken.is_ok(), spoken, "{version:?}: {:?}", shaken.err());
    }
}

/// Given a client that could resume a session, each of its handshakes is a full one, which verifies its certificate.
#[tokio::test]
async fn no_session_is_resumed() {
    let scene = MtlsFixture::start().await;
    let mut config = scene.server.trusted_by(&scene.example.client(&[WEB]));
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    for _ in 0..2 {
        let address = scene.hub.grpc.trim_start_matches("https://");
        let stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        let mut stream = connector.connect(name, stream).await.expect("a handshake");
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
        // Tickets would come before the first frame of the server.
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("written");
        stream.read_u8().await.expect("a frame");
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_served_and_no_watch_is_cut() {
    let scene = MtlsFixture::start().await;
    let admin = scene.admin().await;
    publish(&admin, "p", "a: 1").await;
    publish(&admin, "p", "a: 2").await;
    activate(&admin, "p", 1).await;
    let mut watch = open(&admin).await;
    change(&mut watch).await;

    let renewed = TestAuthority::new("renewed");
    renewed.serve(&scene.file("server.pem"), &scene.file("server.key"));
    // The two files change one after the other: a read between them finds no matching pair, and the next read does.
    reloaded(&scene.hub, "ok", "tls", 0.0).await;
    let pem = || Some(renewed.pem.clone().into_bytes());
    let fresh = Client::connect(&scene.hub.grpc, Some(scene.hub.token()), pem()).await.expect("a connection");
    scene.connect(Some(scene.hub.token()), None).await.expect_err("the old one is served no more");

    let failed = reloads(&scene.hub, "failed", "tls");
    replace(&scene.file("server.key"), "no key");
    reloaded(&scene.hub, "failed", "tls", failed).await;
    let still = Client::connect(&scene.hub.grpc, Some(scene.hub.token()), pem()).await.expect("what was good stays");
    assert_eq!(kept_out(&still).await, None);

    // The watch and the connections from before are still open.
    let revision = activate(&fresh, "p", 2).await;
    assert_eq!(activation(&mut watch).await, (revision, vec!["p@2".to_owned()], Vec::new()));
    assert_eq!(kept_out(&admin).await, None);
}

#[tokio::test]
async fn another_authority_of_clients_takes_the_place_of_the_one_before() {
    let scene = MtlsFixture::start().await;
    let new = TestAuthority::new("new");
    let (old, other) = (scene.example.client(&[WEB]), scene.other.client(&["spiffe://other.example/a"]));
    let (by_old, by_other) = (scene.shows(old.clone()).await, scene.shows(other).await);
    assert_eq!((kept_out(&by_old).await, kept_out(&by_other).await), (None, None));
    assert!(scene.is_cut_off(new.client(&[WEB])).await);
    // During a change of authorities the file contains both.
    replace(&scene.file("example.pem"), &format!("{}{}", scene.example.pem, new.pem));
    reloaded(&scene.hub, "ok", "tls", 0.0).await;
    assert_eq!(kept_out(&scene.shows(new.client(&[WEB])).await).await, None);
    assert_eq!(kept_out(&by_old).await, None);

    replace(&scene.file("example.pem"), &new.pem);
    // Also on its existing connection, without a new handshake.
    wait_until(&by_old, NOBODY).await;
    assert!(scene.is_cut_off(old).await);
    assert_eq!(kept_out(&scene.shows(new.client(&[WEB])).await).await, None);
    assert_eq!(kept_out(&by_other).await, None, "the other trust domain has nothing to do with it");
}

/// A workload has the role of its SPIFFE ID, and no other workload has it.
#[tokio::test]
async fn a_workload_has_a_role() {
    let scene = MtlsFixture::start().await;
    let admin = scene.admin().await;
    try_grant(&admin, WEB, pb::Role::Subscriber, NAMESPACE).await.expect("a role");
    let request = pb::ListActiveRequest { parent: NAMESPACE.to_owned(), ..Default::default() };
    let web = scene.shows(scene.example.client(&[WEB])).await;
    web.list_active(request.clone()).await.expect("what it syncs");
    let other = scene.shows(scene.example.client(&["spiffe://example.org/other"])).await;
    refused(other.list_active(request).await, Code::PermissionDenied, "PERMISSION_DENIED");
}
