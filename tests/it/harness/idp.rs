//! An identity provider on loopback: one Ed25519 key at a time, a JWK set over HTTP, and how it may fail to give it.
//!
//! Ends with its test: the thread that answers holds nothing but a socket.

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

/// Says what it answers.
#[derive(Debug, Clone)]
pub enum IdpAnswer {
    /// 200 and this text.
    Body(String),
    /// A status, and further lines of the head.
    Status(&'static str, String),
    /// Nothing, for as long as it is asked to.
    Hang,
}

/// The provider.
#[derive(Debug)]
pub struct Idp {
    answer: Arc<Mutex<IdpAnswer>>,
    asked: Arc<AtomicU64>,
    port: u16,
}

/// A key of it.
#[derive(Debug)]
pub struct IdpKey {
    pair: Ed25519KeyPair,
    kid: String,
}

impl IdpKey {
    /// Returns the key of a number: another number, another key.
    pub fn new(number: u8) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[number; 32]).expect("a key");
        Self { pair, kid: format!("key-{number}") }
    }

    /// Returns its JWK.
    pub fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref());
        json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": self.kid, "alg": "EdDSA", "use": "sig"})
    }

    /// Returns a token of an hour.
    pub fn token(&self, subject: &str) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": self.kid});
        let claims = json!({"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "exp": now + 3_600, "iat": now,
            "groups": ["ops"]});
        let encode = |document: Value| URL_SAFE_NO_PAD.encode(document.to_string());
        let message = format!("{}.{}", encode(header), encode(claims));
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(self.pair.sign(message.as_bytes())))
    }
}

/// Returns a token that claims what another one does, under a `kid` of one's choice, and is signed by nobody.
pub fn unsigned(kid: &str, claims: &str) -> String {
    let header = json!({"alg": "EdDSA", "typ": "at+jwt", "kid": kid}).to_string();
    format!("{}.{claims}.AAAA", URL_SAFE_NO_PAD.encode(header))
}

/// Returns a JWK set.
pub fn jwks(keys: &[&IdpKey]) -> String {
    json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()}).to_string()
}

impl Idp {
    /// Returns a provider that gives these keys.
    pub fn of(keys: &[&IdpKey]) -> Self {
        Self::start(IdpAnswer::Body(jwks(keys)))
    }

    /// Returns a provider that answers so.
    pub fn start(answer: IdpAnswer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (answer, asked) = (Arc::new(Mutex::new(answer)), Arc::new(AtomicU64::new(0)));
        let (now, count) = (answer.clone(), asked.clone());
        std::thread::spawn(move || {
            // Those that hang are kept, else they would not.
            let mut hanging = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::SeqCst);
                let answer = now.lock().expect("an answer").clone();
                hanging.extend(reply(stream, &answer));
            }
        });
        Self { answer, asked, port }
    }

    /// Answers otherwise from now on.
    pub fn answer(&self, answer: IdpAnswer) {
        *self.answer.lock().expect("an answer") = answer;
    }

    /// Returns how often it was asked.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    /// Returns where its keys are.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/keys", self.port)
    }

    /// Returns the setting that trusts it, under the name `corp`.
    pub fn setting(&self) -> String {
        setting(&self.url())
    }
}

/// Returns the setting that trusts the issuer whose keys are at a place.
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

/// Waits until it has done so more often than before.
pub async fn reloaded(hub: &Hub, result: &str, source: &str, before: f64) {
    let wait = async {
        while reloads(hub, result, source) <= before {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(super::watching::DEADLINE, wait).await.expect("another read before the deadline");
}

/// Returns the reason for which a client is not let in; none when it is, whatever it may do then.
pub async fn kept_out(client: &Client) -> Option<String> {
    let request = pb::GetNamespaceRequest { name: NAMESPACE.to_owned() };
    let error = client.get_namespace(request).await.err()?;
    let refused = error.code() == Code::Unauthenticated;
    // A connection that broke says nothing of who is let in.
    assert!(refused || !error.reason().is_empty(), "{error:?}");
    refused.then_some(error.reason().to_owned())
}

/// Waits until a client is let in, or kept out for a reason.
pub async fn wait_until(client: &Client, wanted: Option<&str>) {
    let wait = async {
        while kept_out(client).await.as_deref() != wanted {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(super::watching::DEADLINE, wait).await.unwrap_or_else(|_| panic!("never came to {wanted:?}"));
}
