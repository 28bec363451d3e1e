//! ExportRows: streams all rows of a namespace, from which clients build an archive.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::try_unfold;
use tonic::body::Body;
use tonic::{Request, Status};

use super::read_stream::{ReadStream, encode_reserved, next_unless_draining};
use crate::api::status::status;
use crate::api::{pb, request, response};
use crate::domain::Result;
use crate::domain::limits::EXPORT_MAX_SECONDS;
use crate::domain::name::NamespaceId;
use crate::grpc::handler::Handler;
use crate::grpc::middleware::{LARGEST_ANSWER_BYTES, ReadStreamSlot};
use crate::service::{RowExport, Service};

/// The messages of an export. The snapshot is opened for the first one, so that a client that reads nothing holds no snapshot.
struct RowMessages {
    service: Arc<Service>,
    namespace: NamespaceId,
    slot: ReadStreamSlot,
    export: Option<RowExport>,
    is_complete: bool,
}

impl RowMessages {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        if self.is_complete {
            return Ok(None);
        }
        let reserved = self.slot.reserve(LARGEST_ANSWER_BYTES).await?;
        let message = match &mut self.export {
            None => {
                let export = self.service.archive.export_rows(&self.namespace).await?;
                let opened = response::export_opened(export.head(), export.total_rows());
                self.export = Some(export);
                opened
            }
            Some(export) => response::exported_rows(export.read_batch().await?),
        };
        if message.complete {
            // This ends the snapshot now, and not when the client has read the last message.
            (self.export, self.is_complete) = (None, true);
        }
        encode_reserved(&message, reserved).map(Some)
    }
}

/// Handles ExportRows. Returns the body of the response.
pub(in crate::grpc) async fn export_rows(
    handler: &Handler,
    request: Request<pb::ExportRowsRequest>,
) -> Result<Body, Status> {
    handler.read(&request).await?;
    let namespace = request::namespace("parent", &request.get_ref().parent).map_err(status)?;
    let stream = ReadStream::open(&request, Duration::from_secs(EXPORT_MAX_SECONDS))?;
    let (service, connection) = (handler.service.clone(), stream.connection.clone());
    let rows = RowMessages { service, namespace, slot: stream.slot.clone(), export: None, is_complete: false };
    let messages = try_unfold((rows, connection), |(mut rows, connection)| async move {
        let next = next_unless_draining(&connection, rows.next()).await?;
        Ok(next.map(|message| (message, (rows, connection))))
    });
    Ok(stream.into_body(messages))
}
