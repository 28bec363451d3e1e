//! The health checking protocol of gRPC (gRFC A17, and `List`): whether the server accepts calls. All services have the status of the
//! process.

use futures_util::stream::{self, BoxStream, Stream, StreamExt as _};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::api::pb::{admin_service_server, policy_service_server, sync_service_server};
use crate::grpc::health_pb::health_check_response::ServingStatus;
use crate::grpc::health_pb::health_server::Health;
use crate::grpc::health_pb::{HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse};

/// The names that have a status: the empty name for the process, and each service.
const SERVICES: [&str; 4] =
    ["", policy_service_server::SERVICE_NAME, sync_service_server::SERVICE_NAME, admin_service_server::SERVICE_NAME];

/// Handles the calls of `Health`. The receiver holds whether the server accepts calls.
#[derive(Debug)]
pub struct HealthHandler(pub watch::Receiver<bool>);

/// An answer to `Check`, and a message of `Watch`.
type HealthAnswer = Result<HealthCheckResponse, Status>;

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

fn answer_if(is_serving: bool) -> HealthCheckResponse {
    answer(if is_serving { ServingStatus::Serving } else { ServingStatus::NotServing })
}

/// Returns the current status, and each change.
fn status_changes(is_serving: watch::Receiver<bool>) -> impl Stream<Item = HealthAnswer> {
    stream::unfold((is_serving, true), async |(mut is_serving, is_first)| {
        if !is_first {
            is_serving.changed().await.ok()?;
        }
        let now = answer_if(*is_serving.borrow_and_update());
        Some((Ok(now), (is_serving, false)))
    })
}

#[tonic::async_trait]
impl Health for HealthHandler {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        if SERVICES.contains(&request.get_ref().service.as_str()) {
            Ok(Response::new(answer_if(*self.0.borrow())))
        } else {
            Err(Status::not_found("no such service"))
        }
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        let status = answer_if(*self.0.borrow());
        let statuses = SERVICES.map(|name| (name.to_owned(), status)).into();
        Ok(Response::new(HealthListResponse { statuses }))
    }

    type WatchStream = BoxStream<'static, HealthAnswer>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        if SERVICES.contains(&request.get_ref().service.as_str()) {
            return Ok(Response::new(status_changes(self.0.clone()).boxed()));
        }
        // An unknown service stays unknown.
        let unknown = stream::once(async { Ok(answer(ServingStatus::ServiceUnknown)) });
        Ok(Response::new(unknown.chain(stream::pending()).boxed()))
    }
}
