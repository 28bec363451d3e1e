//! The stubs that the generated services need for RPCs that never reach them, because `StreamRoutes` answers them first.

use futures_util::stream::Empty;
use tonic::Status;

use crate::api::status::status;
use crate::domain::Error;

/// The stream of such an RPC.
pub(super) type Unreachable<M> = Empty<Result<M, Status>>;

/// Returns the error of such an RPC.
pub(super) fn answered_by_stream_routes() -> Status {
    status(Error::internal("a streaming call passed by its route"))
}
