//! Caches verified tokens, since a caller sends the same one with every call.
//!
//! Invariant: it contains only what the verifier accepted, under the digest of the whole token; an entry is used for a minute at
//! most, and never after the token's expiry.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use ring::digest::{SHA256, digest};

use crate::domain::principal::Caller;

/// Time after which a token is verified again. Longer: a key that is no longer trusted is noticed later.
pub const VERIFIED_MAX_SECONDS: i64 = 60;
/// Most tokens in the cache. With one more, the one that was used least recently is verified again when it comes.
const VERIFIED_MAX_TOKENS: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// A cache of verified tokens.
#[derive(Debug)]
pub(super) struct VerifiedTokens(Mutex<LruCache<Vec<u8>, CachedToken>>);

impl Default for VerifiedTokens {
    fn default() -> Self {
        Self(Mutex::new(LruCache::sparse(VERIFIED_MAX_TOKENS)))
    }
}

#[derive(Debug)]
struct CachedToken {
    caller: Caller,
    /// Digest of the client certificate that must come with it.
    bound_to: Option<String>,
    verified_at_seconds: i64,
    /// When the token itself expires.
    good_until_seconds: i64,
}

impl VerifiedTokens {
    fn lock(&self) -> MutexGuard<'_, LruCache<Vec<u8>, CachedToken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the caller of a token and what it is bound to, if it was verified within the last minute and has not expired.
    pub(super) fn get(&self, token: &str, now_seconds: i64) -> Option<(Caller, Option<String>)> {
        let key = digest(&SHA256, token.as_bytes());
        let mut tokens = self.lock();
        let entry = tokens.get(key.as_ref())?;
        let remembered = entry.verified_at_seconds..entry.verified_at_seconds.saturating_add(VERIFIED_MAX_SECONDS);
        let good = remembered.contains(&now_seconds) && now_seconds < entry.good_until_seconds;
        good.then(|| (entry.caller.clone(), entry.bound_to.clone()))
    }

    /// Caches a token that was verified at `now_seconds` and is valid until `good_until_seconds`.
    pub(super) fn insert(
        &self,
        token: &str,
        (caller, bound_to): (&Caller, Option<&String>),
        now_seconds: i64,
        good_until_seconds: i64,
    ) {
        let key = digest(&SHA256, token.as_bytes()).as_ref().to_vec();
        let (caller, bound_to) = (caller.clone(), bound_to.cloned());
        let entry = CachedToken { caller, bound_to, verified_at_seconds: now_seconds, good_until_seconds };
        self.lock().put(key, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::principal::{Credential, Principal};

    fn ann() -> Caller {
        let credential = Credential::Token {
            id: String::new(),
            key_id: String::new(),
            issued_at_seconds: 0,
            expires_at_seconds: 9_999,
        };
        Caller { principal: Principal::new("local", "ann"), credential }
    }

    #[test]
    fn a_token_is_remembered_for_a_minute_and_not_beyond_its_time() {
        let verified = VerifiedTokens::default();
        verified.insert("long", (&ann(), None), 1_000, 9_999);
        verified.insert("short", (&ann(), None), 1_000, 1_010);
        assert_eq!(verified.get("long", 1_059), Some((ann(), None)));
        assert_eq!(verified.get("long", 1_060), None, "asked again");
        assert_eq!(verified.get("long", 999), None, "a clock that went back proves nothing");
        assert_eq!(verified.get("short", 1_009), Some((ann(), None)));
        assert_eq!(verified.get("short", 1_010), None, "its time is over");
        assert_eq!(verified.get("lonG", 1_001), None, "every byte counts");
    }

    /// Given more tokens than the cache has room for, those that were used least recently are verified again, and no others.
    #[test]
    fn a_token_that_is_used_stays_however_many_come() {
        let (verified, most) = (VerifiedTokens::default(), VERIFIED_MAX_TOKENS.get());
        let insert = |token: &str| verified.insert(token, (&ann(), None), 1_000, 9_999);
        let is_known = |token: &str| verified.get(token, 1_001).is_some();
        insert("used");
        for number in 0..2 * most {
            insert(&number.to_string());
            assert!(verified.lock().len() <= most);
            assert!(number % 5_000 != 0 || is_known("used"), "verified anew after {number} others");
        }
        assert!(is_known("used"));
        assert!((most + 1..2 * most).all(|number| is_known(&number.to_string())), "the newest are all known");
        assert!((0..=most).all(|number| !is_known(&number.to_string())), "and the oldest are not");
    }
}
