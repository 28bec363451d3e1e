//! The time by which leases are judged: the database's, for all replicas, protected against jumps by a monotonic clock, and stopped while
//! the database is away.
//!
//! Pure: all times are parameters. Invariant: neither a jump of the wall clock nor an outage of the database ends a lease that its holder
//! renews.

use std::time::Duration;

use tokio::time::Instant;

use crate::domain::limits::LEASE_TTL_SECONDS;
use crate::domain::time::Micros;

/// Maximum by which the two clocks may differ between two readings. Lower: a clock that is being slewed counts as one that jumped. Higher:
/// a smaller jump ends leases too early or too late by as much.
const DRIFT_MAX_MICROS: i64 = 2_000_000;
/// Time after a jump or an outage in which leases from before it may still be valid: by then every online holder has renewed. Shorter: a
/// holder that is slow to renew is shown offline. Longer: one that has gone is shown online for longer.
const RENEWED_WITHIN: Duration = Duration::from_secs(LEASE_TTL_SECONDS.unsigned_abs());

/// The state of the wall clock, the monotonic clock and the outages of the database.
#[derive(Debug, Default)]
pub(super) struct LeaseClock {
    /// The newest reading of the wall clock.
    newest: Option<Reading>,
    /// The slowest of the wall clocks by which leases were recently written, including the newest, after a jump.
    slowest: Option<Jumped>,
    /// Number of wall clocks seen, separated by jumps: the database may have leases of an earlier one.
    clocks: u64,
    /// Number of the wall clock to which the leases in the database were shortened last.
    shortened: u64,
    /// Since when the database is away.
    away_since: Option<Instant>,
    /// The outages whose time still does not count for leases.
    credit: Option<OutageCredit>,
}

/// A wall clock and the monotonic clock, read together.
#[derive(Debug, Clone, Copy)]
struct Reading {
    wall: Micros,
    at: Instant,
}

impl Reading {
    /// Returns what this wall clock reads at `now`, if it did not jump.
    fn at(self, now: Instant) -> Micros {
        let elapsed = now.saturating_duration_since(self.at).as_micros();
        Micros(self.wall.0.saturating_add(i64::try_from(elapsed).unwrap_or(i64::MAX)))
    }
}

/// The wall clock by which leases are judged after a jump.
#[derive(Debug, Clone, Copy)]
struct Jumped {
    by: Reading,
    /// Time at which the last jump was seen.
    seen_at: Instant,
}

/// Time in which no lease could be renewed.
#[derive(Debug, Clone, Copy)]
struct OutageCredit {
    outage: Duration,
    ended_at: Instant,
}

impl LeaseClock {
    /// Records whether the database is away, or refuses writes. Then no lease can be renewed: that time does not count until every holder
    /// has had the time to renew.
    pub fn note_database(&mut self, is_away: bool, now: Instant) {
        if is_away {
            self.away_since.get_or_insert(now);
        } else if self.away_since.is_some() {
            self.credit = Some(OutageCredit { outage: self.uncounted(now), ended_at: now });
            self.away_since = None;
        }
    }

    /// Returns the time by which to judge leases, when the wall clock reads `wall`.
    pub fn judge(&mut self, wall: Micros, now: Instant) -> Micros {
        let uncounted = i64::try_from(self.uncounted(now).as_micros()).unwrap_or(i64::MAX);
        Micros(self.without_jumps(wall, now).0.saturating_sub(uncounted))
    }

    /// Returns the time that does not count at `now`: that of the current outage, and of outages that ended shortly before it.
    fn uncounted(&self, now: Instant) -> Duration {
        let outage = self.away_since.map(|since| now.saturating_duration_since(since)).unwrap_or_default();
        // During an outage holders can't renew.
        let renewing_until = self.away_since.unwrap_or(now);
        let is_due = |credit: &OutageCredit| renewing_until.saturating_duration_since(credit.ended_at) < RENEWED_WITHIN;
        outage.saturating_add(self.credit.filter(is_due).map(|credit| credit.outage).unwrap_or_default())
    }

    /// Returns, after a jump, the earliest of the new clock and of the old ones as they would read now: leases of each of them are valid
    /// until all were renewed. A jump back is another jump.
    fn without_jumps(&mut self, wall: Micros, now: Instant) -> Micros {
        let newest = Reading { wall, at: now };
        let before = self.newest.replace(newest);
        let has_jumped =
            before.is_none_or(|before| wall.0.abs_diff(before.at(now).0) > DRIFT_MAX_MICROS.unsigned_abs());
        if has_jumped {
            self.clocks += 1;
        }
        let is_due = |jumped: &Jumped| now.saturating_duration_since(jumped.seen_at) < RENEWED_WITHIN;
        self.slowest = self.slowest.filter(is_due);
        if let Some(before) = before.filter(|_| has_jumped) {
            let candidates = [Some(newest), Some(before), self.slowest.map(|slowest| slowest.by)];
            let slowest = candidates.into_iter().flatten().min_by_key(|reading| reading.at(now));
            self.slowest = slowest.map(|by| Jumped { by, seen_at: now });
        }
        self.slowest.map_or(wall, |slowest| wall.min(slowest.by.at(now)))
    }

    /// Returns the number of the wall clock to which leases in the database must be shortened; none when they were.
    pub fn to_shorten(&self) -> Option<u64> {
        (self.shortened < self.clocks).then_some(self.clocks)
    }

    /// Records that leases were shortened to the wall clock of this number. A newer clock is still pending.
    pub fn mark_shortened(&mut self, number: u64) {
        self.shortened = self.shortened.max(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    fn micros(seconds: u64) -> i64 {
        i64::try_from(seconds).expect("small") * 1_000_000
    }

    #[tokio::test(start_paused = true)]
    async fn a_jump_ends_no_lease_that_is_renewed() {
        let second = |count: i64| count * 1_000_000;
        let (start, began) = (HOUR * 1_000, Instant::now());
        for jump in [HOUR, -HOUR, 24 * HOUR, -second(5)] {
            let mut clock = LeaseClock::default();
            let at = |seconds: u64| began + Duration::from_secs(seconds);
            let mut judge = |wall: i64, seconds: u64| clock.judge(Micros(wall), at(seconds)).0;
            assert_eq!(judge(start, 0), start);
            assert_eq!(judge(start + second(600), 601), start + second(600), "a clock may drift");
            // Leases written just before the jump, and just after it.
            let (old, new) = (start + second(600) + second(30), start + second(600) + jump + second(30));
            for later in 1..30 {
                let judged =
                    judge(start + second(600) + jump + second(later), 601 + u64::try_from(later).expect("small"));
                assert!(judged < old && judged < new, "{jump} {later}");
            }
            let settled = start + second(640) + jump;
            assert_eq!(judge(settled, 641), settled, "the new time is the time");
            assert_eq!(judge(settled + second(9), 650), settled + second(9));
            assert!(clock.to_shorten().is_some());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_jump_that_is_undone_ends_no_lease_of_the_clock_in_between() {
        for jump in [2 * HOUR, -2 * HOUR] {
            let (mut clock, began) = (LeaseClock::default(), Instant::now());
            let start = 10 * HOUR;
            let at = |seconds: u64| began + Duration::from_secs(seconds);
            clock.judge(Micros(start), began);
            clock.mark_shortened(clock.to_shorten().expect("the first clock"));
            clock.judge(Micros(start + jump + micros(1)), at(1));
            assert!(clock.to_shorten().is_some(), "leases of the clock before");
            clock.judge(Micros(start + jump + micros(15)), at(15));
            let written = start + jump + micros(15) + micros(30);
            // The clock is corrected: all holders renew within 30 s, and until then hold leases of the clock in between.
            for seconds in [16, 30, 44] {
                let judged = clock.judge(Micros(start + micros(seconds)), at(seconds)).0;
                assert!(judged < written && judged <= start + micros(seconds), "{jump} {seconds}: {judged}");
            }
            assert_eq!(clock.judge(Micros(start + micros(46)), at(46)).0, start + micros(46), "all were renewed");
            assert_eq!(clock.to_shorten(), Some(3), "leases of a clock that was ahead");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_jump_while_leases_are_shortened_is_not_forgotten() {
        let (mut clock, began) = (LeaseClock::default(), Instant::now());
        clock.judge(Micros(3 * HOUR), began);
        let first = clock.to_shorten().expect("the first clock");
        // Meanwhile the clock jumps back and is trusted again.
        for seconds in [1, 40] {
            clock.judge(Micros(HOUR + micros(seconds)), began + Duration::from_secs(seconds));
        }
        clock.mark_shortened(first);
        let second = clock.to_shorten().expect("leases of the clock before may hold for two hours");
        clock.mark_shortened(second);
        assert_eq!(clock.to_shorten(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_ends_no_lease_that_is_renewed_after_it() {
        let (mut clock, began) = (LeaseClock::default(), Instant::now());
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        let judge = |clock: &mut LeaseClock, seconds: u64| clock.judge(Micros(micros(seconds)), at(seconds)).0;
        clock.note_database(false, at(0));
        assert_eq!(judge(&mut clock, 100), micros(100));
        // Two records of an outage are one outage, from 100 to 200.
        clock.note_database(true, at(100));
        clock.note_database(true, at(150));
        assert_eq!(judge(&mut clock, 150), micros(100), "the clock stands still");
        clock.note_database(false, at(200));
        clock.note_database(false, at(201));
        assert_eq!(judge(&mut clock, 210), micros(110), "a lease lasts as long after it as it would have without it");
        // Away again before all holders have renewed, from 210 to 260: both outages count.
        clock.note_database(true, at(210));
        assert_eq!(judge(&mut clock, 250), micros(110));
        clock.note_database(false, at(260));
        assert_eq!(judge(&mut clock, 289), micros(139));
        assert_eq!(judge(&mut clock, 290), micros(290), "whoever is online has renewed");
        // Long after that, a new outage counts alone.
        clock.note_database(true, at(400));
        assert_eq!(judge(&mut clock, 410), micros(400));
    }
}
