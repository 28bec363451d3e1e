//! An OpenID provider on loopback at which people sign in: metadata, authorization and token endpoints, over plain HTTP/1.1.
//!
//! Whoever comes to its authorization endpoint is signed in as `ann`. A code works once, with its PKCE verifier, its redirect address and
//! the client's secret.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::idp::{IdpKey, jwks, now_seconds};

/// The client that the provider knows, and the audience of its access tokens.
pub const CLIENT_ID: &str = "console-client";
pub const CLIENT_SECRET: &str = "s3cret &=%";
const ACCESS_AUDIENCE: &str = "hub";
/// How long its tokens live.
pub const TOKEN_SECONDS: u64 = 600;

/// What the provider does otherwise than it should.
#[derive(Debug, Clone, Default)]
pub struct Misbehaviour {
    /// Members of the metadata.
    pub metadata: Vec<(&'static str, Value)>,
    /// Claims of the ID token.
    pub id_claims: Vec<(&'static str, Value)>,
    /// Signs with a key that nobody knows.
    pub is_forged: bool,
    /// The access token is no JWT.
    pub is_opaque: bool,
}

/// The provider.
#[derive(Debug)]
pub struct SignInProvider {
    pub issuer: String,
    /// `ip:port`.
    pub address: String,
    pub misbehaviour: Arc<Mutex<Misbehaviour>>,
}

/// A code that was given, and for what.
#[derive(Debug, Clone)]
struct GivenCode {
    challenge: String,
    nonce: String,
    redirect_uri: String,
}

struct Serving {
    issuer: String,
    key: IdpKey,
    misbehaviour: Arc<Mutex<Misbehaviour>>,
    codes: BTreeMap<String, GivenCode>,
    given: u64,
}

impl SignInProvider {
    /// Starts a provider with the key of this number.
    pub fn start(key: u8) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (issuer, misbehaviour) = (format!("http://{address}"), Arc::<Mutex<Misbehaviour>>::default());
        let (named, known) = (issuer.clone(), misbehaviour.clone());
        std::thread::spawn(move || {
            let key = IdpKey::new(key);
            let mut serving = Serving { issuer: named, key, misbehaviour: known, codes: BTreeMap::new(), given: 0 };
            listener.incoming().map_while(Result::ok).for_each(|stream| serving.answer(stream));
        });
        Self { issuer, address, misbehaviour }
    }

    /// Makes it do something otherwise from now on.
    pub fn misbehave(&self, how: Misbehaviour) {
        *self.misbehaviour.lock().expect("a lock") = how;
    }
}

impl Serving {
    fn answer(&mut self, mut stream: TcpStream) {
        let (head, body) = read_request(&mut stream);
        let target = head.split(' ').nth(1).unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (status, header, body) = match path {
            "/.well-known/openid-configuration" => ("200 OK", String::new(), self.metadata().to_string()),
            "/keys" => ("200 OK", String::new(), jwks(&[&self.key])),
            "/authorize" => ("302 Found", format!("location: {}\r\n", self.authorize(&fields(query))), String::new()),
            "/token" => match self.token(&head, &fields(&body)) {
                Ok(tokens) => ("200 OK", String::new(), tokens.to_string()),
                Err(why) => {
                    let refusal = json!({"error": "invalid_grant", "error_description": why});
                    ("400 Bad Request", String::new(), refusal.to_string())
                }
            },
            _ => ("404 Not Found", String::new(), String::new()),
        };
        let length = body.len();
        let _ =
            write!(stream, "HTTP/1.1 {status}\r\n{header}content-length: {length}\r\nconnection: close\r\n\r\n{body}");
    }

    fn misbehaviour(&self) -> Misbehaviour {
        self.misbehaviour.lock().expect("a lock").clone()
    }

    fn metadata(&self) -> Value {
        let mut metadata = json!({
            "issuer": self.issuer,
            "authorization_endpoint": format!("{}/authorize", self.issuer),
            "token_endpoint": format!("{}/token", self.issuer),
            "jwks_uri": format!("{}/keys", self.issuer),
            "code_challenge_methods_supported": ["plain", "S256"],
            "authorization_response_iss_parameter_supported": true,
        });
        for (name, value) in self.misbehaviour().metadata {
            metadata[name] = value;
        }
        metadata
    }

    /// Signs `ann` in, and returns where her browser goes with the code.
    fn authorize(&mut self, asked: &BTreeMap<String, String>) -> String {
        let field = |name: &str| asked.get(name).cloned().unwrap_or_default();
        assert_eq!((field("response_type"), field("code_challenge_method")), ("code".into(), "S256".into()));
        assert_eq!((field("client_id"), field("scope")), (CLIENT_ID.into(), "openid".into()));
        self.given += 1;
        let code = format!("code-{}", self.given);
        let (challenge, nonce, redirect_uri) = (field("code_challenge"), field("nonce"), field("redirect_uri"));
        assert!(!challenge.is_empty() && !nonce.is_empty());
        self.codes.insert(code.clone(), GivenCode { challenge, nonce, redirect_uri: redirect_uri.clone() });
        let encode = |text: &str| -> String { text.bytes().map(|byte| format!("%{byte:02X}")).collect() };
        format!("{redirect_uri}?code={code}&state={}&iss={}", field("state"), encode(&self.issuer))
    }

    fn token(&mut self, head: &str, form: &BTreeMap<String, String>) -> Result<Value, &'static str> {
        let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
        let encode = |text: &str| -> String {
            let one = |byte: u8| match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' => char::from(byte).to_string(),
                other => format!("%{other:02X}"),
            };
            text.bytes().map(one).collect()
        };
        let basic = STANDARD.encode(format!("{}:{}", encode(CLIENT_ID), encode(CLIENT_SECRET)));
        if !head.contains(&format!("authorization: Basic {basic}\r\n")) && field("client_id") != CLIENT_ID {
            return Err("the client is unknown");
        }
        let given = self.codes.remove(field("code")).ok_or("the code is unknown, or was used")?;
        let digest = ring::digest::digest(&ring::digest::SHA256, field("code_verifier").as_bytes());
        if URL_SAFE_NO_PAD.encode(digest) != given.challenge {
            return Err("the verifier is not that of the challenge");
        }
        if (field("grant_type"), field("redirect_uri")) != ("authorization_code", given.redirect_uri.as_str()) {
            return Err("the redirect address is another one");
        }
        let how = self.misbehaviour();
        let ends = now_seconds() + TOKEN_SECONDS;
        let mut id = json!({"iss": self.issuer, "aud": CLIENT_ID, "sub": "ann", "exp": ends, "iat": now_seconds(),
            "nonce": given.nonce});
        for (name, value) in &how.id_claims {
            id[*name] = value.clone();
        }
        let access = json!({"iss": self.issuer, "aud": ACCESS_AUDIENCE, "sub": "ann", "exp": ends});
        let forger = IdpKey::new(99);
        let key = if how.is_forged { &forger } else { &self.key };
        let access = if how.is_opaque { "opaque".to_owned() } else { key.sign("at+jwt", &access) };
        Ok(json!({"access_token": access, "token_type": "Bearer", "id_token": key.sign("JWT", &id)}))
    }
}

fn fields(text: &str) -> BTreeMap<String, String> {
    let decode = |text: &str| percent_decode_str(text).decode_utf8().expect("UTF-8").into_owned();
    text.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, value)| (decode(name), decode(value))).collect()
}

fn read_request(stream: &mut TcpStream) -> (String, String) {
    let mut text = String::new();
    let mut buffer = [0; 4_096];
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
            if body.len() >= length {
                return (format!("{head}\r\n"), body.to_owned());
            }
        }
        let read = stream.read(&mut buffer).unwrap_or(0);
        if read == 0 {
            return (text, String::new());
        }
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap_or_default());
    }
}
