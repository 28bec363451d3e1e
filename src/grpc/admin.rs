//! `AdminService`: namespaces, role bindings, tokens, keys and archives.

use tonic::{Request, Response};

use super::handler::{Handler, RpcResult};
use super::unreachable_stream::{Unreachable, answered_by_stream_routes};
use crate::api::pb::admin_service_server::AdminService;
use crate::api::status::status;
use crate::api::{pb, request, response};

/// Handles the calls of `AdminService`.
#[derive(Debug, Clone)]
pub struct AdminHandler(pub Handler);

#[tonic::async_trait]
impl AdminService for AdminHandler {
    async fn create_namespace(
        &self,
        request: Request<pb::CreateNamespaceRequest>,
    ) -> RpcResult<pb::CreateNamespaceResponse> {
        let context = self.0.mutation(&request).await?;
        let command = request::create_namespace(request.into_inner()).map_err(status)?;
        let done = self.0.service.access.create_namespace(&context, command).await.map_err(status)?;
        Ok(Response::new(done.into()))
    }

    async fn get_namespace(&self, request: Request<pb::GetNamespaceRequest>) -> RpcResult<pb::GetNamespaceResponse> {
        self.0.read(&request).await?;
        let id = request::namespace("name", &request.get_ref().name).map_err(status)?;
        let found = self.0.service.access.get_namespace(&id).await.map_err(status)?;
        let imports = self.0.service.archive.imports(&id).await.map_err(status)?;
        Ok(Response::new(response::found_namespace(found, imports)))
    }

    async fn list_namespaces(
        &self,
        request: Request<pb::ListNamespacesRequest>,
    ) -> RpcResult<pb::ListNamespacesResponse> {
        let context = self.0.read(&request).await?;
        let (list, page, filter) = request::list_namespaces(request.get_ref()).map_err(status)?;
        let found = self.0.service.access.list_namespaces(&context, &page, &filter).await.map_err(status)?;
        let (namespaces, next_page_token) = list.answer(found, |each| each.id.to_string(), response::namespace);
        Ok(Response::new(pb::ListNamespacesResponse { namespaces, next_page_token }))
    }

    async fn update_namespace(
        &self,
        request: Request<pb::UpdateNamespaceRequest>,
    ) -> RpcResult<pb::UpdateNamespaceResponse> {
        let context = self.0.mutation(&request).await?;
        let command = request::update_namespace(request.into_inner()).map_err(status)?;
        let done = self.0.service.access.update_namespace(&context, command).await.map_err(status)?;
        Ok(Response::new(done.into()))
    }

    async fn get_guardrails(&self, request: Request<pb::GetGuardrailsRequest>) -> RpcResult<pb::GetGuardrailsResponse> {
        self.0.read(&request).await?;
        let namespace = request::guardrails_name("name", &request.get_ref().name).map_err(status)?;
        let found = self.0.service.policies.get_guardrails(&namespace).await.map_err(status)?;
        Ok(Response::new(found.into()))
    }

    async fn update_guardrails(
        &self,
        request: Request<pb::UpdateGuardrailsRequest>,
    ) -> RpcResult<pb::UpdateGuardrailsResponse> {
        let context = self.0.mutation(&request).await?;
        let command = request::update_guardrails(request.into_inner()).map_err(status)?;
        let done = self.0.service.policies.update_guardrails(&context, command).await.map_err(status)?;
        Ok(Response::new(done.into()))
    }

    async fn list_signing_keys(
        &self,
        request: Request<pb::ListSigningKeysRequest>,
    ) -> RpcResult<pb::ListSigningKeysResponse> {
        self.0.read(&request).await?;
        let filter = request::list_signing_keys(request.get_ref()).map_err(status)?;
        let keys = &self.0.service.keys;
        let store = keys.signer().store().to_owned();
        Ok(Response::new(response::signing_keys(store, keys.keys(&filter), keys.key_statements())))
    }

    async fn create_role_binding(
        &self,
        request: Request<pb::CreateRoleBindingRequest>,
    ) -> RpcResult<pb::CreateRoleBindingResponse> {
        let context = self.0.mutation(&request).await?;
        let command = request::create_role_binding(request.into_inner()).map_err(status)?;
        let done = self.0.service.access.create_role_binding(&context, command).await.map_err(status)?;
        Ok(Response::new(done.into()))
    }

    async fn list_role_bindings(
        &self,
        request: Request<pb::ListRoleBindingsRequest>,
    ) -> RpcResult<pb::ListRoleBindingsResponse> {
        self.0.read(&request).await?;
        let (namespace, list, page, filter) = request::list_role_bindings(request.get_ref()).map_err(status)?;
        let found = self.0.service.access.list_role_bindings(&namespace, &page, &filter).await.map_err(status)?;
        let (role_bindings, next_page_token) =
            list.answer(found, |binding| binding.name.id.clone(), response::role_binding);
        Ok(Response::new(pb::ListRoleBindingsResponse { role_bindings, next_page_token }))
    }

    async fn list_denials(&self, request: Request<pb::ListDenialsRequest>) -> RpcResult<pb::ListDenialsResponse> {
        self.0.read(&request).await?;
        let (namespace, list, page, filter) = request::list_denials(request.get_ref()).map_err(status)?;
        let found = self.0.service.access.list_denials(&namespace, &page, &filter).await.map_err(status)?;
        let (denials, next_page_token) = list.answer(found, |denial| denial.key.id(), response::denial);
        Ok(Response::new(pb::ListDenialsResponse { denials, next_page_token }))
    }

    async fn delete_role_binding(
        &self,
        request: Request<pb::DeleteRoleBindingRequest>,
    ) -> RpcResult<pb::DeleteRoleBindingResponse> {
        let context = self.0.mutation(&request).await?;
        let command = request::delete_role_binding(request.into_inner()).map_err(status)?;
        let done = self.0.service.access.delete_role_binding(&context, command).await.map_err(status)?;
        Ok(Response::new(done.into()))
    }

    async fn prepare_signing_key(
        &self,
        request: Request<pb::PrepareSigningKeyRequest>,
    ) -> RpcResult<pb::PrepareSigningKeyResponse> {
        let context = self.0.mutation(&request).await?;
        let command = request::prepare_key(request.into_inner());
        let done = self.0.service.keys.prepare_key(&context, command).await.map_err(status)?;
        let key = self.0.service.keys.key_info(done.key);
        Ok(Response::new(response::key_prepared(key, done.cursor)))
    }

    async fn activate_signing_key(
        &self,
        request: Request<pb::ActivateSigningKeyRequest>,
    ) -> RpcResult<pb::ActivateSigningKeyResponse> {
        let context = self.0.mutation(&request).await?;
        let command = request::activate_key(request.into_inner()).map_err(status)?;
        let done = self.0.service.keys.activate_key(&context, command).await.map_err(status)?;
        let key = self.0.service.keys.key_info(done.key);
        Ok(Response::new(response::key_activated(key, done.cursor)))
    }

    async fn revoke_signing_key(
        &self,
        request: Request<pb::RevokeSigningKeyRequest>,
    ) -> RpcResult<pb::RevokeSigningKeyResponse> {
        let context = self.0.mutation(&request).await?;
        let command = request::revoke_key(request.into_inner()).map_err(status)?;
        let done = self.0.service.keys.revoke_key(&context, command).await.map_err(status)?;
        let key = self.0.service.keys.key_info(done.key.clone());
        Ok(Response::new(response::key_revoked(key, done)))
    }

    async fn revoke_token(&self, request: Request<pb::RevokeTokenRequest>) -> RpcResult<pb::RevokeTokenResponse> {
        let context = self.0.mutation(&request).await?;
        let command = request::revoke_token(request.into_inner()).map_err(status)?;
        let cursor = self.0.service.access.revoke_token(&context, command).await.map_err(status)?;
        Ok(Response::new(response::token_revoked(cursor)))
    }

    async fn thaw_namespace(&self, request: Request<pb::ThawNamespaceRequest>) -> RpcResult<pb::ThawNamespaceResponse> {
        let context = self.0.mutation(&request).await?;
        let command = request::thaw_namespace(request.into_inner()).map_err(status)?;
        let thawed = self.0.service.archive.thaw_namespace(&context, command).await.map_err(status)?;
        Ok(Response::new(thawed.into()))
    }

    /// Is never called: `StreamRoutes` answers VerifyLog.
    async fn verify_log(&self, _: Request<pb::VerifyLogRequest>) -> RpcResult<Self::VerifyLogStream> {
        Err(answered_by_stream_routes())
    }

    type VerifyLogStream = Unreachable<pb::VerifyLogResponse>;

    /// Is never called: `StreamRoutes` answers ExportRows.
    async fn export_rows(&self, _: Request<pb::ExportRowsRequest>) -> RpcResult<Self::ExportRowsStream> {
        Err(answered_by_stream_routes())
    }

    type ExportRowsStream = Unreachable<pb::ExportRowsResponse>;

    async fn import_namespace(
        &self,
        request: Request<pb::ImportNamespaceRequest>,
    ) -> RpcResult<pb::ImportNamespaceResponse> {
        let context = self.0.mutation(&request).await?;
        let command = request::import_namespace(request.into_inner()).map_err(status)?;
        let done = self.0.service.archive.import_namespace(&context, command).await.map_err(status)?;
        Ok(Response::new(response::imported(done)))
    }
}
