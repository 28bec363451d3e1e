//! Subscribers: what a stream says of its runtime, what the runtime reports, and which report counts when two meet.
//!
//! Reports are ordered by (epoch, revision), never by time. They may be merged one by one or in batches: the outcome is the same.

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

    /// Returns the id.
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

/// Claims a subscriber id for a principal. An id is its principal's from the first use until it was not seen for
/// `SUBSCRIBER_ID_KEPT_SECONDS`; the database says whose it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SubscriberClaim {
    /// Says which subscriber.
    pub name: SubscriberName,
    /// The principal, as `Principal::actor` writes it.
    pub owner: String,
}

impl SubscriberClaim {
    /// Returns the refusal of a claim to an id that is another principal's. It does not say whose.
    #[must_use]
    pub fn refused(&self) -> Error {
        let SubscriberName { namespace, id } = &self.name;
        let message = format!("the subscriber id {id} of {} belongs to another principal", namespace.name());
        Error::new(Reason::SubscriberIdTaken, message).with("subscriber_id", id).with("actor", &self.owner)
    }
}

/// Holds what a stream says of its runtime.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// Holds what it says of itself.
    pub attributes: BTreeMap<String, String>,
    /// Holds what it watches; empty: everything.
    pub policies: BTreeSet<PolicyId>,
}

/// Says what a runtime did with an activation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum ReportVerdict {
    /// It runs with it.
    Applied,
    /// It keeps what it had.
    Rejected {
        /// Says why.
        reason: String,
    },
}

/// Holds one report of a runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusReport {
    /// Names the subscriber that reports.
    pub subscriber: SubscriberName,
    /// Names the activation that the report is about.
    pub cursor: Cursor,
    /// Says which event the server said stands there, if it did.
    pub event: Option<Fingerprint>,
    /// Digest of the active set it runs with now.
    pub digest: Digest,
    /// Holds what it did.
    pub verdict: ReportVerdict,
}

/// Describes what a runtime runs, by its reports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubscriberStatus {
    /// The newest activation that it applied.
    pub applied: Cursor,
    /// Says whether the digest it reported with it is that of the active set there.
    pub applied_matches: bool,
    /// The newest activation that it rejected; none once it applied that or something newer. Never below `applied`; at it when the
    /// rejection was said after.
    pub rejected: Cursor,
    /// Says why.
    pub reason: String,
    /// Holds the digest of the set that it ran with, by its newest report.
    pub digest: Option<Digest>,
    /// The newest activation that it ever rejected, also once it applied something newer.
    pub refused: Cursor,
    /// Says why.
    pub refusal: String,
}

impl SubscriberStatus {
    /// Returns the status of a runtime that said nothing but this. `matches`: its digest is that of the active set there.
    #[must_use]
    pub fn after(report: StatusReport, matches: bool) -> Self {
        let digest = Some(report.digest);
        match report.verdict {
            ReportVerdict::Applied => {
                Self { applied: report.cursor, applied_matches: matches, digest, ..Self::default() }
            }
            ReportVerdict::Rejected { reason } => Self {
                rejected: report.cursor,
                reason: reason.clone(),
                digest,
                refused: report.cursor,
                refusal: reason,
                ..Self::default()
            },
        }
    }

    /// Returns the newest activation that it reported about.
    #[must_use]
    pub fn newest(&self) -> Cursor {
        self.applied.max(self.rejected)
    }

    /// Merges a later report into this status. `store/tables/subscribers.rs` has the same rules in SQL.
    #[must_use]
    pub fn then(self, later: Self) -> Self {
        let digest = if later.newest() >= self.newest() { later.digest } else { self.digest };
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
    /// Holds what its stream says.
    pub profile: Profile,
    /// Holds what it reported.
    pub status: SubscriberStatus,
    /// Says when it was last seen.
    pub last_seen: Micros,
    /// Says until when its lease holds.
    pub lease_end: Micros,
}

impl Subscriber {
    /// Returns whether its lease holds.
    #[must_use]
    pub fn is_online(&self, now: Micros) -> bool {
        self.lease_end > now
    }

    /// Returns whether it runs with something else than it says. A part of a set has no digest to compare with.
    #[must_use]
    pub fn has_diverged(&self) -> bool {
        self.status.applied.known().is_some() && self.profile.policies.is_empty() && !self.status.applied_matches
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

    fn report(revision: i64, rejects: bool, seed: u8) -> SubscriberStatus {
        let namespace = NamespaceId::system();
        let subscriber = SubscriberName { namespace, id: SubscriberId("s".to_owned()) };
        let verdict =
            if rejects { ReportVerdict::Rejected { reason: format!("r{seed}") } } else { ReportVerdict::Applied };
        SubscriberStatus::after(
            StatusReport { subscriber, cursor: at(revision), event: None, digest: digest(seed), verdict },
            seed.is_multiple_of(2),
        )
    }

    fn status(reports: &[(i64, bool)]) -> (i64, i64) {
        let reports = reports.iter().map(|(revision, rejects)| report(*revision, *rejects, 0));
        let all = reports.fold(SubscriberStatus::default(), SubscriberStatus::then);
        (all.applied.revision, all.rejected.revision)
    }

    #[test]
    fn the_newest_word_counts() {
        const REJECTS: bool = true;
        const APPLIES: bool = false;
        for (reports, expected) in [
            (&[(3, APPLIES), (5, APPLIES), (4, APPLIES)][..], (5, 0)),
            (&[(3, APPLIES), (4, REJECTS)], (3, 4)),
            (&[(4, REJECTS), (3, APPLIES)], (3, 4)),
            (&[(4, REJECTS), (5, APPLIES)], (5, 0)),
            (&[(5, APPLIES), (4, REJECTS)], (5, 0)),
            // For one cursor, the last report counts.
            (&[(4, REJECTS), (4, APPLIES)], (4, 0)),
            (&[(4, APPLIES), (4, REJECTS)], (4, 4)),
            (&[(4, APPLIES), (4, REJECTS), (4, APPLIES)], (4, 0)),
            (&[(4, REJECTS), (6, REJECTS), (5, REJECTS)], (0, 6)),
        ] {
            assert_eq!(status(reports), expected, "{reports:?}");
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

    fn any_reports() -> impl Strategy<Value = Vec<SubscriberStatus>> {
        let any =
            (0..5_i64, any::<bool>(), 0..4_u8).prop_map(|(revision, rejects, seed)| report(revision, rejects, seed));
        proptest::collection::vec(any, 0..9)
    }

    proptest! {
        #[test]
        fn words_may_be_gathered_first(reports in any_reports(), cut in 0..9_usize) {
            let fold = |reports: &[SubscriberStatus]| reports.iter().cloned().fold(SubscriberStatus::default(), SubscriberStatus::then);
            let (first, rest) = reports.split_at(cut.min(reports.len()));
            prop_assert_eq!(fold(&reports), fold(first).then(fold(rest)));
        }

        #[test]
        fn nothing_goes_back(reports in any_reports()) {
            let mut status = SubscriberStatus::default();
            for report in reports {
                let next = status.clone().then(report);
                prop_assert!(next.applied >= status.applied && next.newest() >= status.newest());
                prop_assert!(next.rejected == Cursor::NONE || next.rejected >= next.applied);
                status = next;
            }
        }
    }
}
