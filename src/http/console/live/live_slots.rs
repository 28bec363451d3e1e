//! The number of live streams: of one session, of one principal, and of all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::{Error, Reason, Result};

/// Live streams of one session. Browsers open 6 connections to a host over HTTP/1.1: with one stream on each, no page would load.
pub const LIVE_STREAMS_PER_SESSION_MAX: usize = 4;
/// Live streams of one principal, who may sign in as often as they like.
const LIVE_STREAMS_PER_PRINCIPAL_MAX: usize = 16;
/// Live streams of all sessions: half of the connections that the port takes.
const LIVE_STREAMS_MAX: usize = 128;

/// Counts the live streams.
#[derive(Debug, Default)]
pub struct LiveSlots(Arc<Mutex<LiveCounts>>);

#[derive(Debug, Default)]
struct LiveCounts {
    by_session: BTreeMap<String, usize>,
    by_principal: BTreeMap<String, usize>,
    all: usize,
}

/// The slot of one stream, free again when it is dropped.
#[derive(Debug)]
pub struct LiveSlot {
    counts: Arc<Mutex<LiveCounts>>,
    session: String,
    principal: String,
}

impl LiveSlots {
    /// Takes a slot for a session of a principal.
    ///
    /// # Errors
    /// `TOO_MANY_STREAMS`.
    pub fn take(&self, session: &str, principal: &str) -> Result<LiveSlot> {
        let mut counts = locked(&self.0);
        let of_session = counts.by_session.get(session).copied().unwrap_or_default();
        let of_principal = counts.by_principal.get(principal).copied().unwrap_or_default();
        let (whose, limit) = if of_session >= LIVE_STREAMS_PER_SESSION_MAX {
            ("of this session", LIVE_STREAMS_PER_SESSION_MAX)
        } else if of_principal >= LIVE_STREAMS_PER_PRINCIPAL_MAX {
            ("of yours", LIVE_STREAMS_PER_PRINCIPAL_MAX)
        } else if counts.all >= LIVE_STREAMS_MAX {
            ("of this server", LIVE_STREAMS_MAX)
        } else {
            counts.all += 1;
            counts.by_session.insert(session.to_owned(), of_session + 1);
            counts.by_principal.insert(principal.to_owned(), of_principal + 1);
            let (session, principal) = (session.to_owned(), principal.to_owned());
            return Ok(LiveSlot { counts: Arc::clone(&self.0), session, principal });
        };
        let message = format!("{limit} pages {whose} are live already: reload this one to see what is new");
        Err(Error::new(Reason::TooManyStreams, message).with("limit", limit))
    }
}

impl Drop for LiveSlot {
    fn drop(&mut self) {
        let mut counts = locked(&self.counts);
        counts.all = counts.all.saturating_sub(1);
        release(&mut counts.by_session, &self.session);
        release(&mut counts.by_principal, &self.principal);
    }
}

/// Takes one from a count. Nothing is kept of one that is 0.
fn release(counts: &mut BTreeMap<String, usize>, key: &str) {
    match counts.get_mut(key) {
        Some(count) if *count > 1 => *count -= 1,
        _ => _ = counts.remove(key),
    }
}

fn locked(counts: &Mutex<LiveCounts>) -> MutexGuard<'_, LiveCounts> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_a_principal_and_the_server_have_so_many_streams() {
        let slots = LiveSlots::default();
        let mut held: Vec<LiveSlot> =
            (0..LIVE_STREAMS_PER_SESSION_MAX).map(|_| slots.take("a", "ann").expect("a slot")).collect();
        assert_eq!(slots.take("a", "ann").expect_err("too many").reason, Reason::TooManyStreams);
        for session in ["b", "c", "d"] {
            held.extend((0..LIVE_STREAMS_PER_SESSION_MAX).map(|_| slots.take(session, "ann").expect("a slot")));
        }
        assert_eq!(slots.take("e", "ann").expect_err("too many").reason, Reason::TooManyStreams);
        let other = LIVE_STREAMS_MAX - held.len();
        let take_other = |each: usize| slots.take(&format!("s{each}"), &format!("p{each}")).expect("a slot");
        let others: Vec<LiveSlot> = (0..other).map(take_other).collect();
        assert_eq!(slots.take("new", "bob").expect_err("too many").reason, Reason::TooManyStreams);
        drop(held.pop());
        let again = slots.take("new", "bob").expect("one was freed");
        assert_eq!(slots.take("a", "ann").expect_err("it was taken").reason, Reason::TooManyStreams);
        drop((held, others, again));
        let counts = locked(&slots.0);
        assert_eq!(
            (counts.all, counts.by_session.len(), counts.by_principal.len()),
            (0, 0, 0),
            "nothing is kept of sessions that ended"
        );
    }
}
