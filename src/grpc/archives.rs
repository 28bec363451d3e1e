//! What archives are made of and come in by: ExportRows and ImportNamespace.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::try_unfold;
use tonic::{Request, Response, Status};

use super::admin::AdminHandler;
use super::in_flight::LARGEST_ANSWER_BYTES;
use super::read_stream::{EmptyStream, ReadStream, StreamTurn, answer, held, next_unless_draining};
use crate::api::status::status;
use crate::api::{pb, request, response};
use crate::domain::Result;
use crate::domain::limits::EXPORT_MAX_SECONDS;
use crate::domain::name::NamespaceId;
use crate::service::{RowExport, RowWithContent, Service};

type Answer<T> = Result<Response<T>, Status>;

/// The messages of an export. It opens its snapshot with the first one, so that a peer that takes none holds none.
struct RowMessages {
    service: Arc<Service>,
    namespace: NamespaceId,
    turn: StreamTurn,
    export: Option<RowExport>,
    is_complete: bool,
}

impl RowMessages {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        if self.is_complete {
            return Ok(None);
        }
        let reserved = self.turn.reserve(LARGEST_ANSWER_BYTES).await?;
        let message = match &mut self.export {
            None => {
                let export = self.service.archive.export_rows(&self.namespace).await?;
                let total_rows = i64::try_from(export.total_rows()).unwrap_or(i64::MAX);
                let head = Some(response::cursor(export.head()));
                self.export = Some(export);
                pb::ExportRowsResponse { head, total_rows, ..Default::default() }
            }
            Some(export) => {
                let rows: Vec<_> = export.read_batch().await?.into_iter().map(row).collect();
                let complete = rows.is_empty();
                pb::ExportRowsResponse { rows, complete, ..Default::default() }
            }
        };
        if message.complete {
            // The snapshot ends here, not when somebody has taken the last message.
            (self.export, self.is_complete) = (None, true);
        }
        held(&message, reserved).map(Some)
    }
}

fn row(from: RowWithContent) -> pb::ExportedRow {
    let RowWithContent { bytes, manifest, content } = from;
    pb::ExportedRow { row: bytes.into(), manifest, content }
}

impl AdminHandler {
    pub(super) async fn rows(
        &self,
        asked: Request<pb::ExportRowsRequest>,
    ) -> Answer<EmptyStream<pb::ExportRowsResponse>> {
        self.0.read(&asked).await?;
        let namespace = request::namespace("parent", &asked.get_ref().parent).map_err(status)?;
        let limit = Duration::from_secs(EXPORT_MAX_SECONDS);
        let ReadStream { turn, connection, until } = ReadStream::open(&asked, limit)?;
        let service = self.0.service.clone();
        let rows = RowMessages { service, namespace, turn, export: None, is_complete: false };
        let messages = try_unfold((rows, connection), |(mut rows, connection)| async move {
            let next = next_unless_draining(&connection, rows.next()).await?;
            Ok(next.map(|message| (message, (rows, connection))))
        });
        Ok(answer(until, messages))
    }

    pub(super) async fn import(
        &self,
        asked: Request<pb::ImportNamespaceRequest>,
    ) -> Answer<pb::ImportNamespaceResponse> {
        let context = self.0.write(&asked, &asked.get_ref().request_id, asked.get_ref().validate_only).await?;
        let command = request::import_namespace(asked.into_inner()).map_err(status)?;
        let done = self.0.service.archive.import_namespace(&context, command).await.map_err(status)?;
        Ok(Response::new(response::imported(done)))
    }
}
