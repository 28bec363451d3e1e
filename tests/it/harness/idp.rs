//! An identity provider on loopback: one Ed25519 key at a time, a JWK set over HTTP, and ways in which serving it may fail.
//!
//! It ends with its test: the thread that answers holds nothing but a socket.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use policyhub::client::{Client, pb};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use tonic::Code;

use super::Hub;
use super::calls::NAMESPACE;

/// `iss` of its tokens, and the `aud` they are for.
pub const ISSUER: &str = "https://id.example";
pub const AUDIENCE: &str = "hub";

/// What the provider answers.
#[derive(Debug, Clone)]
pub enum IdpAnswer {
    /// 200 and this text.
    Body(String),
    /// A status line, and further lines of the head.
    Status(&'static str, String),
    /// No answer, for as long as this is set.
    Hang,
}

/// The provider.
#[derive(Debug)]
pub struct Idp {
    answer: Arc<Mutex<IdpAnswer>>,
    asked: Arc<AtomicU64>,
    port: u16,
}

/// A key of the provider.
#[derive(Debug)]
pub struct IdpKey {
    pair: Ed25519KeyPair,
    kid: String,
}

impl IdpKey {
    /// Returns the key of a number; different numbers give different keys.
    pub fn new(number: u8) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[number; 32]).expect("a key");
        Self { pair, kid: format!("key-{number}") }
    }

    /// Returns the key's JWK.
    pub fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref());
        json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": self.kid, "alg": "EdDSA", "use": "sig"})
    }

    /// Returns a token that is valid for an hour.
    pub fn token(&self, subject: &str) -> String {
        let now = now_seconds();
        self.sign(
            "at+jwt",
            &json!({"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "exp": now + 3_600, "iat": now,
            "groups": ["ops"]}),
        )
    }

    /// Signs claims as a token of this type.
    pub fn sign(&self, typ: &str, claims: &Value) -> String {
        let header = json!({"alg": "EdDSA", "typ": typ, "kid": self.kid});
        let encode = |document: &Value| URL_SAFE_NO_PAD.encode(document.to_string());
        let message = format!("{}.{}", encode(&header), encode(claims));
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(self.pair.sign(message.as_bytes())))
    }
}

/// Returns the time in seconds since the Unix epoch.
pub fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// Returns a token with these claims and `kid` that has no valid signature.
pub fn unsigned(kid: &str, claims: &str) -> String {
    let header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": kid}).to_string();
    format!("{}.{claims}.AAAA", URL_SAFE_NO_PAD.encode(header))
}

/// Returns a JWK set.
pub fn jwks(keys: &[&IdpKey]) -> String {
    json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()}).to_string()
}

impl Idp {
    /// Starts a provider that serves these keys.
    pub fn of(keys: &[&IdpKey]) -> Self {
        Self::start(IdpAnswer::Body(jwks(keys)))
    }

    /// Starts a provider with this answer.
    pub fn start(answer: IdpAnswer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (answer, asked) = (Arc::new(Mutex::new(answer)), Arc::new(AtomicU64::new(0)));
        let (now, count) = (answer.clone(), asked.clone());
        std::thread::spawn(move || {
            // Keep the hanging connections: dropping one would close it.
            let mut hanging = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::SeqCst);
                let answer = now.lock().expect("an answer").clone();
                hanging.extend(reply(stream, &answer));
            }
        });
        Self { answer, asked, port }
    }

    /// Changes the answer from now on.
    pub fn answer(&self, answer: IdpAnswer) {
        *self.answer.lock().expect("an answer") = answer;
    }

    /// Returns how many requests were received.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    /// Returns the URL of the JWK set.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/keys", self.port)
    }

    /// Returns the setting that trusts it, under the name `corp`.
    pub fn setting(&self) -> String {
        setting(&self.url())
    }
}

/// Returns the setting that trusts the issuer whose keys are at this URL.
pub fn setting(jwks: &str) -> String {
    json!([{"name": "corp", "issuer": ISSUER, "audience": AUDIENCE, "jwks": jwks, "groups_claim": "groups"}])
        .to_string()
}

fn reply(mut stream: TcpStream, answer: &IdpAnswer) -> Option<TcpStream> {
    let _ = stream.read(&mut [0; 4_096]);
    let (status, head, body) = match answer {
        IdpAnswer::Hang => return Some(stream),
        IdpAnswer::Body(body) => ("200 OK", String::new(), body.as_str()),
        IdpAnswer::Status(status, head) => (*status, head.clone(), ""),
    };
    let length = body.len();
    let _ = write!(stream, "HTTP/1.1 {status}\r\n{head}content-length: {length}\r\nconnection: close\r\n\r\n{body}");
    None
}

/// Returns how often the server has read keys or TLS files, by result (`ok`, `failed`) and source.
pub fn reloads(hub: &Hub, result: &str, source: &str) -> f64 {
    let row = format!(r#"policyhub_reloads_total{{result="{result}",source="{source}"}}"#);
    super::metrics::counted(&super::metrics::text(hub), &row).unwrap_or(0.0)
}

/// Waits until the counter of [`reloads`] is above `before`.
pub async fn reloaded(hub: &Hub, result: &str, source: &str, before: f64) {
    let wait = async {
        while reloads(hub, result, source) <= before {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(super::watching::DEADLINE, wait).await.expect("another read before the deadline");
}

/// Returns the reason with which a client's authentication is refused; `None` when it is accepted, whatever its permissions.
pub async fn kept_out(client: &Client) -> Option<String> {
    let request = pb::GetNamespaceRequest { name: NAMESPACE.to_owned() };
    let error = client.get_namespace(request).await.err()?;
    let refused = error.code() == Code::Unauthenticated;
    // A broken connection does not show whether the client is authenticated.
    assert!(refused || !error.reason().is_empty(), "{error:?}");
    refused.then_some(error.reason().to_owned())
}

/// Waits until a client is accepted, or refused for this reason.
pub async fn wait_until(client: &Client, wanted: Option<&str>) {
    let wait = async {
        while kept_out(client).await.as_deref() != wanted {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(super::watching::DEADLINE, wait).await.unwrap_or_else(|_| panic!("never came to {wanted:?}"));
}
