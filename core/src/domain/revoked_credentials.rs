//! The credentials that were revoked.
//!
//! Invariant: a revoked credential is never valid again before it expires by itself, also when the row of the revocation is gone.

use std::collections::BTreeMap;

use super::principal::{Credential, Principal};
use super::revocation::Revocation;
use super::time::Micros;
use super::{Error, Reason, Result};

/// The set of revoked credentials.
#[derive(Debug, Clone, Default)]
pub struct RevokedCredentials {
    /// Until when the revocations of these token ids are kept.
    tokens: BTreeMap<String, Micros>,
    /// Until when credentials issued to these callers are revoked.
    subjects: BTreeMap<String, Micros>,
}

impl FromIterator<Revocation> for RevokedCredentials {
    fn from_iter<I: IntoIterator<Item = Revocation>>(revocations: I) -> Self {
        let mut revoked = Self::default();
        revocations.into_iter().for_each(|revocation| revoked.add(revocation));
        revoked
    }
}

impl RevokedCredentials {
    /// Adds a revocation.
    pub fn add(&mut self, revocation: Revocation) {
        let (ended, key, time) = match revocation {
            Revocation::Token { id, forget_time } => (&mut self.tokens, id, forget_time),
            Revocation::Subject { actor, time } => (&mut self.subjects, actor, time),
        };
        let known = ended.entry(key).or_insert(time);
        *known = time.max(*known);
    }

    /// Adds revocations, and removes those of credentials that have expired at `now`.
    #[must_use]
    pub fn and(mut self, revocations: Vec<Revocation>, now: Micros) -> Self {
        revocations.into_iter().for_each(|revocation| self.add(revocation));
        self.tokens.retain(|_, forget_time| *forget_time > now);
        self.subjects.retain(|_, time| Revocation::forget_time_of(*time) > now);
        self
    }

    /// Returns the number of revocations.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tokens.len() + self.subjects.len()
    }

    /// Returns whether nothing is revoked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Refuses a caller whose credential was revoked.
    ///
    /// # Errors
    /// `TOKEN_REVOKED`.
    pub fn check(&self, principal: &Principal, credential: &Credential) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let (id, issued_at_seconds) = match credential {
            Credential::Token { id, issued_at_seconds, .. } => (id.as_str(), issued_at_seconds),
            Credential::Certificate { issued_at_seconds, .. } => ("", issued_at_seconds),
        };
        let ended = self.tokens.contains_key(id)
            // Within the same second the order of issue and revocation is unknown.
            || self.subjects.get(&principal.actor()).is_some_and(|time| *issued_at_seconds <= time.seconds());
        if ended { Err(Error::new(Reason::TokenRevoked, "the credential was revoked")) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::principal::Caller;

    const SECOND: i64 = 1_000_000;

    fn token(id: &str, issued_at_seconds: i64) -> Caller {
        let credential = Credential::Token {
            id: id.to_owned(),
            key_id: String::new(),
            issued_at_seconds,
            expires_at_seconds: i64::MAX,
        };
        Caller { principal: Principal::new("local", "ann"), credential }
    }

    fn good(revoked: &RevokedCredentials, caller: &Caller) -> bool {
        revoked
            .check(&caller.principal, &caller.credential)
            .map_err(|error| assert_eq!(error.reason, Reason::TokenRevoked))
            .is_ok()
    }

    #[test]
    fn a_token_is_ended_by_its_id_and_a_subject_until_a_time() {
        let by_id = Revocation::Token { id: "a".to_owned(), forget_time: Micros(900 * SECOND) };
        let revoked = RevokedCredentials::default().and(vec![by_id], Micros(0));
        assert!(!good(&revoked, &token("a", 5)) && good(&revoked, &token("b", 5)) && good(&revoked, &token("", 5)));

        let by_subject = Revocation::Subject { actor: "local:ann".to_owned(), time: Micros(100 * SECOND + 1) };
        let revoked = RevokedCredentials::default().and(vec![by_subject], Micros(0));
        assert!(!good(&revoked, &token("b", 100)) && !good(&revoked, &token("", 0)));
        assert!(good(&revoked, &token("b", 101)), "a token that was issued later is good");
        let credential =
            Credential::Certificate { authority: String::new(), issued_at_seconds: 100, expires_at_seconds: i64::MAX };
        assert!(!good(&revoked, &Caller { credential, ..token("", 0) }), "certificates of the subject too");
        let other = Caller { principal: Principal::new("other", "ann"), ..token("b", 1) };
        assert!(good(&revoked, &other), "another issuer's subject is somebody else");
    }

    #[test]
    fn nothing_is_good_again_until_it_is_over_by_itself() {
        let revocation = |seconds| Revocation::Token { id: "a".to_owned(), forget_time: Micros(seconds * SECOND) };
        let revoked =
            RevokedCredentials::default().and(vec![revocation(900)], Micros(0)).and(Vec::new(), Micros(899 * SECOND));
        assert!(!good(&revoked, &token("a", 5)), "its row is gone, it stays ended");
        assert!(!good(&revoked.clone().and(vec![revocation(1)], Micros(0)), &token("a", 5)), "nor does it end earlier");
        assert!(revoked.and(Vec::new(), Micros(900 * SECOND)).is_empty());
    }
}
