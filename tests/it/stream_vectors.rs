//! The stream vectors: recorded streams and lies made from them, played to every subscriber over a real connection.
//!
//! Each subscriber must reach the verdict of the vector: what is in force is a set that was in force, never older than what was verified,
//! with the given state; and an honest stream repairs it. `tests/python/streams.py` plays the same vectors to the Python example,
//! `tests/typescript/streams.ts` to the TypeScript example.

use std::time::Duration;

use tokio::sync::Semaphore;

use crate::harness::hostile_server::{Act, HostileServer, frame};
use crate::harness::watching::DEADLINE;

mod agent;
mod command;
mod format;
mod library;
mod lies;
mod lies_filtered;
mod lies_whole;
mod record;

use format::{StreamCase, StreamVectors, VectorSet};

/// Largest number of concurrent processes.
const AT_ONCE_MAX: usize = 4;

/// Returns messages as a server sends them.
fn frames(vectors: &StreamVectors, names: &[String]) -> Vec<Act> {
    names.iter().flat_map(|name| vectors.message(name)).map(|part| frame(0, &part)).collect()
}

/// A server that plays a case: each stream of the lie ends, and the honest one waits until it is allowed.
struct StreamStage {
    hostile: HostileServer,
    endpoint: String,
}

impl StreamStage {
    /// `reports`: whether the subscriber reports what it put in force. Then the lie is sent after that report: before it, there is nothing
    /// that a refusal of an older set could be about.
    async fn of(vectors: &StreamVectors, case: &StreamCase, reports: bool) -> Self {
        let (hostile, endpoint) = HostileServer::listen().await;
        let holds = case.before.iter().any(|name| name.contains(".snapshot."));
        {
            let mut received = hostile.script();
            for (index, lie) in case.lie.iter().enumerate() {
                let mut acts = if index == 0 { frames(vectors, &case.before) } else { Vec::new() };
                acts.extend((index == 0 && holds && reports).then_some(Act::UntilReported));
                acts.extend(frames(vectors, lie));
                received.streams.push_back(acts);
            }
            let repair = [Act::Gate].into_iter().chain(frames(vectors, &case.repair)).chain([Act::Silence]);
            received.always = Some(repair.collect());
        }
        Self { hostile, endpoint }
    }

    /// Waits until the honest stream is requested: everything before it was accepted or refused.
    async fn is_over(&self, case: &StreamCase) {
        let waiting = async {
            while self.hostile.script().asked.len() <= case.lie.len() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(DEADLINE, waiting).await.unwrap_or_else(|_| panic!("{}: no further stream", case.name));
    }

    /// Returns how many reports were rejections.
    fn rejections(&self) -> usize {
        let rejected = policyhub::client::pb::ApplyStatus::Rejected as i32;
        self.hostile.script().reports.iter().filter(|report| report.status == rejected).count()
    }
}

/// Returns what must be in force after the lie; `None` means nothing.
fn expected(vectors: &StreamVectors, case: &StreamCase) -> Option<VectorSet> {
    case.then.holds.as_ref().map(|place| vectors.set(place, &case.filter))
}

/// Plays each case to a separate process, some concurrently, and returns the number of cases.
async fn each_by_a_process<F: Future<Output = ()>>(vectors: &StreamVectors, play: impl Fn(StreamCase) -> F) -> usize {
    let places = Semaphore::new(AT_ONCE_MAX);
    let played = vectors.cases.iter().map(|case| async {
        let _place = places.acquire().await.expect("open");
        play(case.clone()).await;
    });
    futures_util::future::join_all(played).await.len()
}

/// Every kind of lie has a case, and there is no other kind.
#[test]
fn every_kind_is_there() {
    let vectors = StreamVectors::read();
    let mut kinds: Vec<&str> = vectors.cases.iter().map(|case| case.kind.as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let expected = [
        "beginning",
        "drop",
        "false tombstone",
        "filter narrowed",
        "heartbeat ahead",
        "honest",
        "key statement",
        "old bundle at a new place",
        "omitted policy",
        "place of 2^62",
        "proof of another root",
        "reorder",
        "replay",
        "snapshot without or with an older checkpoint",
        "splice of two filters",
        "splice of two namespaces",
        "splice of two times",
        "truncate",
    ];
    assert_eq!(kinds, expected);
    for case in &vectors.cases {
        let later = |place: &String| vectors.set(place, &[]).revision;
        let first = case.before.iter().find_map(|name| name.split(".snapshot.").nth(1));
        let held = case.then.holds.as_ref().map_or(0, later);
        assert!(first.is_none_or(|place| later(&place.to_owned()) <= held), "{}: goes back", case.name);
        assert!(
            case.then.refused <= case.lie.len() && (case.then.state != "READY" || !case.then.stale),
            "{}",
            case.name
        );
        for name in case.before.iter().chain(case.lie.iter().flatten()).chain(&case.repair) {
            assert!(!vectors.message(name).is_empty(), "{name}");
        }
    }
    let size = std::fs::metadata(format::path()).expect("the file").len();
    assert!(size < 1 << 20, "{size} bytes");
}
