//! What `SyncService` says of runs: records, ends, lists.

use prost::Message as _;
use tonic::{Request, Response, Status};

use super::sync::SyncHandler;
use crate::api::page::{FIELD_OVERHEAD_BYTES, PageEnd};
use crate::api::status::status;
use crate::api::{pb, request, response};

type Answer<T> = Result<Response<T>, Status>;

impl SyncHandler {
    pub(super) async fn record(&self, asked: Request<pb::RecordRunRequest>) -> Answer<pb::RecordRunResponse> {
        let context = self.handler.write(&asked, &asked.get_ref().request_id, false).await?;
        let command = request::record_run(asked.get_ref()).map_err(status)?;
        let run = self.handler.service.sync.record_run(&context, command).await.map_err(status)?;
        Ok(Response::new(pb::RecordRunResponse { run: Some(response::run(run)) }))
    }

    pub(super) async fn complete(&self, asked: Request<pb::CompleteRunRequest>) -> Answer<pb::CompleteRunResponse> {
        let context = self.handler.write(&asked, &asked.get_ref().request_id, false).await?;
        let command = request::complete_run(asked.into_inner()).map_err(status)?;
        let run = self.handler.service.sync.complete_run(&context, command).await.map_err(status)?;
        Ok(Response::new(pb::CompleteRunResponse { run: Some(response::run(run)) }))
    }

    pub(super) async fn run(&self, asked: Request<pb::GetRunRequest>) -> Answer<pb::GetRunResponse> {
        self.handler.read(&asked).await?;
        let (namespace, id) = request::get_run(asked.get_ref()).map_err(status)?;
        let run = self.handler.service.sync.get_run(&namespace, &id).await.map_err(status)?;
        Ok(Response::new(pb::GetRunResponse { run: Some(response::run(run)) }))
    }

    pub(super) async fn runs(&self, asked: Request<pb::ListRunsRequest>) -> Answer<pb::ListRunsResponse> {
        self.handler.read(&asked).await?;
        let (filter, list, page) = request::list_runs(asked.get_ref()).map_err(status)?;
        let (found, counts) = self.handler.service.sync.list_runs(&filter, &page).await.map_err(status)?;
        let counts_omitted = counts.is_none();
        let counts: Vec<pb::RunCount> = counts.unwrap_or_default().iter().map(response::run_count).collect();
        let key = found.reached.as_ref().map(request::write_run_key);
        let beside_bytes = counts.iter().map(|count| count.encoded_len() + FIELD_OVERHEAD_BYTES).sum();
        let end = PageEnd { beside_bytes, ..PageEnd::at(key, found.is_last) };
        let written = found.items.into_iter().map(|run| (request::write_run_key(&run.key()), response::run(run)));
        let (runs, next_page_token) = list.fill(written, end);
        Ok(Response::new(pb::ListRunsResponse { runs, next_page_token, counts, counts_omitted }))
    }
}
