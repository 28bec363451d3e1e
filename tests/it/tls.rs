//! TLS by files: clients that trust the authority can connect, others can't, and plaintext is refused.

use std::path::Path;
use std::process::Command;

use policyhub::client::{Client, pb};
use tonic::Code;

use crate::harness::hub::binary;
use crate::harness::{Database, Hub};

/// Writes a self-signed certificate for 127.0.0.1 and returns its files. Every OpenSSL since 1.1.1 has these options.
pub fn certificate(dir: &Path, name: &str) -> (String, String) {
    let (cert, key) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
    openssl.args(["-subj", "/CN=policyhub test", "-addext", "subjectAltName=IP:127.0.0.1"]);
    // The certificate of an authority is not valid for a server, and without this constraint it would count as both.
    openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    let output = openssl.arg("-keyout").arg(&key).arg("-out").arg(&cert).output().expect("openssl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (cert.display().to_string(), key.display().to_string())
}

#[tokio::test]
async fn who_trusts_the_authority_gets_in() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (cert, key) = certificate(dir.path(), "server");
    let (stranger, _) = certificate(dir.path(), "stranger");
    let hub = Hub::start_with(Database::Sqlite, &["--tls-cert", &cert, "--tls-key", &key]).await;
    assert!(hub.grpc.starts_with("https://"));
    let pem = std::fs::read(&cert).expect("a certificate");
    let client = Client::connect(&hub.grpc, Some(hub.token()), Some(pem.clone())).await.expect("a connection");
    client.list_signing_keys(pb::ListSigningKeysRequest::default()).await.expect("an answer");

    let other = std::fs::read(&stranger).expect("a certificate");
    for (who, ca) in [("the platform's authorities", None), ("another authority", Some(other))] {
        let error = Client::connect(&hub.grpc, Some(hub.token()), ca).await.expect_err(who);
        assert_eq!(error.code(), Code::Unavailable, "{who}: {error:?}");
    }
    // The same address by a name that the certificate does not have.
    let renamed = hub.grpc.replace("127.0.0.1", "localhost");
    Client::connect(&renamed, Some(hub.token()), Some(pem)).await.expect_err("another name");
    // Without TLS there is no answer, and the token is not sent.
    let plain = hub.grpc.replace("https://", "http://");
    if let Ok(client) = Client::connect(&plain, Some(hub.token()), None).await {
        let error = client.list_signing_keys(pb::ListSigningKeysRequest::default()).await.expect_err("plaintext");
        assert!(matches!(error.code(), Code::Unavailable | Code::Unknown | Code::Internal), "{error:?}");
    }
}

/// Given each mistake about TLS, the message names it.
#[tokio::test]
async fn the_command_says_what_is_wrong_with_tls() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (cert, key) = certificate(dir.path(), "server");
    let secure = Hub::start_with(Database::Sqlite, &["--tls-cert", &cert, "--tls-key", &key]).await;
    let plain = Hub::start(Database::Sqlite).await;
    let said = |server: &str, arguments: &[&str]| {
        let mut command = binary();
        command.args(["--server", server, "policy", "list"]).args(arguments).env("POLICYHUB_TOKEN", secure.token());
        let output = command.output().expect("the binary runs");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for (server, arguments, words) in [
        (secure.grpc.clone(), [].as_slice(), ["the server is not trusted at", "--ca-cert"]),
        (
            secure.grpc.replace("127.0.0.1", "localhost"),
            &["--ca-cert", &cert],
            ["the server is not trusted at", "name"],
        ),
        (secure.grpc.replace("https://", "http://"), &[], ["failed to", "next: check"]),
        (plain.grpc.replace("http://", "https://"), &["--ca-cert", &cert], ["no server at", "http://"]),
    ] {
        let text = said(&server, arguments);
        assert!(words.iter().all(|word| text.contains(word)), "{server}: {text}");
        assert!(!text.contains("--request-id") && !text.contains("check that the server runs"), "{server}: {text}");
    }
}

#[tokio::test]
async fn files_that_are_no_identity_are_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (cert, key) = certificate(dir.path(), "server");
    let (_, other_key) = certificate(dir.path(), "other");
    let absent = dir.path().join("absent.pem").display().to_string();
    let empty = dir.path().join("empty.pem").display().to_string();
    std::fs::write(&empty, "").expect("a file");
    for (case, cert, key, word) in [
        ("absent", &absent, &key, "absent.pem"),
        ("no certificate", &empty, &key, "TLS"),
        ("another's key", &cert, &other_key, "TLS"),
    ] {
        let data = dir.path().join("data");
        let mut command = binary();
        command.args(["serve", "--grpc-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0", "--data-dir"]).arg(&data);
        let output = command.args(["--tls-cert", cert, "--tls-key", key]).output().expect("the binary runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{case}: {said}");
        assert!(said.contains("error: ") && said.contains(word), "{case}: {said}");
        assert!(!said.contains("\"serving\"") && !said.contains(" serving"), "{case}: it said that it serves: {said}");
    }
}
