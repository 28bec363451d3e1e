//! Credentials ended before their time: what is asked for, and what is kept of it.

use serde::Serialize;
use serde_json::{Value, json};

use super::event::{EventKind, Payload};
use super::lifecycle::check_reason;
use super::limits::TOKEN_LIFETIME_MAX_SECONDS;
use super::principal::{Principal, SPIFFE_ISSUER_NAME, SUBJECT_MAX_CHARS};
use super::spiffe::SpiffeId;
use super::time::Micros;
use super::{Error, Result};

/// Says what is to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum EndedCredential {
    /// Names one token, by its `jti`.
    Token(String),
    /// All that an actor was issued until now.
    Subject(String),
}

/// Ends credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RevokeToken {
    /// Says which.
    pub ended: EndedCredential,
    /// Says why.
    pub reason: String,
}

/// Says what is kept of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revocation {
    /// It ends one token.
    Token {
        /// Its `jti`.
        id: String,
        /// Says when no token of today is good any more by itself.
        forget_time: Micros,
    },
    /// All that an actor was issued is ended.
    Subject {
        /// The actor.
        actor: String,
        /// Says until when it was issued.
        time: Micros,
    },
}

impl RevokeToken {
    /// Checks what can be checked before anything is read.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`.
    pub fn check(&self) -> Result<()> {
        check_reason(&self.reason)?;
        match &self.ended {
            EndedCredential::Token(id) if !Principal::is_subject(id) => {
                Err(Error::invalid("token_id", format!("must be 1 to {SUBJECT_MAX_CHARS} printable ASCII characters")))
            }
            EndedCredential::Subject(actor) if !is_actor(actor) => {
                Err(Error::invalid("subject", "must be {issuer}:{subject}, as the log names it"))
            }
            EndedCredential::Token(_) | EndedCredential::Subject(_) => Ok(()),
        }
    }
}

fn is_actor(text: &str) -> bool {
    match text.split_once(':') {
        Some((SPIFFE_ISSUER_NAME, _)) => SpiffeId::parse(text).is_some(),
        // A group was issued nothing, so there would be nothing to end.
        Some(("group", _)) => false,
        Some((issuer, subject)) => Principal::is_issuer_name(issuer) && Principal::is_subject(subject),
        None => false,
    }
}

impl Revocation {
    /// Returns the record that is kept when a token or a session is ended at `now`.
    #[must_use]
    pub fn at(ended: &EndedCredential, now: Micros) -> Self {
        match ended {
            EndedCredential::Token(id) => Self::Token { id: id.clone(), forget_time: Self::forget_time_of(now) },
            EndedCredential::Subject(actor) => Self::Subject { actor: actor.clone(), time: now },
        }
    }

    /// Returns what the event says of it.
    #[must_use]
    pub fn to_settings(&self) -> Value {
        match self {
            Self::Token { id, .. } => json!({TOKEN_ID: id}),
            Self::Subject { actor, time } => json!({SUBJECT: actor, ISSUED_UNTIL: time}),
        }
    }

    /// Reads what an event ended; nothing when it is of another kind.
    #[must_use]
    pub fn of_event(payload: &Payload) -> Option<Self> {
        if payload.kind != EventKind::RevokeToken {
            return None;
        }
        let settings = payload.settings.as_ref()?;
        let text = |name| settings.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
        match text(TOKEN_ID) {
            Some(id) => Some(Self::Token { id, forget_time: Self::forget_time_of(payload.time) }),
            None => Some(Self::Subject { actor: text(SUBJECT)?, time: Micros(settings.get(ISSUED_UNTIL)?.as_i64()?) }),
        }
    }

    /// Returns when it ends nothing any more.
    #[must_use]
    pub fn forget_time(&self) -> Micros {
        match self {
            Self::Token { forget_time, .. } => *forget_time,
            Self::Subject { time, .. } => Self::forget_time_of(*time),
        }
    }

    /// Returns when everything issued until `time` is over by itself: no token is taken that lives longer.
    #[must_use]
    pub fn forget_time_of(time: Micros) -> Micros {
        Micros(time.0.saturating_add((TOKEN_LIFETIME_MAX_SECONDS + REMEMBER_SECONDS) * 1_000_000))
    }
}

/// Members of the event's settings.
const TOKEN_ID: &str = "token_id";
const SUBJECT: &str = "subject";
const ISSUED_UNTIL: &str = "issued_until";

/// Beyond the lifetime itself: clocks differ, and a day is cheap.
const REMEMBER_SECONDS: i64 = 24 * 60 * 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_no_credential_is_refused() {
        let check = |ended| RevokeToken { ended, reason: "lost".to_owned() }.check();
        let token = |id: &str| check(EndedCredential::Token(id.to_owned()));
        let subject = |actor: &str| check(EndedCredential::Subject(actor.to_owned()));
        token("jti-1").expect("an id");
        subject("local:ci").expect("an actor");
        subject(&format!("spiffe://example.org/{}", "a".repeat(1_000))).expect("a SPIFFE ID");
        let long = "a".repeat(256);
        for id in ["", " a", "a\n", "\u{430}", long.as_str()] {
            token(id).expect_err(id);
        }
        for actor in [
            "",
            "ci",
            ":ci",
            "local:",
            "local:a\n",
            "local: a",
            "group:local:ops",
            "Local:ann",
            &format!("local:{long}"),
        ] {
            subject(actor).expect_err(actor);
        }
        let silent = RevokeToken { ended: EndedCredential::Token("a".to_owned()), reason: " ".to_owned() };
        silent.check().expect_err("no reason");
    }
}
