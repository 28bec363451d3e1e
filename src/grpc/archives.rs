//! What archives are made of and come in by: ExportRows and ImportNamespace.

use tonic::{Request, Response, Status};

use super::admin::AdminHandler;
use crate::api::status::status;
use crate::api::{pb, request, response};
use crate::service::{RowKey, RowWithContent};

type Answer<T> = Result<Response<T>, Status>;

impl AdminHandler {
    pub(super) async fn rows(&self, asked: Request<pb::ExportRowsRequest>) -> Answer<pb::ExportRowsResponse> {
        self.0.read(&asked).await?;
        let (namespace, list, page) = request::export_rows(asked.get_ref(), RowKey::parse).map_err(status)?;
        let found = self.0.service.export_rows(&namespace, &page).await.map_err(status)?;
        let row = |row: RowWithContent| {
            let RowWithContent { bytes, manifest, content, .. } = row;
            pb::ExportedRow { row: bytes.into(), manifest, content }
        };
        let (rows, next_page_token) = list.answer(found.rows, |row| row.key.to_text(), row);
        let head = Some(response::cursor(found.head));
        Ok(Response::new(pb::ExportRowsResponse { rows, next_page_token, head }))
    }

    pub(super) async fn import(
        &self,
        asked: Request<pb::ImportNamespaceRequest>,
    ) -> Answer<pb::ImportNamespaceResponse> {
        let context = self.0.write(&asked, &asked.get_ref().request_id, asked.get_ref().validate_only).await?;
        let command = request::import_namespace(asked.into_inner()).map_err(status)?;
        let done = self.0.service.import_namespace(&context, command).await.map_err(status)?;
        Ok(Response::new(response::imported(done)))
    }
}
