//! One subscriber of a replica: what it is due to write. Pure: paced by rounds, not by a clock.

use tokio_util::sync::CancellationToken;

use crate::domain::event::Cursor;
use crate::domain::subscriber::{Profile, SubscriberStatus};

/// Rounds between two writes of one kind about one subscriber, unless its streams begin or end. With the rounds of
/// `FLUSH_INTERVAL` that is 10 s, and up to a round more for a write between two rounds.
pub(super) const ROUNDS_BETWEEN_WRITES: u64 = 6;

/// What is known of a subscriber here, and how much of it the database knows.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// Streams open now.
    pub streams: usize,
    /// What the newest of them says.
    pub profile: Profile,
    /// How often one was opened.
    pub opened: u64,
    /// Up to which of these the database knows the profile.
    pub announced: u64,
    /// The round in which a lease was written, or tried: the database may hold it.
    pub leased: Option<u64>,
    /// What was reported and may not be in the database.
    pub said: SubscriberStatus,
    /// How many reports were taken.
    pub words: u64,
    /// How many of them are in the database.
    pub written: u64,
    /// The round in which reports were written last.
    pub reported: Option<u64>,
    /// The newest rejection that is in the database.
    pub rejected: Cursor,
    /// Tells those who hold it that the database refused the claim.
    pub refusal: CancellationToken,
    /// The round in which it did.
    refused: Option<u64>,
}

/// What a lease needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeaseDue {
    /// The database does not know what the stream says.
    Announce,
    /// It does, and the lease grows old.
    Renew,
    /// The last stream ended.
    End,
}

fn is_long_ago(then: u64, round: u64) -> bool {
    round.saturating_sub(then) >= ROUNDS_BETWEEN_WRITES
}

impl Entry {
    /// A stream opens. What was said under another filter is of no policy that this one asks for.
    pub fn open(&mut self, profile: Profile) {
        if self.opened > 0 && self.profile.policies != profile.policies {
            self.said = SubscriberStatus::default();
            self.written = self.words;
        }
        self.streams += 1;
        self.opened += 1;
        self.profile = profile;
    }

    /// What its lease needs in this round.
    pub fn lease_due(&self, round: u64) -> Option<LeaseDue> {
        match (self.streams, self.leased) {
            _ if self.refused.is_some() => None,
            (0, None) => None,
            (0, Some(_)) => Some(LeaseDue::End),
            (_, Some(then)) if self.announced == self.opened => is_long_ago(then, round).then_some(LeaseDue::Renew),
            _ => Some(LeaseDue::Announce),
        }
    }

    /// Whether there are reports to write in this round; in the last one there is no later. A new rejection waits for no round:
    /// whoever rolled out wants to know at once.
    pub fn report_due(&self, round: u64, last: bool) -> bool {
        let is_urgent = self.said.rejected > self.rejected;
        self.words > self.written && (last || is_urgent || self.reported.is_none_or(|then| is_long_ago(then, round)))
    }

    /// Whether nothing would be lost with it, the pace of its reports neither.
    pub fn is_idle(&self, round: u64) -> bool {
        self.streams == 0
            && self.leased.is_none()
            && self.words == self.written
            && self.reported.is_none_or(|then| is_long_ago(then, round))
            && !self.is_refused(round)
    }

    /// Whether the id was found to be another principal's, so shortly before that the database need not be asked again.
    pub fn is_refused(&self, round: u64) -> bool {
        self.refused.is_some_and(|then| !is_long_ago(then, round))
    }

    /// The id is another principal's: nothing is left to write, and whoever waits for it is told.
    pub fn refuse(&mut self, round: u64) {
        self.leased = None;
        self.said = SubscriberStatus::default();
        self.written = self.words;
        self.refused = Some(round);
        self.refusal.cancel();
    }

    /// Asks the database again whose the id is, when it was refused long ago.
    pub fn claim_again(&mut self, round: u64) {
        if self.refused.is_some() && !self.is_refused(round) {
            self.refused = None;
            self.refusal = CancellationToken::new();
        }
    }

    /// Reports up to one are in the database, the newest rejection among them.
    pub fn wrote(&mut self, words: u64, rejected: Cursor, round: u64) {
        self.written = self.written.max(words);
        self.rejected = self.rejected.max(rejected);
        self.reported = Some(round);
        if self.written == self.words {
            self.said = SubscriberStatus::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_announced_renewed_and_ended() {
        let mut entry = Entry::default();
        assert_eq!(entry.lease_due(1), None);
        (entry.streams, entry.opened) = (1, 1);
        assert_eq!(entry.lease_due(1), Some(LeaseDue::Announce));
        // Tried, and nobody knows whether it was written.
        entry.leased = Some(1);
        assert_eq!(entry.lease_due(1), Some(LeaseDue::Announce));
        entry.announced = 1;
        assert_eq!((entry.lease_due(6), entry.lease_due(7)), (None, Some(LeaseDue::Renew)));
        entry.streams = 0;
        assert_eq!(entry.lease_due(2), Some(LeaseDue::End));
        // Opened again before its end was written: the database still knows it, and hears what the new stream says.
        (entry.streams, entry.opened) = (1, 2);
        assert_eq!(entry.lease_due(2), Some(LeaseDue::Announce));
        entry.leased = None;
        assert_eq!(entry.lease_due(2), Some(LeaseDue::Announce));
    }

    #[test]
    fn another_filter_forgets_what_was_said() {
        let profile = |id: &str| {
            let policies = [crate::domain::name::PolicyId::parse("policy", id).expect("an id")].into();
            Profile { policies, ..Profile::default() }
        };
        let mut entry = Entry::default();
        entry.open(profile("q"));
        (entry.words, entry.said.applied) = (1, Cursor { epoch: 1, revision: 5 });
        entry.open(profile("q"));
        assert_ne!(entry.said, SubscriberStatus::default(), "the same filter");
        entry.open(profile("p"));
        assert_eq!((&entry.said, entry.written, entry.streams), (&SubscriberStatus::default(), 1, 3));
    }

    #[test]
    fn a_stream_too_short_to_be_announced_leaves_nothing_to_end() {
        let entry = Entry { opened: 1, ..Entry::default() };
        assert_eq!((entry.lease_due(9), entry.is_idle(9)), (None, true));
    }

    #[test]
    fn a_refused_claim_writes_nothing_and_is_made_again_later() {
        let mut entry = Entry { streams: 1, opened: 1, words: 2, leased: Some(1), ..Entry::default() };
        let told = entry.refusal.clone();
        entry.said.reason = "a lie".to_owned();
        entry.refuse(1);
        assert!(told.is_cancelled() && entry.is_refused(6) && !entry.is_refused(7));
        assert_eq!((entry.lease_due(2), entry.report_due(2, true)), (None, false));
        assert_eq!(entry.said, SubscriberStatus::default());
        entry.streams = 0;
        assert!(!entry.is_idle(6) && entry.is_idle(7), "it is remembered for as long as it is not asked again");
        entry.claim_again(6);
        assert!(entry.is_refused(6));
        entry.claim_again(7);
        entry.streams = 1;
        assert!(!entry.refusal.is_cancelled() && told.is_cancelled());
        assert_eq!(entry.lease_due(7), Some(LeaseDue::Announce));
    }

    #[test]
    fn reports_are_paced_and_nothing_is_forgotten_before_it_is_written() {
        let mut entry = Entry { words: 1, ..Entry::default() };
        assert!(entry.report_due(1, false) && !entry.is_idle(1));
        entry.wrote(1, Cursor::NONE, 1);
        assert!(!entry.report_due(1, true) && !entry.is_idle(6) && entry.is_idle(7));
        entry.words = 3;
        assert!(!entry.report_due(6, false) && entry.report_due(6, true) && entry.report_due(7, false));
        entry.said.reason = "kept".to_owned();
        // One more came while these were being written.
        entry.wrote(2, Cursor::NONE, 7);
        assert_eq!(
            (entry.said.reason.as_str(), entry.report_due(8, false), entry.report_due(13, false)),
            ("kept", false, true)
        );
        entry.wrote(3, Cursor::NONE, 13);
        assert_eq!(entry.said, SubscriberStatus::default());
        // A rejection is due at once, and once.
        let place = Cursor { epoch: 1, revision: 5 };
        (entry.words, entry.said.rejected) = (5, place);
        assert!(entry.report_due(14, false));
        entry.wrote(4, place, 14);
        assert!(!entry.report_due(14, false) && entry.report_due(14, true), "what else was said waits");
    }
}
