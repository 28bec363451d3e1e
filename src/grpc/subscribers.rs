//! What `SyncService` says of subscribers: reports, lists, convergence.

use tonic::{Request, Response, Status};

use super::connection::Connection;
use super::sync::SyncHandler;
use crate::api::page::first_that_fit;
use crate::api::status::status;
use crate::api::{pb, request, response};
use crate::domain::limits::MESSAGE_MAX_BYTES;
use crate::domain::name::NamespaceId;
use crate::domain::subscriber::Subscriber;
use crate::domain::time::Micros;

type Answer<T> = Result<Response<T>, Status>;

/// What GetConvergence may take to name the subscribers of one kind: three of them, and all else, fit into an answer.
const NAMED_MAX_BYTES: usize = MESSAGE_MAX_BYTES * 3 / 10;

impl SyncHandler {
    pub(super) async fn report(&self, asked: Request<pb::ReportStatusRequest>) -> Answer<pb::ReportStatusResponse> {
        let context = self.handler.read(&asked).await?;
        let report = request::report_status(asked.into_inner()).map_err(status)?;
        let stored = self.handler.service.sync.report_status(&context.principal, report).await.map_err(status)?;
        Ok(Response::new(pb::ReportStatusResponse { stored }))
    }

    pub(super) async fn subscribers(
        &self,
        asked: Request<pb::ListSubscribersRequest>,
    ) -> Answer<pb::ListSubscribersResponse> {
        self.handler.read(&asked).await?;
        let (namespace, list, page, filter) = request::list_subscribers(asked.get_ref()).map_err(status)?;
        let found = self.handler.service.sync.list_subscribers(&namespace, &page, &filter).await.map_err(status)?;
        let (subscribers, next_page_token) =
            list.answer(found, |seen| seen.name.id.to_string(), response::seen_subscriber);
        Ok(Response::new(pb::ListSubscribersResponse { subscribers, next_page_token }))
    }

    pub(super) async fn convergence(
        &self,
        asked: Request<pb::GetConvergenceRequest>,
    ) -> Answer<pb::GetConvergenceResponse> {
        self.handler.read(&asked).await?;
        let (namespace, cursor, wait) = request::get_convergence(asked.get_ref()).map_err(status)?;
        // A connection that ends does not wait for this call.
        let connection = Connection::of(&asked);
        let enough = wait.map(|wait| async move {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = connection.ending().cancelled() => {}
            }
        });
        let found = self.handler.service.sync.get_convergence(&namespace, cursor, enough).await.map_err(status)?;
        Ok(Response::new(pb::GetConvergenceResponse {
            rejected_subscribers: named(&namespace, found.rejected, found.now),
            pending_subscribers: named(&namespace, found.pending, found.now),
            gone_subscribers: named(&namespace, found.gone, found.now),
            ..response::convergence(found.cursor, &found.counts, found.offline)
        }))
    }
}

/// The first subscribers of one kind, as many as an answer has room for.
fn named(namespace: &NamespaceId, subscribers: Vec<Subscriber>, now: Micros) -> Vec<pb::Subscriber> {
    let written = subscribers.into_iter().map(|each| response::subscriber(namespace, each, now)).collect();
    first_that_fit(written, NAMED_MAX_BYTES)
}
