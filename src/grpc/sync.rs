//! `SyncService`: GetActive and ListActive here; watches in `watch_open.rs`, reports and subscribers in `subscribers.rs`, runs in `runs.rs`.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::Empty;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Request, Response, Status};

use super::authority::Recheck;
use super::connection::{Connection, OpenWatch, WATCHES_PER_CONNECTION_MAX};
use super::handler::Handler;
use super::reconnect_delay::ReconnectDelays;
use crate::api::page::PageEnd;
use crate::api::pb::sync_service_server::SyncService;
use crate::api::status::status;
use crate::api::time::timestamp;
use crate::api::{pb, request, response};
use crate::domain::bundle::ActiveBundle;
use crate::domain::{Error, Reason};

/// How watches run.
#[derive(Debug, Clone)]
pub struct WatchSettings {
    /// A permit for each namespace of a watch that may be open at this server.
    pub slots: Arc<Semaphore>,
    /// How many permits there are in all.
    pub max_streams: usize,
    /// How often each one shows that it lives.
    pub heartbeat_interval: Duration,
    delays: Arc<ReconnectDelays>,
}

impl WatchSettings {
    /// Settings of a server that carries at most `max_streams` watches. `has_replicas`: others may take them when it stops.
    #[must_use]
    pub fn new(max_streams: usize, heartbeat_interval: Duration, has_replicas: bool) -> Self {
        let delays = Arc::new(ReconnectDelays::new(has_replicas));
        Self { slots: Arc::new(Semaphore::new(max_streams)), max_streams, heartbeat_interval, delays }
    }

    /// Returns the longest delay to ask of the streams of a connection that ends.
    pub(super) fn longest_delay(&self, connection: &Connection) -> Duration {
        let of_server = self.max_streams.saturating_sub(self.slots.available_permits());
        self.delays.longest(connection.why(), connection.watches(), of_server)
    }

    /// Takes permits for so many namespaces, all or none.
    pub(super) fn slots_for(&self, namespaces: usize) -> Result<OwnedSemaphorePermit, Error> {
        let permits = u32::try_from(namespaces).unwrap_or(u32::MAX);
        self.slots.clone().try_acquire_many_owned(permits).map_err(|_| {
            let error = Error::new(Reason::TooManyStreams, "this server watches as many namespaces as it may");
            error.with("limit_streams", self.max_streams)
        })
    }

    /// Admits one more watch on the connection the request came by.
    pub(super) fn open<T>(&self, request: &Request<T>) -> Result<OpenWatch, Error> {
        Connection::of(request).open_watch().ok_or_else(|| {
            let message = "this connection carries as many watches as one may; open another connection for more";
            Error::new(Reason::TooManyStreams, message).with("limit_streams", WATCHES_PER_CONNECTION_MAX)
        })
    }
}

/// The handlers.
#[derive(Debug, Clone)]
pub struct SyncHandler {
    /// What every handler has.
    pub handler: Handler,
    /// How watches run.
    pub watch: WatchSettings,
    /// Who is asked whether a watch may go on.
    pub recheck: Recheck,
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl SyncService for SyncHandler {
    async fn get_active(&self, asked: Request<pb::GetActiveRequest>) -> Answer<pb::GetActiveResponse> {
        let context = self.handler.read(&asked).await?;
        let metadata_only = asked.get_ref().metadata_only;
        let query = request::get_active(asked.get_ref()).map_err(status)?;
        let found = self.handler.service.sync.get_active(&context, &query).await.map_err(status)?;
        Ok(Response::new(pb::GetActiveResponse {
            cursor: Some(response::cursor(found.at)),
            not_modified: found.bundle.is_none(),
            statement: found.bundle.as_ref().map(|active| active.statement.to_string()).unwrap_or_default(),
            bundle: found.bundle.map(|active| response::active_bundle(&active, metadata_only)),
            degraded: found.staleness.degraded,
            in_doubt: found.staleness.in_doubt,
            checked_time: found.checked.map(timestamp),
        }))
    }

    async fn list_active(&self, asked: Request<pb::ListActiveRequest>) -> Answer<pb::ListActiveResponse> {
        self.handler.read(&asked).await?;
        let (query, list) = request::list_active(asked.get_ref()).map_err(status)?;
        let page = self.handler.service.sync.list_active(&query).await.map_err(status)?;
        let policy = |active: &ActiveBundle| active.bundle.version.policy.policy.clone();
        let key = |active: &ActiveBundle| request::write_active_key(&page.key_after(&policy(active)));
        let end = PageEnd {
            // The end of the set comes with its proof.
            beside_bytes: page.checkpoint.len() + page.set_proof.len(),
            ..PageEnd::at(page.bundles.last().map(key), page.is_last)
        };
        let found = page.bundles.iter().map(|each| (key(each), response::active_bundle(each, query.metadata_only)));
        let (bundles, next_page_token) = list.fill(found, end);
        let is_last = next_page_token.is_empty();
        Ok(Response::new(pb::ListActiveResponse {
            bundles,
            next_page_token,
            cursor: Some(response::cursor(page.at)),
            checkpoint: Some(page.checkpoint).filter(|_| is_last).unwrap_or_default(),
            set_proof: Some(page.set_proof).filter(|_| is_last).unwrap_or_default(),
            degraded: page.staleness.degraded,
            in_doubt: page.staleness.in_doubt,
            checked_time: page.checked.map(timestamp),
        }))
    }

    /// The messages travel in the body that is left with the response.
    type WatchActiveStream = Empty<Result<pb::WatchActiveResponse, Status>>;

    async fn watch_active(&self, asked: Request<pb::WatchActiveRequest>) -> Answer<Self::WatchActiveStream> {
        self.open_watch(asked).await
    }

    async fn report_status(&self, asked: Request<pb::ReportStatusRequest>) -> Answer<pb::ReportStatusResponse> {
        self.report(asked).await
    }

    async fn list_subscribers(
        &self,
        asked: Request<pb::ListSubscribersRequest>,
    ) -> Answer<pb::ListSubscribersResponse> {
        self.subscribers(asked).await
    }

    async fn get_convergence(&self, asked: Request<pb::GetConvergenceRequest>) -> Answer<pb::GetConvergenceResponse> {
        self.convergence(asked).await
    }

    async fn record_run(&self, asked: Request<pb::RecordRunRequest>) -> Answer<pb::RecordRunResponse> {
        self.record(asked).await
    }

    async fn complete_run(&self, asked: Request<pb::CompleteRunRequest>) -> Answer<pb::CompleteRunResponse> {
        self.complete(asked).await
    }

    async fn get_run(&self, asked: Request<pb::GetRunRequest>) -> Answer<pb::GetRunResponse> {
        self.run(asked).await
    }

    async fn list_runs(&self, asked: Request<pb::ListRunsRequest>) -> Answer<pb::ListRunsResponse> {
        self.runs(asked).await
    }
}
