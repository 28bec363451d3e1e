//! Durable and idempotent: what was acknowledged survives kill -9, and a retry has one effect (docs/guarantees.md#g1, #g6, #g7).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use policyhub::client::{Client, ClientError, pb};
use tonic::Code;

use crate::harness::calls::{Revision as _, draft_request, policy};
use crate::harness::{on_both_databases, watching};

const WRITERS: usize = 8;
const ROUNDS: usize = 4;
/// Number of acknowledged writes after which the server is killed, in each round.
const WRITES_PER_ROUND: usize = 40;

/// A write that a client sends.
#[derive(Clone, Debug)]
enum DurableWrite {
    Draft(Box<pb::DraftRequest>),
    Publish(pb::PublishRequest),
}

/// The server's answer to a write: its revision and what it made.
#[derive(Debug)]
struct AcknowledgedWrite {
    request_id: String,
    revision: i64,
    version: String,
    digest: String,
}

impl DurableWrite {
    fn request_id(&self) -> &str {
        match self {
            Self::Draft(request) => &request.request_id,
            Self::Publish(request) => &request.request_id,
        }
    }

    async fn run(&self, client: &Client) -> Result<AcknowledgedWrite, ClientError> {
        let (version, revision) = match self {
            Self::Draft(request) => {
                let answer = client.draft(*request.clone()).await?;
                (answer.version, answer.cursor.revision())
            }
            Self::Publish(request) => {
                let answer = client.publish(request.clone()).await?;
                (answer.version, answer.cursor.revision())
            }
        };
        let version = version.expect("a version");
        let request_id = self.request_id().to_owned();
        Ok(AcknowledgedWrite { request_id, revision, version: version.name, digest: version.digest })
    }
}

/// A client that drafts and publishes in turn. It keeps what was acknowledged, and the one write whose outcome is unknown.
struct DurableWriter {
    number: usize,
    writes: usize,
    acknowledged: Vec<AcknowledgedWrite>,
    unknown: Option<DurableWrite>,
}

impl DurableWriter {
    /// Returns the next write: a draft, or the publication of the draft before. Every second writer uses the shared policy.
    fn next(&mut self) -> DurableWrite {
        self.writes += 1;
        let request_id = format!("writer-{}-{}", self.number, self.writes);
        let id = format!("p{}", self.number / 2);
        match self.acknowledged.last() {
            Some(last) if last.request_id.starts_with("writer") && self.writes.is_multiple_of(2) => {
                DurableWrite::Publish(pb::PublishRequest {
                    name: last.version.clone(),
                    activate: true,
                    reason: "a test".to_owned(),
                    request_id,
                    ..Default::default()
                })
            }
            _ => {
                let content = format!("writer: {}\nwrite: {}", self.number, self.writes);
                DurableWrite::Draft(Box::new(pb::DraftRequest { request_id, ..draft_request(&id, &content) }))
            }
        }
    }

    /// Writes until the server is gone. The write with the unknown outcome is sent first, with its old request id.
    async fn write(mut self, client: Client, count: Arc<AtomicUsize>) -> Self {
        loop {
            let write = match self.unknown.take() {
                Some(write) => write,
                None => self.next(),
            };
            match write.run(&client).await {
                Ok(acknowledged) => {
                    self.acknowledged.push(acknowledged);
                    count.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) if error.reason() == "CONCURRENT_CHANGE" => self.unknown = Some(write),
                Err(error) => {
                    assert!(matches!(error.code(), Code::Unavailable | Code::Unknown | Code::Cancelled), "{error:?}");
                    self.unknown = Some(write);
                    return self;
                }
            }
        }
    }
}

/// Returns the request ids of a log, each with its revisions.
fn effects(log: &[pb::Event]) -> BTreeMap<String, Vec<i64>> {
    let mut effects: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for event in log {
        let payload: serde_json::Value = serde_json::from_slice(&event.payload).expect("json");
        if let Some(id) = payload["request_id"].as_str() {
            effects.entry(id.to_owned()).or_default().push(event.cursor.expect("a cursor").revision);
        }
    }
    effects
}

/// Checks that every acknowledged write is in the log, at its revision and with its digest, that the log has no gap, and that no write is
/// there twice.
async fn check(client: &Client, writers: &[DurableWriter]) {
    let log = watching::log(client).await;
    let places: Vec<i64> = log.iter().map(|event| event.cursor.expect("a cursor").revision).collect();
    assert_eq!(places, (1..=places.len() as i64).collect::<Vec<_>>(), "the log has a gap");
    let effects = effects(&log);
    for (id, places) in &effects {
        assert_eq!(places.len(), 1, "{id} had several effects");
    }
    let mut known = BTreeSet::new();
    for write in writers.iter().flat_map(|writer| &writer.acknowledged) {
        assert_eq!(effects.get(&write.request_id), Some(&vec![write.revision]), "{write:?} is lost");
        let event = &log[usize::try_from(write.revision - 1).expect("a place")];
        let named = event.versions.iter().any(|each| each.version_name == write.version && each.digest == write.digest);
        assert!(named, "{write:?} is not what its event says");
        let request = pb::GetVersionRequest { name: write.version.clone(), view: pb::VersionView::Full.into() };
        let version = client.get_version(request).await.expect("a version").version.expect("a version");
        assert_eq!(version.digest, write.digest);
        known.insert(write.request_id.clone());
    }
    // Beyond that, the log has at most the writes whose outcome is unknown to their writers.
    let unknown: BTreeSet<String> =
        writers.iter().filter_map(|writer| Some(writer.unknown.as_ref()?.request_id().to_owned())).collect();
    let others: Vec<_> = effects.keys().filter(|id| !known.contains(*id) && !unknown.contains(*id)).collect();
    assert!(others.is_empty(), "nobody wrote {others:?}");
}

on_both_databases! {
    async fn what_was_acknowledged_survives_kill_9(hub: Hub) {
        let mut hub = hub;
        let mut writers: Vec<DurableWriter> = (0..WRITERS)
            .map(|number| DurableWriter { number, writes: 0, acknowledged: Vec::new(), unknown: None })
            .collect();
        for _ in 0..ROUNDS {
            let client = hub.client().await;
            let count = Arc::new(AtomicUsize::new(0));
            let running: Vec<_> = writers
                .drain(..)
                .map(|writer| tokio::spawn(writer.write(client.clone(), Arc::clone(&count))))
                .collect();
            while count.load(Ordering::Relaxed) < WRITES_PER_ROUND {
                assert!(!running.iter().all(|writer| writer.is_finished()), "every writer has ended");
                tokio::task::yield_now().await;
            }
            hub.kill().await;
            for writer in running {
                writers.push(writer.await.expect("a writer"));
            }
            hub = hub.restart().await;
            check(&hub.client().await, &writers).await;
        }

        // Sending an unknown write again shows its outcome, any number of times.
        let client = hub.client().await;
        for writer in &mut writers {
            if let Some(write) = writer.unknown.take() {
                let first = write.run(&client).await.expect("an answer");
                let again = write.run(&client).await.expect("the same answer");
                assert_eq!((first.revision, &first.digest), (again.revision, &again.digest));
                writer.acknowledged.push(first);
            }
        }
        check(&client, &writers).await;
        let acknowledged: usize = writers.iter().map(|writer| writer.acknowledged.len()).sum();
        assert!(acknowledged >= ROUNDS * WRITES_PER_ROUND);
        // A new watcher verifies the final active set.
        let mut watch = watching::open(&client).await;
        watching::change(&mut watch).await;
        assert_eq!(watching::held(&watch), watching::in_force(&client).await);
        for id in watching::held(&watch).keys() {
            let request = pb::GetPolicyRequest { name: policy(id) };
            client.get_policy(request).await.expect("a policy");
        }
    }
}
