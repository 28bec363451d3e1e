//! Limits how many long reads run at once, in total and of one caller.
//!
//! Each uses a connection to the database and a core while it runs. Without a limit, one caller with many of them would use all
//! connections, and every other call would wait.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::access::Rpc;
use crate::domain::{Error, Reason, Result};

use super::fair_slots::{FairSlot, FairSlots};

/// How long a read waits for a slot. Longer: callers time out before they get the reason.
const SLOT_WAIT_MAX: Duration = Duration::from_secs(10);
/// How many checks of logs run or wait: they run one after the other.
const AUDITS_MAX: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LongReadKind {
    /// Reads pages of many rows.
    Pages,
    /// Reads all rows of a namespace: minutes for a large one or a slow reader.
    Export,
    /// Reads a whole log: minutes for a large one.
    Audit,
}

fn kind(rpc: Rpc) -> Option<LongReadKind> {
    match rpc {
        Rpc::ListPolicies
        | Rpc::ListVersions
        | Rpc::DiffVersions
        | Rpc::ListEvents
        | Rpc::ListActive
        | Rpc::ListSubscribers
        | Rpc::ListRuns
        | Rpc::ListSchedules
        | Rpc::ListNamespaces
        | Rpc::ListRoleBindings
        | Rpc::ListDenials => Some(LongReadKind::Pages),
        Rpc::ExportRows => Some(LongReadKind::Export),
        Rpc::VerifyLog => Some(LongReadKind::Audit),
        _ => None,
    }
}

/// The slots of long reads. Clones are the same ones.
#[derive(Debug, Clone)]
pub struct LongReads(Arc<LongReadSlots>);

#[derive(Debug)]
struct LongReadSlots {
    pages: FairSlots<String>,
    exports: FairSlots<String>,
    audits: FairSlots<String>,
}

impl LongReads {
    /// Creates the slots for a store with `readers` connections for reads. Half of them are for pages, a quarter for the pages of one
    /// caller; a quarter are for exports, one for one caller. One is for the check of a log, so that at least one is left for short reads.
    ///
    /// An export takes no slot of pages, because its caller reads pages of the log at the same time.
    #[must_use]
    pub fn new(readers: usize) -> Self {
        let pages = FairSlots::new((readers / 2).max(1), (readers / 4).max(1));
        let exports = FairSlots::new((readers / 4).max(1), 1);
        Self(Arc::new(LongReadSlots { pages, exports, audits: FairSlots::new(AUDITS_MAX, 1) }))
    }

    /// Takes a slot for an export if one is free now.
    ///
    /// # Errors
    /// `LIMIT_EXCEEDED` when none is free.
    pub fn try_take_export(&self, caller: &String) -> Result<FairSlot> {
        self.0.exports.try_take(caller, "export")
    }

    /// Waits for a slot for a call, in the order of the calls. Returns none for a call that is no long read.
    ///
    /// # Errors
    /// `LIMIT_EXCEEDED` when there is no slot in time.
    pub async fn take(&self, rpc: Rpc, caller: &String) -> Result<Option<FairSlot>> {
        let LongReadSlots { pages, exports, audits } = &*self.0;
        let slots = match kind(rpc) {
            None => return Ok(None),
            // Only the caller's own deadline limits this wait.
            Some(LongReadKind::Audit) => return audits.take(caller).await.map(Some),
            Some(LongReadKind::Pages) => pages,
            Some(LongReadKind::Export) => exports,
        };
        let taken = tokio::time::timeout(SLOT_WAIT_MAX, slots.take(caller)).await;
        taken.unwrap_or_else(|_| Err(too_many())).map(Some)
    }
}

fn too_many() -> Error {
    let seconds = SLOT_WAIT_MAX.as_secs();
    let message = format!(
        "too many lists, searches, diffs and exports run for this caller or on this server; none ended within {seconds} s: \
         run fewer at the same time"
    );
    Error::new(Reason::LimitExceeded, message).with("limit_seconds", seconds)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    /// Given every list RPC, each takes a slot, except that of the signing keys, which are in memory.
    #[test]
    fn every_list_takes_a_slot() {
        let lists = Rpc::ALL.iter().filter(|rpc| rpc.path().contains("/List") && **rpc != Rpc::ListSigningKeys);
        let without: Vec<&Rpc> = lists.filter(|rpc| kind(**rpc) != Some(LongReadKind::Pages)).collect();
        assert!(without.is_empty(), "{without:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_caller_has_a_quarter_of_the_connections_and_all_have_half() {
        let slots = LongReads::new(12);
        let take = |caller: &str| {
            let (slots, caller) = (slots.clone(), caller.to_owned());
            async move { slots.take(Rpc::ListEvents, &caller).await }
        };
        let mut held: Vec<_> = (0..3).map(|_| take("noisy").now_or_never().expect("a slot")).collect();
        let refused = take("noisy").await.expect_err("it has its share");
        assert_eq!((refused.reason, refused.metadata["limit_seconds"].as_str()), (Reason::LimitExceeded, "10"));
        held.extend((0..3).map(|_| take("other").now_or_never().expect("a slot")));
        assert!(take("third").await.is_err(), "the other half is for short calls");
        assert!(slots.take(Rpc::GetPolicy, &"third".to_owned()).await.expect("a short call").is_none());
        held.clear();
        assert!(take("noisy").now_or_never().is_some());
    }

    /// Given pages, exports and a check that run, a connection is left for short reads, and a caller that exports can read pages.
    #[tokio::test(start_paused = true)]
    async fn exports_leave_connections_to_others() {
        for readers in [5, 12] {
            let slots = LongReads::new(readers);
            let mut held = Vec::new();
            let take_all = async |rpc: Rpc, held: &mut Vec<_>| {
                let mut count = 0;
                while let Ok(slot) = slots.take(rpc, &format!("caller{}", held.len())).await {
                    held.push(slot);
                    count += 1;
                }
                count
            };
            let exports = take_all(Rpc::ExportRows, &mut held).await;
            let pages = take_all(Rpc::ListEvents, &mut held).await;
            assert!(exports >= 1 && pages >= 2, "{exports} exports and {pages} pages of {readers}");
            assert!(exports + pages + 1 < readers, "{exports} exports, {pages} pages and a check of {readers}");
        }
        let (slots, ann) = (LongReads::new(5), "ann".to_owned());
        let export = slots.take(Rpc::ExportRows, &ann).await.expect("a slot");
        assert!(slots.take(Rpc::ListEvents, &ann).now_or_never().is_some(), "a page beside the export");
        let refused = slots.take(Rpc::ExportRows, &ann).await.expect_err("one at a time");
        assert_eq!(refused.reason, Reason::LimitExceeded);
        drop(export);
        assert!(slots.take(Rpc::ExportRows, &ann).now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_caller_verifies_one_log_at_a_time() {
        let slots = LongReads::new(4);
        let (noisy, other) = ("noisy".to_owned(), "other".to_owned());
        let held = slots.take(Rpc::VerifyLog, &noisy).now_or_never().expect("a slot");
        assert!(slots.take(Rpc::VerifyLog, &noisy).now_or_never().is_none());
        assert!(slots.take(Rpc::VerifyLog, &other).now_or_never().is_some());
        drop(held);
        assert!(slots.take(Rpc::VerifyLog, &noisy).now_or_never().is_some());
    }
}
