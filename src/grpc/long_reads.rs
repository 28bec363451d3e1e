//! Reads that look through much: how many of them run at once, and how many of one caller.
//!
//! Each holds a connection to the database and a core for as long as it takes. Without a bound, one caller with many of them
//! would hold all connections, and every other call would wait behind them.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::access::Rpc;
use crate::domain::{Error, Reason, Result};
use crate::service::{FairSlot, FairSlots};

/// How long a read waits for its turn. Longer: callers give up before they are told why.
const TURN_WAIT_MAX: Duration = Duration::from_secs(10);
/// Logs that are verified or waited for at once: they run one after the other.
const AUDITS_MAX: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Pages of many rows.
    Pages,
    /// All rows of a namespace: minutes, of a large one or a slow reader.
    Export,
    /// A whole log: minutes, of a large one.
    Audit,
}

fn kind(rpc: Rpc) -> Option<Kind> {
    match rpc {
        Rpc::ListPolicies
        | Rpc::ListVersions
        | Rpc::DiffVersions
        | Rpc::ListEvents
        | Rpc::ListActive
        | Rpc::ListSubscribers
        | Rpc::ListRuns
        | Rpc::ListNamespaces
        | Rpc::ListRoleBindings
        | Rpc::ListDenials => Some(Kind::Pages),
        Rpc::ExportRows => Some(Kind::Export),
        Rpc::VerifyLog => Some(Kind::Audit),
        _ => None,
    }
}

/// The turns of long reads. Clones are the same ones.
#[derive(Debug, Clone)]
pub struct LongReads(Arc<Turns>);

#[derive(Debug)]
struct Turns {
    pages: FairSlots<String>,
    exports: FairSlots<String>,
    audits: FairSlots<String>,
}

impl LongReads {
    /// For a store with so many connections for reads: half of them are for pages, a quarter for those of one caller; a quarter are
    /// for exports, one for that of one caller. One is for the check of a log, so that at least one is left for short reads.
    ///
    /// An export has no page's turn: its caller reads pages of the log beside it.
    #[must_use]
    pub fn new(readers: usize) -> Self {
        let pages = FairSlots::new((readers / 2).max(1), (readers / 4).max(1));
        let exports = FairSlots::new((readers / 4).max(1), 1);
        Self(Arc::new(Turns { pages, exports, audits: FairSlots::new(AUDITS_MAX, 1) }))
    }

    /// A turn for a call, in the order of asking; none for one that is no long read.
    ///
    /// # Errors
    /// `LIMIT_EXCEEDED` when there is none in time.
    pub(super) async fn take(&self, rpc: Rpc, caller: &String) -> Result<Option<FairSlot>> {
        let Turns { pages, exports, audits } = &*self.0;
        let slots = match kind(rpc) {
            None => return Ok(None),
            // The caller's own deadline ends it.
            Some(Kind::Audit) => return audits.take(caller).await.map(Some),
            Some(Kind::Pages) => pages,
            Some(Kind::Export) => exports,
        };
        let taken = tokio::time::timeout(TURN_WAIT_MAX, slots.take(caller)).await;
        taken.unwrap_or_else(|_| Err(too_many())).map(Some)
    }
}

fn too_many() -> Error {
    let seconds = TURN_WAIT_MAX.as_secs();
    let message = format!(
        "too many lists, searches, diffs and exports run for this caller or on this server; none ended within {seconds} s: \
         make fewer at once"
    );
    Error::new(Reason::LimitExceeded, message).with("limit_seconds", seconds)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    /// Lists are long reads; the signing keys are in memory.
    #[test]
    fn every_list_takes_a_turn() {
        let lists = Rpc::ALL.iter().filter(|rpc| rpc.path().contains("/List") && **rpc != Rpc::ListSigningKeys);
        let without: Vec<&Rpc> = lists.filter(|rpc| kind(**rpc) != Some(Kind::Pages)).collect();
        assert!(without.is_empty(), "{without:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_caller_has_a_quarter_of_the_connections_and_all_have_half() {
        let turns = LongReads::new(12);
        let take = |caller: &str| {
            let (turns, caller) = (turns.clone(), caller.to_owned());
            async move { turns.take(Rpc::ListEvents, &caller).await }
        };
        let mut held: Vec<_> = (0..3).map(|_| take("noisy").now_or_never().expect("a turn")).collect();
        let refused = take("noisy").await.expect_err("it has its part");
        assert_eq!((refused.reason, refused.metadata["limit_seconds"].as_str()), (Reason::LimitExceeded, "10"));
        held.extend((0..3).map(|_| take("other").now_or_never().expect("a turn")));
        assert!(take("third").await.is_err(), "the other half is for short calls");
        assert!(turns.take(Rpc::GetPolicy, &"third".to_owned()).await.expect("a short call").is_none());
        held.clear();
        assert!(take("noisy").now_or_never().is_some());
    }

    /// Pages, exports and the one check that runs leave a connection to short reads; and who exports can read pages.
    #[tokio::test(start_paused = true)]
    async fn exports_leave_connections_to_others() {
        for readers in [5, 12] {
            let turns = LongReads::new(readers);
            let mut held = Vec::new();
            let take_all = async |rpc: Rpc, held: &mut Vec<_>| {
                let mut count = 0;
                while let Ok(turn) = turns.take(rpc, &format!("caller{}", held.len())).await {
                    held.push(turn);
                    count += 1;
                }
                count
            };
            let exports = take_all(Rpc::ExportRows, &mut held).await;
            let pages = take_all(Rpc::ListEvents, &mut held).await;
            assert!(exports >= 1 && pages >= 2, "{exports} exports and {pages} pages of {readers}");
            assert!(exports + pages + 1 < readers, "{exports} exports, {pages} pages and a check of {readers}");
        }
        let (turns, ann) = (LongReads::new(5), "ann".to_owned());
        let export = turns.take(Rpc::ExportRows, &ann).await.expect("a turn");
        assert!(turns.take(Rpc::ListEvents, &ann).now_or_never().is_some(), "a page beside the export");
        let refused = turns.take(Rpc::ExportRows, &ann).await.expect_err("one at a time");
        assert_eq!(refused.reason, Reason::LimitExceeded);
        drop(export);
        assert!(turns.take(Rpc::ExportRows, &ann).now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_caller_verifies_one_log_at_a_time() {
        let turns = LongReads::new(4);
        let (noisy, other) = ("noisy".to_owned(), "other".to_owned());
        let held = turns.take(Rpc::VerifyLog, &noisy).now_or_never().expect("a turn");
        assert!(turns.take(Rpc::VerifyLog, &noisy).now_or_never().is_none());
        assert!(turns.take(Rpc::VerifyLog, &other).now_or_never().is_some());
        drop(held);
        assert!(turns.take(Rpc::VerifyLog, &noisy).now_or_never().is_some());
    }
}
