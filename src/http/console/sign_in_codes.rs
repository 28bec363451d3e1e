//! One-time codes: the command `policyhub console` shows its token, and gets a code that signs a browser in once.
//!
//! They are in the memory of this process alone. Invariant: bounded in number, and a code is gone once it was used.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::auth::random_code;
use crate::domain::Result;
use crate::domain::time::Micros;

/// How long a code may be used. Longer: somebody who sees the address later can use it.
pub const CODE_TTL_SECONDS: i64 = 60;
/// Most codes at once, and most of one caller: with one more the oldest is gone.
const CODES_MAX: usize = 256;
const CODES_PER_CALLER_MAX: usize = 4;

/// The codes that were given and not used yet, oldest first.
#[derive(Debug, Default)]
pub struct SignInCodes(Mutex<VecDeque<SignInCode>>);

struct SignInCode {
    code: String,
    /// The caller, as `Principal::actor` writes it.
    actor: String,
    token: String,
    expires_at_seconds: i64,
}

impl std::fmt::Debug for SignInCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignInCode").field("actor", &self.actor).finish_non_exhaustive()
    }
}

impl SignInCodes {
    fn lock(&self) -> MutexGuard<'_, VecDeque<SignInCode>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a code for a token, which the caller has verified as that of `actor`.
    ///
    /// # Errors
    /// `INTERNAL` when the system has no randomness.
    pub fn give(&self, actor: &str, token: &str, now: Micros) -> Result<String> {
        let code = random_code()?;
        let mut codes = self.lock();
        codes.retain(|each| each.expires_at_seconds > now.seconds());
        let own: Vec<usize> =
            codes.iter().enumerate().filter(|(_, each)| each.actor == actor).map(|(at, _)| at).collect();
        if let Some(oldest) = own.first().filter(|_| own.len() >= CODES_PER_CALLER_MAX) {
            codes.remove(*oldest);
        }
        if codes.len() >= CODES_MAX {
            codes.pop_front();
        }
        codes.push_back(SignInCode {
            code: code.clone(),
            actor: actor.to_owned(),
            token: token.to_owned(),
            expires_at_seconds: now.seconds().saturating_add(CODE_TTL_SECONDS),
        });
        Ok(code)
    }

    /// Returns whom a code signs in, without using it.
    #[must_use]
    pub fn actor_of(&self, code: &str, now: Micros) -> Option<String> {
        let codes = self.lock();
        let found = codes.iter().find(|each| each.code == code && each.expires_at_seconds > now.seconds());
        found.map(|each| each.actor.clone())
    }

    /// Takes the token of a code, which is used with that.
    pub fn take(&self, code: &str, now: Micros) -> Option<String> {
        let mut codes = self.lock();
        let at = codes.iter().position(|each| each.code == code)?;
        codes.remove(at).filter(|each| each.expires_at_seconds > now.seconds()).map(|each| each.token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = Micros(1_000_000_000);

    fn later(seconds: i64) -> Micros {
        Micros(NOW.0 + seconds * 1_000_000)
    }

    #[test]
    fn a_code_is_used_once_and_within_its_time() {
        let codes = SignInCodes::default();
        let code = codes.give("local:ann", "t", NOW).expect("a code");
        assert_eq!(codes.actor_of(&code, NOW).as_deref(), Some("local:ann"));
        assert_eq!(codes.take("other", NOW), None);
        assert_eq!(codes.take(&code, later(59)).as_deref(), Some("t"));
        assert_eq!(codes.take(&code, later(59)), None, "used");
        let code = codes.give("local:ann", "t", NOW).expect("a code");
        assert_eq!((codes.actor_of(&code, later(60)), codes.take(&code, later(60))), (None, None), "over");
        assert!(!format!("{codes:?}").contains('t') || !format!("{codes:?}").contains(&code));
    }

    #[test]
    fn codes_are_bounded() {
        let codes = SignInCodes::default();
        let give = |actor: &str| codes.give(actor, "t", NOW).expect("a code");
        let other = give("local:bob");
        let own: Vec<String> = (0..5).map(|_| give("local:ann")).collect();
        assert_eq!(codes.take(&own[0], NOW), None, "the oldest of its caller is gone");
        assert!(codes.take(&own[1], NOW).is_some() && codes.take(&other, NOW).is_some());
        for each in 0..1_000 {
            codes.give(&format!("local:{each}"), "t", NOW).expect("a code");
        }
        assert!(codes.lock().len() <= CODES_MAX);
    }
}
