//! Logs refused callers separately from the logs of namespaces, with target `policyhub::denied`.
//!
//! The output is bounded: a burst of lines, then a number of lines per second, the others counted in one line per period; each text
//! cut. Never logged: tokens, and anything of the request except the name of its RPC.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::domain::Reason;

/// Most lines of a burst. More: a flood fills the disk. Fewer: an important burst does not name all callers.
const LINES_BURST_MAX: u32 = 100;
/// Time between two lines during a flood: 10 per second.
const LINE_INTERVAL: Duration = Duration::from_millis(100);
/// Longest name of an actor in a line.
const ACTOR_MAX_CHARS: usize = 256;
/// Time between two summaries of the refusals that had no line.
pub(super) const DENIALS_INTERVAL: Duration = Duration::from_secs(10);

/// The log of refusals.
#[derive(Debug)]
pub struct Denials {
    lines: Mutex<Lines>,
}

/// A token bucket over lines.
#[derive(Debug)]
struct Lines {
    left: u32,
    /// When the newest token that `left` counts was added.
    filled: Instant,
    suppressed: u64,
}

/// Returns whether a call was refused because of its caller.
pub(super) fn is_denial(code: Code) -> bool {
    matches!(code, Code::Unauthenticated | Code::PermissionDenied)
}

impl Denials {
    /// Creates a record without refusals.
    pub(super) fn new(now: Instant) -> Self {
        Self { lines: Mutex::new(Lines { left: LINES_BURST_MAX, filled: now, suppressed: 0 }) }
    }

    /// Logs a refusal, or counts it. Returns its reason, which is one of the project's.
    pub(super) fn denied(
        &self,
        method: &'static str,
        status: &Status,
        peer: Option<SocketAddr>,
        now: Instant,
    ) -> String {
        let info = status.get_details_error_info();
        let said = info.as_ref().map_or("", |info| info.reason.as_str());
        let known = Reason::ALL.iter().map(|reason| reason.as_str()).find(|reason| reason == said);
        let reason = known.unwrap_or_else(|| "OTHER".to_owned());
        if self.lines.lock().unwrap_or_else(PoisonError::into_inner).take(now) {
            // A token that does not verify identifies nobody.
            let actor = info.as_ref().and_then(|info| info.metadata.get("actor"));
            let actor = actor.map_or("anonymous", String::as_str);
            let actor: String = actor.chars().take(ACTOR_MAX_CHARS).collect();
            let peer = peer.map(|peer| peer.to_string()).unwrap_or_default();
            tracing::warn!(target: "policyhub::denied", actor, method, reason, peer, "denied");
        }
        reason
    }

    /// Logs how many refusals had no line since the last summary.
    pub(super) fn sum_up(&self) {
        let suppressed = std::mem::take(&mut self.lines.lock().unwrap_or_else(PoisonError::into_inner).suppressed);
        if suppressed > 0 {
            tracing::warn!(target: "policyhub::denied", suppressed, "denied more, without a line for each");
        }
    }
}

impl Lines {
    fn take(&mut self, now: Instant) -> bool {
        let back = now.saturating_duration_since(self.filled).as_nanos() / LINE_INTERVAL.as_nanos();
        let back = u32::try_from(back).unwrap_or(u32::MAX);
        if back >= LINES_BURST_MAX - self.left {
            (self.left, self.filled) = (LINES_BURST_MAX, now);
        } else {
            self.left += back;
            self.filled += LINE_INTERVAL * back;
        }
        if self.left == 0 {
            self.suppressed += 1;
            return false;
        }
        self.left -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_has_its_burst_and_then_its_rate() {
        let start = Instant::now();
        let mut lines = Lines { left: LINES_BURST_MAX, filled: start, suppressed: 0 };
        let flood = |lines: &mut Lines, at: Duration| (0..1_000).filter(|_| lines.take(start + at)).count();
        assert_eq!(flood(&mut lines, Duration::ZERO), 100);
        assert_eq!(lines.suppressed, 900);
        assert_eq!(flood(&mut lines, Duration::from_millis(99)), 0);
        assert_eq!(flood(&mut lines, Duration::from_millis(100)), 1);
        // A part of a token is kept for later.
        assert_eq!(flood(&mut lines, Duration::from_millis(250)), 1);
        assert_eq!(flood(&mut lines, Duration::from_millis(300)), 1);
        assert_eq!(flood(&mut lines, Duration::from_secs(3_600)), 100, "never more than the burst");
        assert_eq!(flood(&mut lines, Duration::ZERO), 0, "a clock that goes back gives nothing");
    }
}
