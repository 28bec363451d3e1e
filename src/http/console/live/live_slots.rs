//! The number of live streams: of one session, and of all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::{Error, Reason, Result};

/// Live streams of one session. Browsers open 6 connections to a host over HTTP/1.1: with one stream on each, no page would load.
pub const LIVE_STREAMS_PER_SESSION_MAX: usize = 4;
/// Live streams of all sessions: half of the connections that the port takes.
const LIVE_STREAMS_MAX: usize = 128;

/// Counts the live streams.
#[derive(Debug, Default)]
pub struct LiveSlots(Arc<Mutex<LiveCounts>>);

#[derive(Debug, Default)]
struct LiveCounts {
    by_session: BTreeMap<String, usize>,
    all: usize,
}

/// The slot of one stream, free again when it is dropped.
#[derive(Debug)]
pub struct LiveSlot {
    counts: Arc<Mutex<LiveCounts>>,
    session: String,
}

impl LiveSlots {
    /// Takes a slot for a session.
    ///
    /// # Errors
    /// `TOO_MANY_STREAMS`.
    pub fn take(&self, session: &str) -> Result<LiveSlot> {
        let mut counts = locked(&self.0);
        let own = counts.by_session.get(session).copied().unwrap_or_default();
        let (whose, limit) = if own >= LIVE_STREAMS_PER_SESSION_MAX {
            ("of this session", LIVE_STREAMS_PER_SESSION_MAX)
        } else if counts.all >= LIVE_STREAMS_MAX {
            ("of this server", LIVE_STREAMS_MAX)
        } else {
            counts.all += 1;
            counts.by_session.insert(session.to_owned(), own + 1);
            return Ok(LiveSlot { counts: Arc::clone(&self.0), session: session.to_owned() });
        };
        let message = format!("{limit} pages {whose} are live already: reload this one to see what is new");
        Err(Error::new(Reason::TooManyStreams, message).with("limit", limit))
    }
}

impl Drop for LiveSlot {
    fn drop(&mut self) {
        let mut counts = locked(&self.counts);
        counts.all = counts.all.saturating_sub(1);
        let left = counts.by_session.get(&self.session).map_or(0, |own| own.saturating_sub(1));
        if left == 0 {
            counts.by_session.remove(&self.session);
        } else {
            counts.by_session.insert(self.session.clone(), left);
        }
    }
}

fn locked(counts: &Mutex<LiveCounts>) -> MutexGuard<'_, LiveCounts> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_and_the_server_have_so_many_streams() {
        let slots = LiveSlots::default();
        let mut held: Vec<LiveSlot> =
            (0..LIVE_STREAMS_PER_SESSION_MAX).map(|_| slots.take("a").expect("a slot")).collect();
        assert_eq!(slots.take("a").expect_err("too many").reason, Reason::TooManyStreams);
        let other = LIVE_STREAMS_MAX - held.len();
        let others: Vec<LiveSlot> = (0..other).map(|each| slots.take(&format!("s{each}")).expect("a slot")).collect();
        assert_eq!(slots.take("new").expect_err("too many").reason, Reason::TooManyStreams);
        drop(held.pop());
        let again = slots.take("new").expect("one was freed");
        assert_eq!(slots.take("a").expect_err("it was taken").reason, Reason::TooManyStreams);
        drop((held, others, again));
        let counts = locked(&slots.0);
        assert_eq!((counts.all, counts.by_session.len()), (0, 0), "nothing is kept of sessions that ended");
    }
}
