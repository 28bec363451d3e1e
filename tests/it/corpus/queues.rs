//! Bounded concurrency with ordered queues: each queue is one task, and all versions of a policy are in one queue.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::history::{CorpusEntry, CorpusHistory};

/// Number of concurrent tasks.
pub const LANES: usize = 16;

/// Runs `work` for every queue, with the indices of its entries in the history. Each policy's versions are in one queue, in the order of
/// the history; between queues there is no order.
pub async fn run<T, F>(history: &Arc<CorpusHistory>, work: impl Fn(Vec<usize>) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let mut lanes = vec![Vec::new(); LANES];
    let mut lane_of = BTreeMap::<&str, usize>::new();
    for (place, CorpusEntry { policy, .. }) in history.entries.iter().enumerate() {
        let next = lane_of.len() % LANES;
        lanes[*lane_of.entry(policy).or_insert(next)].push(place);
    }
    let tasks: JoinSet<T> = lanes.into_iter().map(work).collect();
    tasks.join_all().await
}
