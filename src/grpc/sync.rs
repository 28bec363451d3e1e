//! `SyncService`: the active set, subscribers and runs. `grpc::watch` handles WatchActive.

use prost::Message as _;
use tonic::{Request, Response};

use super::handler::{Handler, RpcResult};
use super::unreachable_stream::{Unreachable, answered_by_stream_routes};
use crate::api::page::{FIELD_OVERHEAD_BYTES, PageEnd};
use crate::api::pb::sync_service_server::SyncService;
use crate::api::status::status;
use crate::api::{pb, request, response};
use crate::domain::bundle::ActiveBundle;
use crate::transport::ConnectionHandle;

/// Handles the calls of `SyncService`, except WatchActive.
#[derive(Debug, Clone)]
pub struct SyncHandler(pub Handler);

#[tonic::async_trait]
impl SyncService for SyncHandler {
    async fn get_active(&self, request: Request<pb::GetActiveRequest>) -> RpcResult<pb::GetActiveResponse> {
        let context = self.0.read(&request).await?;
        let metadata_only = request.get_ref().metadata_only;
        let query = request::get_active(request.get_ref()).map_err(status)?;
        let found = self.0.service.sync.get_active(&context, &query).await.map_err(status)?;
        let bundle = found.bundle.as_ref();
        Ok(Response::new(response::active(found.at, bundle, metadata_only, found.staleness, found.checked)))
    }

    async fn list_active(&self, request: Request<pb::ListActiveRequest>) -> RpcResult<pb::ListActiveResponse> {
        self.0.read(&request).await?;
        let (query, list) = request::list_active(request.get_ref()).map_err(status)?;
        let page = self.0.service.sync.list_active(&query).await.map_err(status)?;
        let policy = |active: &ActiveBundle| active.bundle.version.policy.policy.clone();
        let key = |active: &ActiveBundle| request::write_active_key(&page.key_after(&policy(active)));
        let end = PageEnd {
            // The last page has the proof of the set.
            beside_bytes: page.checkpoint.len() + page.set_proof.len(),
            ..PageEnd::at(page.bundles.last().map(key), page.is_last)
        };
        let found = page.bundles.iter().map(|each| (key(each), response::active_bundle(each, query.metadata_only)));
        let (bundles, next_page_token) = list.fill(found, end);
        let end = next_page_token.is_empty().then_some((page.checkpoint, page.set_proof));
        let answer = response::active_page(page.at, end, page.staleness, page.checked);
        Ok(Response::new(pb::ListActiveResponse { bundles, next_page_token, ..answer }))
    }

    /// Is never called: `StreamRoutes` answers WatchActive.
    async fn watch_active(&self, _: Request<pb::WatchActiveRequest>) -> RpcResult<Self::WatchActiveStream> {
        Err(answered_by_stream_routes())
    }

    type WatchActiveStream = Unreachable<pb::WatchActiveResponse>;

    async fn report_status(&self, request: Request<pb::ReportStatusRequest>) -> RpcResult<pb::ReportStatusResponse> {
        let context = self.0.read(&request).await?;
        let report = request::report_status(request.into_inner()).map_err(status)?;
        let stored = self.0.service.sync.report_status(&context, report).await.map_err(status)?;
        Ok(Response::new(response::status_reported(stored)))
    }

    async fn list_subscribers(
        &self,
        request: Request<pb::ListSubscribersRequest>,
    ) -> RpcResult<pb::ListSubscribersResponse> {
        self.0.read(&request).await?;
        let (namespace, list, page, filter) = request::list_subscribers(request.get_ref()).map_err(status)?;
        let found = self.0.service.sync.list_subscribers(&namespace, &page, &filter).await.map_err(status)?;
        let (subscribers, next_page_token) =
            list.answer(found, |seen| seen.name.id.to_string(), response::seen_subscriber);
        Ok(Response::new(pb::ListSubscribersResponse { subscribers, next_page_token }))
    }

    async fn get_convergence(
        &self,
        request: Request<pb::GetConvergenceRequest>,
    ) -> RpcResult<pb::GetConvergenceResponse> {
        self.0.read(&request).await?;
        let (namespace, cursor, wait) = request::get_convergence(request.get_ref()).map_err(status)?;
        // A connection that shuts down must not wait for this call.
        let connection = ConnectionHandle::of_request(&request);
        let enough = wait.map(|wait| async move {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = connection.shutdown().cancelled() => {}
            }
        });
        let found = self.0.service.sync.get_convergence(&namespace, cursor, enough).await.map_err(status)?;
        Ok(Response::new(response::convergence(&namespace, found)))
    }

    async fn record_run(&self, request: Request<pb::RecordRunRequest>) -> RpcResult<pb::RecordRunResponse> {
        let context = self.0.mutation(&request).await?;
        let command = request::record_run(request.get_ref()).map_err(status)?;
        let run = self.0.service.sync.record_run(&context, command).await.map_err(status)?;
        Ok(Response::new(run.into()))
    }

    async fn complete_run(&self, request: Request<pb::CompleteRunRequest>) -> RpcResult<pb::CompleteRunResponse> {
        let context = self.0.mutation(&request).await?;
        let command = request::complete_run(request.into_inner()).map_err(status)?;
        let run = self.0.service.sync.complete_run(&context, command).await.map_err(status)?;
        Ok(Response::new(run.into()))
    }

    async fn get_run(&self, request: Request<pb::GetRunRequest>) -> RpcResult<pb::GetRunResponse> {
        self.0.read(&request).await?;
        let (namespace, id) = request::get_run(request.get_ref()).map_err(status)?;
        let run = self.0.service.sync.get_run(&namespace, &id).await.map_err(status)?;
        Ok(Response::new(run.into()))
    }

    async fn list_runs(&self, request: Request<pb::ListRunsRequest>) -> RpcResult<pb::ListRunsResponse> {
        self.0.read(&request).await?;
        let (filter, list, page) = request::list_runs(request.get_ref()).map_err(status)?;
        let (found, counts) = self.0.service.sync.list_runs(&filter, &page).await.map_err(status)?;
        let answer = response::run_counts(counts.as_deref());
        let key = found.reached.as_ref().map(request::write_run_key);
        let beside_bytes = answer.counts.iter().map(|count| count.encoded_len() + FIELD_OVERHEAD_BYTES).sum();
        let end = PageEnd { beside_bytes, ..PageEnd::at(key, found.is_last) };
        let items = found.items.into_iter().map(|run| (request::write_run_key(&run.key()), response::run(run)));
        let (runs, next_page_token) = list.fill(items, end);
        Ok(Response::new(pb::ListRunsResponse { runs, next_page_token, ..answer }))
    }
}
