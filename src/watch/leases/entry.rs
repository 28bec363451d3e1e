//! One subscriber of a replica, and which of its writes are due. Pure: paced by rounds, not by a clock.

use tokio_util::sync::CancellationToken;

use crate::domain::event::Cursor;
use crate::domain::subscriber::{Profile, SubscriberStatus};

/// Rounds between two writes of reports of one subscriber. With the rounds of `FLUSH_INTERVAL` that is 10 s, and up to a round more for a
/// write between two rounds.
pub(super) const ROUNDS_BETWEEN_WRITES: u64 = 6;

/// What this replica knows of a subscriber, and how much of it the database has.
#[derive(Debug, Default)]
pub(super) struct LeaseEntry {
    /// Number of open streams.
    pub streams: usize,
    /// The profile of the newest stream.
    pub profile: Profile,
    /// Number of streams opened so far.
    pub opened: u64,
    /// The value of `opened` whose profile the database has.
    pub announced: u64,
    /// Whether the database may have a lease of this replica for it.
    pub is_held: bool,
    /// Whether the database has a lease of another replica in its place, which was written later.
    pub is_elsewhere: bool,
    /// Whether the last stream asked its subscriber to reconnect before it ended.
    pub is_handed_over: bool,
    /// The reported status that may not be in the database.
    pub unwritten: SubscriberStatus,
    /// Number of reports accepted.
    pub report_count: u64,
    /// Number of reports in the database.
    pub written_count: u64,
    /// The round in which reports were last written.
    pub reports_round: Option<u64>,
    /// The newest rejection that is in the database.
    pub rejected: Cursor,
    /// Notifies the streams that the database refused the claim.
    pub refusal: CancellationToken,
    /// The round of the refusal.
    refused: Option<u64>,
}

/// The write that a lease needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeaseDue {
    /// The database does not have the stream's profile.
    Announce,
    /// The last stream ended.
    End,
    /// The last stream ended, and its subscriber was asked to reconnect.
    HandOver,
}

fn is_long_ago(then: u64, round: u64) -> bool {
    round.saturating_sub(then) >= ROUNDS_BETWEEN_WRITES
}

impl LeaseEntry {
    /// Opens a stream. Reports under another filter are dropped: they are of policies that this one did not ask for.
    pub fn open(&mut self, profile: Profile) {
        if self.opened > 0 && self.profile.policies != profile.policies {
            self.unwritten = SubscriberStatus::default();
            self.written_count = self.report_count;
        }
        self.streams += 1;
        self.opened += 1;
        self.is_handed_over = false;
        self.profile = profile;
    }

    /// Returns the write that the lease needs. An open stream that was announced needs none: the lease of the replica covers it.
    pub fn lease_due(&self) -> Option<LeaseDue> {
        match (self.streams, self.is_held) {
            _ if self.refused.is_some() => None,
            (0, false) => None,
            (0, true) if self.is_handed_over => Some(LeaseDue::HandOver),
            (0, true) => Some(LeaseDue::End),
            (_, true) if self.announced == self.opened => None,
            _ => Some(LeaseDue::Announce),
        }
    }

    /// Records that the database has the lease of the streams up to `opened`.
    pub fn mark_announced(&mut self, opened: u64) {
        self.announced = opened;
        self.is_elsewhere = false;
    }

    /// Records that the database has no lease of this replica.
    pub fn mark_let_go(&mut self) {
        self.is_held = false;
        self.is_elsewhere = false;
    }

    /// Records that the database lacks a lease that it should have: another replica wrote its own, or it has to be announced again.
    pub fn mark_not_found(&mut self, is_elsewhere: bool) {
        self.is_elsewhere = is_elsewhere;
        if !is_elsewhere {
            self.announced = 0;
        }
    }

    /// Whether there are reports to write in this round; the last one writes all. A new rejection is written at once, because an operator
    /// who rolls out waits for it.
    pub fn report_due(&self, round: u64, last: bool) -> bool {
        let is_urgent = self.unwritten.rejected > self.rejected;
        self.report_count > self.written_count
            && (last || is_urgent || self.reports_round.is_none_or(|then| is_long_ago(then, round)))
    }

    /// Whether the entry can be removed without losing a write or the pace of its reports.
    pub fn is_idle(&self, round: u64) -> bool {
        self.streams == 0
            && !self.is_held
            && self.report_count == self.written_count
            && self.reports_round.is_none_or(|then| is_long_ago(then, round))
            && !self.is_refused(round)
    }

    /// Whether the id was found to be another principal's so recently that the database need not be asked again.
    pub fn is_refused(&self, round: u64) -> bool {
        self.refused.is_some_and(|then| !is_long_ago(then, round))
    }

    /// Records that the id is another principal's: nothing is left to write, and waiting callers are notified.
    pub fn refuse(&mut self, round: u64) {
        self.mark_let_go();
        self.unwritten = SubscriberStatus::default();
        self.written_count = self.report_count;
        self.refused = Some(round);
        self.refusal.cancel();
    }

    /// Lets the database decide again who owns the id, when the refusal is old.
    pub fn claim_again(&mut self, round: u64) {
        if self.refused.is_some() && !self.is_refused(round) {
            self.refused = None;
            self.refusal = CancellationToken::new();
        }
    }

    /// Records that the reports up to a number are in the database, with the newest rejection.
    pub fn mark_reports_written(&mut self, report_count: u64, rejected: Cursor, round: u64) {
        self.written_count = self.written_count.max(report_count);
        self.rejected = self.rejected.max(rejected);
        self.reports_round = Some(round);
        if self.written_count == self.report_count {
            self.unwritten = SubscriberStatus::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_announced_once_and_ended() {
        let mut entry = LeaseEntry::default();
        assert_eq!(entry.lease_due(), None);
        entry.open(Profile::default());
        assert_eq!(entry.lease_due(), Some(LeaseDue::Announce));
        // The write was tried, with an unknown outcome.
        entry.is_held = true;
        assert_eq!(entry.lease_due(), Some(LeaseDue::Announce));
        entry.mark_announced(1);
        assert_eq!(entry.lease_due(), None);
        entry.streams = 0;
        assert_eq!(entry.lease_due(), Some(LeaseDue::End));
        // Opened again before its end was written: the database still has it, and gets the new stream's profile.
        entry.open(Profile::default());
        assert_eq!(entry.lease_due(), Some(LeaseDue::Announce));
        entry.mark_let_go();
        assert_eq!(entry.lease_due(), Some(LeaseDue::Announce));
    }

    #[test]
    fn a_lease_that_is_handed_over_is_not_ended() {
        let mut entry = LeaseEntry { is_held: true, is_handed_over: true, ..LeaseEntry::default() };
        assert_eq!(entry.lease_due(), Some(LeaseDue::HandOver));
        entry.open(Profile::default());
        entry.streams = 0;
        assert_eq!(entry.lease_due(), Some(LeaseDue::End), "it came back, and left");
    }

    #[test]
    fn a_lease_that_the_database_lost_is_announced_again() {
        let mut entry = LeaseEntry { streams: 1, opened: 1, announced: 1, is_held: true, ..LeaseEntry::default() };
        entry.mark_not_found(true);
        assert_eq!((entry.lease_due(), entry.is_elsewhere), (None, true), "another replica's stream is newer");
        entry.mark_not_found(false);
        assert_eq!((entry.lease_due(), entry.is_elsewhere), (Some(LeaseDue::Announce), false));
    }

    #[test]
    fn another_filter_forgets_what_was_said() {
        let profile = |id: &str| {
            let policies = [crate::domain::name::PolicyId::parse("policy", id).expect("an id")].into();
            Profile { policies, ..Profile::default() }
        };
        let mut entry = LeaseEntry::default();
        entry.open(profile("q"));
        (entry.report_count, entry.unwritten.applied) = (1, Cursor { epoch: 1, revision: 5 });
        entry.open(profile("q"));
        assert_ne!(entry.unwritten, SubscriberStatus::default(), "the same filter");
        entry.open(profile("p"));
        assert_eq!((&entry.unwritten, entry.written_count, entry.streams), (&SubscriberStatus::default(), 1, 3));
    }

    #[test]
    fn a_stream_too_short_to_be_announced_leaves_nothing_to_end() {
        let entry = LeaseEntry { opened: 1, ..LeaseEntry::default() };
        assert_eq!((entry.lease_due(), entry.is_idle(9)), (None, true));
    }

    #[test]
    fn a_refused_claim_writes_nothing_and_is_made_again_later() {
        let mut entry = LeaseEntry { streams: 1, opened: 1, report_count: 2, is_held: true, ..LeaseEntry::default() };
        let refusal = entry.refusal.clone();
        entry.unwritten.reason = "a lie".to_owned();
        entry.refuse(1);
        assert!(refusal.is_cancelled() && entry.is_refused(6) && !entry.is_refused(7));
        assert_eq!((entry.lease_due(), entry.report_due(2, true)), (None, false));
        assert_eq!(entry.unwritten, SubscriberStatus::default());
        entry.streams = 0;
        assert!(!entry.is_idle(6) && entry.is_idle(7), "it is remembered for as long as it is not asked again");
        entry.claim_again(6);
        assert!(entry.is_refused(6));
        entry.claim_again(7);
        entry.streams = 1;
        assert!(!entry.refusal.is_cancelled() && refusal.is_cancelled());
        assert_eq!(entry.lease_due(), Some(LeaseDue::Announce));
    }

    #[test]
    fn reports_are_paced_and_nothing_is_forgotten_before_it_is_written() {
        let mut entry = LeaseEntry { report_count: 1, ..LeaseEntry::default() };
        assert!(entry.report_due(1, false) && !entry.is_idle(1));
        entry.mark_reports_written(1, Cursor::NONE, 1);
        assert!(!entry.report_due(1, true) && !entry.is_idle(6) && entry.is_idle(7));
        entry.report_count = 3;
        assert!(!entry.report_due(6, false) && entry.report_due(6, true) && entry.report_due(7, false));
        entry.unwritten.reason = "kept".to_owned();
        // One more report arrived while these were being written.
        entry.mark_reports_written(2, Cursor::NONE, 7);
        assert_eq!(
            (entry.unwritten.reason.as_str(), entry.report_due(8, false), entry.report_due(13, false)),
            ("kept", false, true)
        );
        entry.mark_reports_written(3, Cursor::NONE, 13);
        assert_eq!(entry.unwritten, SubscriberStatus::default());
        // A rejection is due at once, and only once.
        let place = Cursor { epoch: 1, revision: 5 };
        (entry.report_count, entry.unwritten.rejected) = (5, place);
        assert!(entry.report_due(14, false));
        entry.mark_reports_written(4, place, 14);
        assert!(!entry.report_due(14, false) && entry.report_due(14, true), "other reports wait");
    }
}
