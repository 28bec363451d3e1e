//! Certificates that are renewed under a running agent, and what both sides report about a refused one.

use std::path::{Path, PathBuf};

use policyhub::client::{Client, ClientError, ClientIdentity, pb};
use tempfile::TempDir;

use crate::harness::agents::{AgentProcess, status};
use crate::harness::callers::try_grant;
use crate::harness::calls::{NAMESPACE, activate, publish};
use crate::harness::certificates::{TestAuthority, replace};
use crate::harness::http::get;
use crate::harness::hub::binary;
use crate::harness::subscribing::eventually;
use crate::harness::watching::LIVELY;
use crate::harness::{Database, Hub};

const WEB: &str = "spiffe://example.org/web";
/// How long the first certificate of a test is valid: the agent must start within it, on a busy machine.
const SHORT_SECONDS: i64 = 12;

/// A server with TLS that accepts clients of example.org and ends every connection soon.
struct RenewalFixture {
    dir: TempDir,
    server: TestAuthority,
    example: TestAuthority,
    hub: Hub,
}

impl RenewalFixture {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let (server, example) = (TestAuthority::new("server"), TestAuthority::new("example"));
        let file = |name: &str| dir.path().join(name).display().to_string();
        server.serve(Path::new(&file("server.pem")), Path::new(&file("server.key")));
        replace(Path::new(&file("example.pem")), &example.pem);
        replace(Path::new(&file("ca.pem")), &server.pem);
        let (cert, key, cas) = (file("server.pem"), file("server.key"), format!("example.org={}", file("example.pem")));
        let own = ["--max-connection-age-ms", "2000", "--tls-cert", &cert, "--tls-key", &key, "--tls-client-ca", &cas];
        let hub = Hub::start_with(Database::Sqlite, &[LIVELY, &own].concat()).await;
        Self { dir, server, example, hub }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn connect(&self, token: Option<String>, identity: Option<ClientIdentity>) -> Result<Client, ClientError> {
        Client::connect_as(&self.hub.grpc, token, Some(self.server.pem.clone().into_bytes()), identity).await
    }

    /// Opens a connection as the admin, which ends soon.
    async fn admin(&self) -> Client {
        self.connect(Some(self.hub.token()), None).await.expect("a connection")
    }

    /// Returns the error of a connection with this certificate, or of its first call.
    async fn refusal(&self, identity: ClientIdentity) -> Option<ClientError> {
        match self.connect(None, Some(identity)).await {
            Err(error) => Some(error),
            Ok(client) => client.list_signing_keys(pb::ListSigningKeysRequest::default()).await.err(),
        }
    }

    fn put(&self, identity: &ClientIdentity) {
        let text = |pem: &[u8]| String::from_utf8(pem.to_vec()).expect("PEM");
        replace(&self.file("client.pem"), &text(&identity.cert));
        replace(&self.file("client.key"), &text(&identity.key));
    }
}

/// A workload whose certificate is valid as long as an SVID of a minute.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_outlives_its_certificate() {
    let scene = RenewalFixture::start().await;
    let admin = scene.admin().await;
    try_grant(&admin, WEB, pb::Role::Subscriber, NAMESPACE).await.expect("a role");
    publish(&admin, "p", "a: 1").await;
    publish(&admin, "p", "a: 2").await;
    let first = activate(&scene.admin().await, "p", 1).await;

    let short = scene.example.client_for(WEB, (-60, SHORT_SECONDS));
    scene.put(&short);
    let folder = scene.file("policies");
    let mut command = scene.hub.cli();
    command.args(["agent", "--output", "json", "--subscriber-id", "shop", "--dir"]).arg(&folder);
    for (flag, name) in [("--ca-cert", "ca.pem"), ("--client-cert", "client.pem"), ("--client-key", "client.key")] {
        command.arg(flag).arg(scene.file(name));
    }
    let agent = AgentProcess::spawn(command);
    agent.applied(first).await;

    // The new certificate without its key is not used: the agent keeps the old pair.
    let long = scene.example.client_for(WEB, (-60, 3_600));
    replace(&scene.file("client.pem"), std::str::from_utf8(&long.cert[..long.cert.len() / 2]).expect("PEM"));
    replace(&scene.file("ca.pem"), "");
    let between = activate(&scene.admin().await, "p", 2).await;
    agent.applied(between).await;
    scene.put(&long);
    replace(&scene.file("ca.pem"), &scene.server.pem);
    eventually("the first certificate has expired", async || scene.refusal(short.clone()).await.is_some()).await;
    let after = activate(&scene.admin().await, "p", 1).await;
    agent.applied(after).await;
    eventually("it says so", async || status(&folder)["in_force"]["revision"] == after).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_certificate_is_named_on_both_sides() {
    let scene = RenewalFixture::start().await;
    for (case, identity, why) in [
        ("expired", scene.example.client_for(WEB, (-7_200, -3_600)), "it has expired"),
        ("not yet valid", scene.example.client_for(WEB, (3_600, 7_200)), "it is not valid yet"),
        ("of a stranger", TestAuthority::new("stranger").client_for(WEB, (-60, 3_600)), "refused: "),
    ] {
        let facts = policyhub::signing::CertificateFacts::all_from_pem(&identity.cert).remove(0);
        for _ in 0..5 {
            let error = scene.refusal(identity.clone()).await.expect(case).to_string();
            let named = error.contains(why) && error.contains(&facts.serial) && error.contains("subject");
            assert!(named && error.contains(WEB), "{case}: {error}");
        }
        eventually("the server says it too", async || {
            // One line a second: further refused certificates are only counted.
            scene.refusal(identity.clone()).await.expect(case);
            let log = scene.hub.log.lock().expect("the log").clone();
            log.contains("refused a client certificate") && log.contains(&facts.serial) && log.contains(WEB)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_certificate_out_of_its_time_is_refused_unless_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str| dir.path().join(name);
    let authority = TestAuthority::new("server");
    for (valid, why) in [((-7_200, -3_600), "it has expired"), ((3_600, 7_200), "it is not valid yet")] {
        authority.serve_for(&file("cert.pem"), &file("key.pem"), valid);
        let mut command = binary();
        command
            .args(["serve", "--grpc-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0", "--data-dir"])
            .arg(file("data"));
        command.arg("--tls-cert").arg(file("cert.pem")).arg("--tls-key").arg(file("key.pem"));
        let output = command.output().expect("the binary runs");
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!output.status.success() && said.contains(why) && said.contains("tls_allow_invalid_time"), "{said}");

        let (cert, key) = (file("cert.pem").display().to_string(), file("key.pem").display().to_string());
        let hub =
            Hub::start_with(Database::Sqlite, &["--tls-cert", &cert, "--tls-key", &key, "--tls-allow-invalid-time"])
                .await;
        let log = hub.log.lock().expect("the log").clone();
        assert!(log.contains("clients refuse the TLS certificate of this server"), "{log}");
        let (_, _, metrics) = get(&hub.http, "/metrics").expect("metrics");
        assert!(metrics.contains("policyhub_tls_certificate_expiry_timestamp_seconds"), "{metrics}");
    }
}

/// Given an expired certificate above the server's own, there is only a warning: it may be one of several paths to an authority, and the
/// client decides.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_the_chain_out_of_its_time_is_a_warning() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str| dir.path().join(name);
    let (authority, other) = (TestAuthority::new("server"), TestAuthority::new("other"));
    authority.serve(&file("cert.pem"), &file("key.pem"));
    other.serve_for(&file("above.pem"), &file("above.key"), (-7_200, -3_600));
    let read = |name: &str| std::fs::read_to_string(file(name)).expect("PEM");
    replace(&file("chain.pem"), &[read("cert.pem"), read("above.pem")].concat());
    let (cert, key) = (file("chain.pem").display().to_string(), file("key.pem").display().to_string());
    let hub = Hub::start_with(Database::Sqlite, &["--tls-cert", &cert, "--tls-key", &key]).await;
    let ca = Some(authority.pem.clone().into_bytes());
    let client = Client::connect(&hub.grpc, Some(hub.token()), ca).await.expect("a connection");
    client.list_signing_keys(pb::ListSigningKeysRequest::default()).await.expect("an answer");
    let log = hub.log.lock().expect("the log").clone();
    let warned = log.lines().find(|line| line.contains("a certificate above the TLS certificate")).expect("a line");
    assert!(warned.contains("WARN") && warned.contains("it has expired"), "{warned}");
    assert!(!log.contains("clients refuse the TLS certificate of this server"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_does_not_cross_a_network_in_clear_text() {
    let directory = tempfile::tempdir().expect("a directory");
    // An address for documentation (RFC 5737), where no host answers.
    let ask = |flags: &[&str]| {
        let mut command = binary();
        command.args(["keys", "list", "--server", "http://192.0.2.1:7070", "--token", "secret"]).args(flags);
        let output = command.current_dir(directory.path()).output().expect("the binary runs");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let refused = ask(&[]);
    assert!(refused.contains("clear text") && refused.contains("--insecure-plaintext"), "{refused}");
    let tried = ask(&["--insecure-plaintext"]);
    assert!(tried.contains("no server at"), "{tried}");
}
