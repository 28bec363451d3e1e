//! Publishes versions that are ready at the same time in one call.
//!
//! Policies are released concurrently. A version that is ready waits for the current call to end; then the first waiter publishes
//! for all that became ready meanwhile. Nothing waits for a fuller call. Each version ends as by a Publish of its own.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::cli::release::request_ids::RequestIds;
use crate::client::name::NamespaceId;
use crate::client::pb::publish_versions_result::Outcome;
use crate::client::{Client, ClientError, Code, pb};
use crate::domain::limits::PUBLISH_VERSIONS_MAX;

/// Refusals caused by other versions of the same call: the version is published again by a call of its own, which waits as long as
/// the server's rate limit asks.
const ALONE: &[&str] = &["RATE_LIMITED", "LIMIT_EXCEEDED"];

/// Publishes the versions of a release.
#[derive(Debug)]
pub struct Publisher<'a> {
    client: &'a Client,
    namespace: &'a NamespaceId,
    ids: &'a RequestIds,
    waiting: Mutex<Vec<Waiting>>,
    /// Held by the task that publishes for all that wait.
    turn: tokio::sync::Mutex<()>,
}

/// A version that is ready, and the sender that its waiter listens to.
#[derive(Debug)]
struct Waiting {
    name: String,
    etag: String,
    answer: oneshot::Sender<Result<pb::Version, ClientError>>,
}

impl<'a> Publisher<'a> {
    /// Returns a publisher for one run.
    pub fn new(client: &'a Client, namespace: &'a NamespaceId, ids: &'a RequestIds) -> Self {
        Self { client, namespace, ids, waiting: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    /// Publishes a version as it was read, together with all others that are ready.
    ///
    /// # Errors
    /// The errors of Publish.
    pub async fn publish(&self, version: &pb::Version) -> Result<pb::Version, ClientError> {
        let (answer, mut answered) = oneshot::channel();
        let one = Waiting { name: version.name.clone(), etag: version.etag.clone(), answer };
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(one);
        let turn = tokio::select! {
            biased;
            ended = &mut answered => return ended.unwrap_or_else(|_| Err(unanswered(&version.name))),
            turn = self.turn.lock() => turn,
        };
        // One call takes those that waited longest: this version may be in a later one.
        while answered.is_empty() && !answered.is_terminated() {
            let several = self.take();
            if several.is_empty() {
                break;
            }
            self.publish_all(several).await;
        }
        drop(turn);
        answered.await.unwrap_or_else(|_| Err(unanswered(&version.name)))
    }

    /// Takes as many waiting versions as one call may carry.
    fn take(&self) -> Vec<Waiting> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waiting.len().min(PUBLISH_VERSIONS_MAX);
        waiting.drain(..count).collect()
    }

    async fn publish_all(&self, several: Vec<Waiting>) {
        let mut outcomes = match several.as_slice() {
            [_] => HashMap::new(),
            _ => match self.call(&several).await {
                Ok(outcomes) => outcomes,
                // The server does not know the method yet.
                Err(error) if error.code() == Code::Unimplemented => HashMap::new(),
                Err(error) => {
                    several.into_iter().for_each(|one| _ = one.answer.send(Err(error.clone())));
                    return;
                }
            },
        };
        for one in several {
            let ended = match outcomes.remove(&one.name) {
                Some(Outcome::Published(done)) => Ok(done.version.unwrap_or_default()),
                Some(Outcome::Refusal(refusal)) if !ALONE.contains(&refusal.reason.as_str()) => {
                    Err(ClientError::of_refusal(&one.name, refusal))
                }
                _ => self.publish_alone(&one).await,
            };
            // The waiter may have been dropped.
            let _ = one.answer.send(ended);
        }
    }

    /// Publishes several versions in one call; returns the outcome of each by name.
    async fn call(&self, several: &[Waiting]) -> Result<HashMap<String, Outcome>, ClientError> {
        let names: Vec<&str> = several.iter().map(|one| one.name.as_str()).collect();
        let versions =
            several.iter().map(|one| pb::VersionToPublish { name: one.name.clone(), etag: one.etag.clone() });
        let request = pb::PublishVersionsRequest {
            parent: self.namespace.name(),
            versions: versions.collect(),
            request_id: self.ids.of(&names.join(" ")),
            ..Default::default()
        };
        let results = self.client.publish_versions(request).await?.results;
        Ok(results.into_iter().filter_map(|result| Some((result.name, result.outcome?))).collect())
    }

    async fn publish_alone(&self, one: &Waiting) -> Result<pb::Version, ClientError> {
        let request = pb::PublishRequest {
            name: one.name.clone(),
            etag: one.etag.clone(),
            request_id: self.ids.of(&one.name),
            ..Default::default()
        };
        Ok(self.client.publish(request).await?.version.unwrap_or_default())
    }
}

/// Returns the error for a version missing from the answer: its outcome must be read.
fn unanswered(name: &str) -> ClientError {
    let refusal = pb::Refusal {
        code: Code::Unavailable as i32,
        reason: "OUTCOME_UNKNOWN".to_owned(),
        message: "it is not known whether it was published".to_owned(),
        ..Default::default()
    };
    ClientError::of_refusal(name, refusal)
}
