//! Sessions of the web console: a bearer token, sealed into a cookie, and the tokens of its forms.
//!
//! Invariant: nothing of a session is kept on the server, so that every replica with the same secret opens it; and a session proves
//! nothing by itself: the token in it is verified at each request.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::{hkdf, hmac};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::pending_sign_in::PendingSignIn;
use super::random_text::random_text;
use crate::domain::{Error, Reason, Result};

/// Largest cookie value. Browsers keep cookies of 4096 bytes with their name and attributes (RFC 6265 §6.1).
const COOKIE_MAX_BYTES: usize = 3_900;
/// Random bytes of a session id.
const ID_BYTES: usize = 16;
/// Is authenticated with each cookie, so that no other use of the key is ever taken for one.
const COOKIE_LABEL: &[u8] = b"policyhub console session 1";
/// The same for the cookie of a sign-in that has begun: no session is ever taken for one, nor the other way round.
const PENDING_LABEL: &[u8] = b"policyhub console sign-in 1";
const SEAL_LABEL: &[u8] = b"policyhub console: seal of cookies";
const FORM_LABEL: &[u8] = b"policyhub console: tokens of forms";

/// A session.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleSession {
    /// Distinguishes it from another session of the same caller.
    id: String,
    /// The caller's bearer token.
    token: String,
    /// The time at which it ends, in seconds since the Unix epoch: never after the token.
    ends_at_seconds: i64,
}

impl std::fmt::Debug for ConsoleSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConsoleSession").field("ends_at_seconds", &self.ends_at_seconds).finish_non_exhaustive()
    }
}

impl ConsoleSession {
    /// Begins a session with a token, which the caller has verified.
    ///
    /// # Errors
    /// `INTERNAL` when the system has no randomness.
    pub fn begin(token: &str, ends_at_seconds: i64) -> Result<Self> {
        Ok(Self { id: random_text(ID_BYTES)?, token: token.to_owned(), ends_at_seconds })
    }

    /// Returns what distinguishes it from another session.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the `authorization` header that its token makes.
    #[must_use]
    pub fn authorization_header(&self) -> String {
        format!("Bearer {}", self.token)
    }

    /// Returns the time at which it ends, in seconds since the Unix epoch.
    #[must_use]
    pub fn ends_at_seconds(&self) -> i64 {
        self.ends_at_seconds
    }
}

/// The keys of sessions, which replicas share.
pub struct ConsoleSessionKeys {
    seal: LessSafeKey,
    form: hmac::Key,
}

impl std::fmt::Debug for ConsoleSessionKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConsoleSessionKeys").finish_non_exhaustive()
    }
}

impl ConsoleSessionKeys {
    /// Derives the keys from the secret of console sessions.
    ///
    /// # Errors
    /// `INTERNAL`.
    pub fn new(secret: &[u8; 32]) -> Result<Self> {
        let failed = |_| Error::internal("failed to derive a key of console sessions");
        let secret = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, secret);
        let seal: UnboundKey = secret.expand(&[SEAL_LABEL], &CHACHA20_POLY1305).map_err(failed)?.into();
        let form: hmac::Key = secret.expand(&[FORM_LABEL], hmac::HMAC_SHA256).map_err(failed)?.into();
        Ok(Self { seal: LessSafeKey::new(seal), form })
    }

    /// Seals a session into the value of a cookie.
    ///
    /// # Errors
    /// `TOKEN_MALFORMED` for a token that is too long for a cookie.
    pub fn seal(&self, session: &ConsoleSession) -> Result<String> {
        self.seal_as(COOKIE_LABEL, session)
    }

    /// Opens the value of a cookie; none for one that these keys did not seal.
    #[must_use]
    pub fn open(&self, cookie: &str) -> Option<ConsoleSession> {
        self.open_as(COOKIE_LABEL, cookie)
    }

    /// Seals a sign-in that has begun into the value of a cookie.
    ///
    /// # Errors
    /// `TOKEN_MALFORMED` for one that is too long for a cookie.
    pub fn seal_pending(&self, pending: &PendingSignIn) -> Result<String> {
        self.seal_as(PENDING_LABEL, pending)
    }

    /// Opens the cookie of a sign-in that has begun.
    #[must_use]
    pub fn open_pending(&self, cookie: &str) -> Option<PendingSignIn> {
        self.open_as(PENDING_LABEL, cookie)
    }

    fn seal_as(&self, label: &[u8], value: &impl Serialize) -> Result<String> {
        let failed = |_| Error::internal("failed to seal a session");
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(failed)?;
        let mut sealed = serde_json::to_vec(value).map_err(|error| Error::internal(error.to_string()))?;
        let given = Nonce::assume_unique_for_key(nonce);
        self.seal.seal_in_place_append_tag(given, Aad::from(label), &mut sealed).map_err(failed)?;
        let cookie = URL_SAFE_NO_PAD.encode([nonce.as_slice(), &sealed].concat());
        if cookie.len() > COOKIE_MAX_BYTES {
            let message =
                "the token is too long for the cookie of a session: use one of at most 2,800 bytes, with fewer groups";
            return Err(Error::new(Reason::TokenMalformed, message));
        }
        Ok(cookie)
    }

    fn open_as<T: DeserializeOwned>(&self, label: &[u8], cookie: &str) -> Option<T> {
        let bytes = if cookie.len() <= COOKIE_MAX_BYTES { URL_SAFE_NO_PAD.decode(cookie).ok()? } else { return None };
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN)?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let opened = self.seal.open_in_place(nonce, Aad::from(label), &mut sealed).ok()?;
        serde_json::from_slice(opened).ok()
    }

    /// Returns the token that every form of a session carries.
    #[must_use]
    pub fn form_token(&self, session: &ConsoleSession) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.form, session.id.as_bytes()))
    }

    /// Returns whether a form that carries this token is one of the session. It takes the same time whatever the token is.
    #[must_use]
    pub fn is_form_token(&self, session: &ConsoleSession, given: &str) -> bool {
        let given = URL_SAFE_NO_PAD.decode(given).unwrap_or_default();
        hmac::verify(&self.form, session.id.as_bytes(), &given).is_ok()
    }

    /// Returns whether an answer of a provider carries the state of a sign-in. The time that it takes tells nothing of the state: what is
    /// compared is the MAC of both.
    #[must_use]
    pub fn is_state(&self, pending: &PendingSignIn, given: &str) -> bool {
        let own = hmac::sign(&self.form, pending.state.as_bytes());
        hmac::verify(&self.form, given.as_bytes(), own.as_ref()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(seed: u8) -> ConsoleSessionKeys {
        ConsoleSessionKeys::new(&[seed; 32]).expect("keys")
    }

    #[test]
    fn a_session_is_opened_by_every_replica_and_by_nobody_else() {
        let session = ConsoleSession::begin("a.b.c", 7).expect("a session");
        let cookie = keys(1).seal(&session).expect("a cookie");
        assert_eq!(keys(1).open(&cookie), Some(session.clone()));
        assert!(!cookie.contains("a.b.c") && !format!("{session:?}").contains("a.b.c"));
        assert_eq!(keys(2).open(&cookie), None);
        assert_ne!(keys(1).seal(&session).expect("a cookie"), cookie, "each has a nonce of its own");
    }

    #[test]
    fn a_cookie_that_was_changed_opens_nothing() {
        let cookie = keys(1).seal(&ConsoleSession::begin("a.b.c", 7).expect("a session")).expect("a cookie");
        let bytes = URL_SAFE_NO_PAD.decode(&cookie).expect("base64url");
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(keys(1).open(&URL_SAFE_NO_PAD.encode(&changed)), None, "byte {at}");
            assert_eq!(keys(1).open(&URL_SAFE_NO_PAD.encode(&bytes[..at])), None, "{at} bytes");
        }
        for other in ["", "=", "a b", &"A".repeat(5_000)] {
            assert_eq!(keys(1).open(other), None);
        }
    }

    #[test]
    fn a_token_too_long_for_a_browser_is_refused() {
        let fits = ConsoleSession::begin(&"x".repeat(2_800), 7).expect("a session");
        assert!(keys(1).seal(&fits).expect("a cookie").len() <= COOKIE_MAX_BYTES);
        let session = ConsoleSession::begin(&"x".repeat(2_900), 7).expect("a session");
        assert_eq!(keys(1).seal(&session).expect_err("too long").reason, Reason::TokenMalformed);
    }

    #[test]
    fn a_form_is_of_one_session() {
        let [one, other] = [(); 2].map(|()| ConsoleSession::begin("a.b.c", 7).expect("a session"));
        let token = keys(1).form_token(&one);
        assert!(keys(1).is_form_token(&one, &token));
        assert!(!keys(1).is_form_token(&other, &token), "another session of the same caller");
        assert!(!keys(2).is_form_token(&one, &token));
        assert!(!keys(1).is_form_token(&one, "") && !keys(1).is_form_token(&one, &token[1..]));
    }
}
