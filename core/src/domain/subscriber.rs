//! Subscribers: what a stream says of its runtime, what the runtime reports, and which word counts when two meet.
//!
//! Order is (epoch, revision), never time. Words may be taken one by one or gathered first: the outcome is the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::digest::Digest;
use super::error::{Error, Reason, Result};
use super::event::{Cursor, Fingerprint};
use super::limits::SUBSCRIBER_ID_MAX_CHARS;
use super::name::{FOREIGN_ID_RULE, NamespaceId, PolicyId, is_foreign_id, parse_member};
use super::time::Micros;

/// The id a runtime gives itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SubscriberId(String);

impl SubscriberId {
    /// Takes an id; `field` is named in the error.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        if is_foreign_id(text, SUBSCRIBER_ID_MAX_CHARS) {
            return Ok(Self(text.to_owned()));
        }
        let rule = format!("must be 1 to {SUBSCRIBER_ID_MAX_CHARS} {FOREIGN_ID_RULE}");
        Err(Error::invalid_text(field, text, rule))
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SubscriberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A subscriber in its namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SubscriberName {
    /// The tenant.
    pub namespace: NamespaceId,
    /// The runtime.
    pub id: SubscriberId,
}

impl SubscriberName {
    /// Takes `namespaces/{namespace}/subscribers/{subscriber}`.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        let (namespace, id) = parse_member(field, text, "subscribers")?;
        Ok(Self { namespace, id: SubscriberId::parse(field, id)? })
    }
}

impl fmt::Display for SubscriberName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/subscribers/{}", self.namespace.name(), self.id)
    }
}

/// A principal that speaks for a subscriber. An id is its principal's from the first use until it was not heard of for
/// `SUBSCRIBER_ID_KEPT_SECONDS`; the database says whose it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SubscriberClaim {
    /// Which subscriber.
    pub name: SubscriberName,
    /// The principal, as `Principal::actor` writes it.
    pub owner: String,
}

impl SubscriberClaim {
    /// The refusal of a claim to an id that is another principal's. It does not say whose.
    #[must_use]
    pub fn refused(&self) -> Error {
        let SubscriberName { namespace, id } = &self.name;
        let message = format!("the subscriber id {id} of {} belongs to another principal", namespace.name());
        Error::new(Reason::SubscriberIdTaken, message).with("subscriber_id", id).with("actor", &self.owner)
    }
}

/// What a stream says of its runtime.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// What it says of itself.
    pub attributes: BTreeMap<String, String>,
    /// What it watches; empty: everything.
    pub policies: BTreeSet<PolicyId>,
}

/// What a runtime did with an activation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum Verdict {
    /// It runs with it.
    Applied,
    /// It keeps what it had.
    Rejected {
        /// Why.
        reason: String,
    },
}

/// One word of a runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Who says it.
    pub subscriber: SubscriberName,
    /// What it speaks of.
    pub cursor: Cursor,
    /// Which event it was told stands there, if it was.
    pub event: Option<Fingerprint>,
    /// Digest of the active set it runs with now.
    pub digest: Digest,
    /// What it did.
    pub verdict: Verdict,
}

/// Where a runtime stands by its reports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// The newest place it applied.
    pub applied: Cursor,
    /// Whether the digest it reported with it is that of the active set there.
    pub applied_matches: bool,
    /// The newest place it rejected; none once it applied that or something newer. Never below `applied`; at it when the
    /// rejection was said after.
    pub rejected: Cursor,
    /// Why.
    pub reason: String,
    /// What it ran with, by the report of the newest place.
    pub digest: Option<Digest>,
    /// The newest place it ever rejected, also once it applied something newer.
    pub refused: Cursor,
    /// Why.
    pub refusal: String,
}

impl Standing {
    /// The standing of a runtime that said nothing but this. `matches`: its digest is that of the active set there.
    #[must_use]
    pub fn after(report: Report, matches: bool) -> Self {
        let digest = Some(report.digest);
        match report.verdict {
            Verdict::Applied => Self { applied: report.cursor, applied_matches: matches, digest, ..Self::default() },
            Verdict::Rejected { reason } => Self {
                rejected: report.cursor,
                reason: reason.clone(),
                digest,
                refused: report.cursor,
                refusal: reason,
                ..Self::default()
            },
        }
    }

    /// The newest place it spoke of.
    #[must_use]
    pub fn place(&self) -> Cursor {
        self.applied.max(self.rejected)
    }

    /// This standing, and then what was said later. `store/tables/subscribers.rs` has the same rules in SQL.
    #[must_use]
    pub fn then(self, later: Self) -> Self {
        let digest = if later.place() >= self.place() { later.digest } else { self.digest };
        let (rejected, reason) = if later.rejected >= self.rejected {
            (later.rejected, later.reason)
        } else if self.rejected > later.applied {
            (self.rejected, self.reason)
        } else {
            (Cursor::NONE, String::new())
        };
        let (applied, applied_matches) = if later.applied >= self.applied {
            (later.applied, later.applied_matches)
        } else {
            (self.applied, self.applied_matches)
        };
        let stands = rejected >= applied;
        let (refused, refusal) =
            if later.refused >= self.refused { (later.refused, later.refusal) } else { (self.refused, self.refusal) };
        Self {
            refused,
            refusal,
            applied,
            applied_matches,
            rejected: if stands { rejected } else { Cursor::NONE },
            reason: if stands { reason } else { String::new() },
            digest,
        }
    }
}

/// A subscriber, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscriber {
    /// Its id.
    pub id: SubscriberId,
    /// The principal it belongs to, as `Principal::actor` writes it; empty: nobody used it since ids have owners.
    pub owner: String,
    /// What its stream says.
    pub profile: Profile,
    /// What it reported.
    pub standing: Standing,
    /// When it was heard of last.
    pub last_seen: Micros,
    /// Until when its lease holds.
    pub lease_end: Micros,
}

impl Subscriber {
    /// Whether its lease holds.
    #[must_use]
    pub fn is_online(&self, now: Micros) -> bool {
        self.lease_end > now
    }

    /// Whether it runs with something else than it says. A part of a set has no digest to compare with.
    #[must_use]
    pub fn has_diverged(&self) -> bool {
        self.standing.applied.known().is_some() && self.profile.policies.is_empty() && !self.standing.applied_matches
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(revision: i64) -> Cursor {
        Cursor { epoch: 1, revision }
    }

    fn digest(seed: u8) -> Digest {
        Digest::from_sha256(&[seed; 32])
    }

    fn word(revision: i64, rejects: bool, seed: u8) -> Standing {
        let namespace = NamespaceId::system();
        let subscriber = SubscriberName { namespace, id: SubscriberId("s".to_owned()) };
        let verdict = if rejects { Verdict::Rejected { reason: format!("r{seed}") } } else { Verdict::Applied };
        Standing::after(
            Report { subscriber, cursor: at(revision), event: None, digest: digest(seed), verdict },
            seed.is_multiple_of(2),
        )
    }

    fn standing(words: &[(i64, bool)]) -> (i64, i64) {
        let words = words.iter().map(|(revision, rejects)| word(*revision, *rejects, 0));
        let all = words.fold(Standing::default(), Standing::then);
        (all.applied.revision, all.rejected.revision)
    }

    #[test]
    fn the_newest_word_counts() {
        const REJECTS: bool = true;
        const APPLIES: bool = false;
        for (words, expected) in [
            (&[(3, APPLIES), (5, APPLIES), (4, APPLIES)][..], (5, 0)),
            (&[(3, APPLIES), (4, REJECTS)], (3, 4)),
            (&[(4, REJECTS), (3, APPLIES)], (3, 4)),
            (&[(4, REJECTS), (5, APPLIES)], (5, 0)),
            (&[(5, APPLIES), (4, REJECTS)], (5, 0)),
            // About one place, the last word.
            (&[(4, REJECTS), (4, APPLIES)], (4, 0)),
            (&[(4, APPLIES), (4, REJECTS)], (4, 4)),
            (&[(4, APPLIES), (4, REJECTS), (4, APPLIES)], (4, 0)),
            (&[(4, REJECTS), (6, REJECTS), (5, REJECTS)], (0, 6)),
        ] {
            assert_eq!(standing(words), expected, "{words:?}");
        }
    }

    #[test]
    fn ids_are_parts_of_names() {
        let (longest, too_long) = ("a".repeat(128), "a".repeat(129));
        for good in ["a", "pod-7", "shop:7~a_B.example", longest.as_str()] {
            assert!(SubscriberId::parse("id", good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a/b", "a%20b", "a\n", "a\0", "ä", too_long.as_str()] {
            assert!(SubscriberId::parse("id", bad).is_err(), "{bad:?}");
        }
    }

    fn any_words() -> impl Strategy<Value = Vec<Standing>> {
        let any =
            (0..5_i64, any::<bool>(), 0..4_u8).prop_map(|(revision, rejects, seed)| word(revision, rejects, seed));
        proptest::collection::vec(any, 0..9)
    }

    proptest! {
        #[test]
        fn words_may_be_gathered_first(words in any_words(), cut in 0..9_usize) {
            let fold = |words: &[Standing]| words.iter().cloned().fold(Standing::default(), Standing::then);
            let (first, rest) = words.split_at(cut.min(words.len()));
            prop_assert_eq!(fold(&words), fold(first).then(fold(rest)));
        }

        #[test]
        fn nothing_goes_back(words in any_words()) {
            let mut standing = Standing::default();
            for word in words {
                let next = standing.clone().then(word);
                prop_assert!(next.applied >= standing.applied && next.place() >= standing.place());
                prop_assert!(next.rejected == Cursor::NONE || next.rejected >= next.applied);
                standing = next;
            }
        }
    }
}
