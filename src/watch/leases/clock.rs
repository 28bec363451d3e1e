//! The time by which leases hold: the database's, for all replicas, guarded against jumps by a clock that has none.
//!
//! Pure: both times are parameters. Invariant: while the wall clock is in doubt, no lease that is renewed ends by it.

use std::time::Duration;

use tokio::time::Instant;

use crate::domain::limits::LEASE_TTL_SECONDS;
use crate::domain::time::Micros;

/// Farthest that the two clocks may drift apart between two looks. Lower: a clock that is slewed is taken for one that jumped.
/// Higher: a jump of less than this ends leases too early or too late by as much.
const DRIFT_MAX_MICROS: i64 = 2_000_000;
/// How long a jump is in doubt: by then whoever is online has renewed its lease by the new time.
const DOUBT: Duration = Duration::from_secs(LEASE_TTL_SECONDS.unsigned_abs());

/// What is remembered of both clocks.
#[derive(Debug, Default)]
pub(super) struct LeaseClock {
    /// The wall clock at a moment, as it went on from there without a jump.
    anchor: Option<(Micros, Instant)>,
    /// When a jump was seen.
    jumped_at: Option<Instant>,
    /// The wall clock was taken anew, and leases of another one may be in the database.
    is_new: bool,
}

impl LeaseClock {
    /// The time by which to judge leases, when the wall clock says `wall`. After a jump it is the earlier one of the new time
    /// and of the old one that went on: a lease is written by either until all were renewed.
    pub fn judge(&mut self, wall: Micros, now: Instant) -> Micros {
        let Some((then, at)) = self.anchor else { return self.anchor_at(wall, now) };
        let elapsed = now.saturating_duration_since(at).as_micros();
        let expected = then.0.saturating_add(i64::try_from(elapsed).unwrap_or(i64::MAX));
        if wall.0.abs_diff(expected) <= DRIFT_MAX_MICROS.unsigned_abs() {
            (self.anchor, self.jumped_at) = (Some((wall, now)), None);
            return wall;
        }
        let jumped_at = *self.jumped_at.get_or_insert(now);
        if now.saturating_duration_since(jumped_at) >= DOUBT {
            return self.anchor_at(wall, now);
        }
        Micros(wall.0.min(expected))
    }

    fn anchor_at(&mut self, wall: Micros, now: Instant) -> Micros {
        (self.anchor, self.jumped_at, self.is_new) = (Some((wall, now)), None, true);
        wall
    }

    /// Whether the wall clock was taken anew, and leases of another one were not shortened yet.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// They were.
    pub fn shortened(&mut self) {
        self.is_new = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

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
            // Written just before the jump, and just after it.
            let (old, new) = (start + second(600) + second(30), start + second(600) + jump + second(30));
            for later in 1..30 {
                let judged =
                    judge(start + second(600) + jump + second(later), 601 + u64::try_from(later).expect("small"));
                assert!(judged < old && judged < new, "{jump} {later}");
            }
            let settled = start + second(640) + jump;
            assert_eq!(judge(settled, 641), settled, "the new time is the time");
            assert_eq!(judge(settled + second(9), 650), settled + second(9));
            assert!(clock.is_new());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_jump_that_is_undone_was_none() {
        let (mut clock, began) = (LeaseClock::default(), Instant::now());
        clock.judge(Micros(HOUR), began);
        clock.shortened();
        clock.judge(Micros(3 * HOUR), began + Duration::from_secs(1));
        let back = Micros(HOUR + 40_000_000);
        assert_eq!(clock.judge(back, began + Duration::from_secs(40)), back);
        assert!(!clock.is_new());
    }
}
