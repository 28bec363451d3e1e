//! What `AdminService` says of role bindings, and of those who lacked one.

use tonic::{Request, Response, Status};

use super::admin::AdminHandler;
use crate::api::status::status;
use crate::api::{pb, request, response};

type Answer<T> = Result<Response<T>, Status>;

impl AdminHandler {
    pub(super) async fn grant(
        &self,
        asked: Request<pb::CreateRoleBindingRequest>,
    ) -> Answer<pb::CreateRoleBindingResponse> {
        let context = self.0.write(&asked, &asked.get_ref().request_id, false).await?;
        let command = request::create_role_binding(asked.into_inner()).map_err(status)?;
        let done = self.0.service.access.create_role_binding(&context, command).await.map_err(status)?;
        let role_binding = Some(response::role_binding(done.binding));
        Ok(Response::new(pb::CreateRoleBindingResponse { role_binding, cursor: done.cursor.map(Into::into) }))
    }

    pub(super) async fn bindings(
        &self,
        asked: Request<pb::ListRoleBindingsRequest>,
    ) -> Answer<pb::ListRoleBindingsResponse> {
        self.0.read(&asked).await?;
        let (namespace, list, page, filter) = request::list_role_bindings(asked.get_ref()).map_err(status)?;
        let found = self.0.service.access.list_role_bindings(&namespace, &page, &filter).await.map_err(status)?;
        let (role_bindings, next_page_token) =
            list.answer(found, |binding| binding.name.id.clone(), response::role_binding);
        Ok(Response::new(pb::ListRoleBindingsResponse { role_bindings, next_page_token }))
    }

    pub(super) async fn denials(&self, asked: Request<pb::ListDenialsRequest>) -> Answer<pb::ListDenialsResponse> {
        self.0.read(&asked).await?;
        let (namespace, list, page, filter) = request::list_denials(asked.get_ref()).map_err(status)?;
        let found = self.0.service.access.list_denials(&namespace, &page, &filter).await.map_err(status)?;
        let (denials, next_page_token) = list.answer(found, |denial| denial.key.id(), response::denial);
        Ok(Response::new(pb::ListDenialsResponse { denials, next_page_token }))
    }

    pub(super) async fn revoke(
        &self,
        asked: Request<pb::DeleteRoleBindingRequest>,
    ) -> Answer<pb::DeleteRoleBindingResponse> {
        let context = self.0.write(&asked, &asked.get_ref().request_id, false).await?;
        let command = request::delete_role_binding(asked.into_inner()).map_err(status)?;
        let done = self.0.service.access.delete_role_binding(&context, command).await.map_err(status)?;
        Ok(Response::new(pb::DeleteRoleBindingResponse { cursor: done.cursor.map(Into::into) }))
    }
}
