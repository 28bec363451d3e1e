//! `AdminService`: namespaces, tokens and keys here; role bindings in `bindings.rs`.

use tonic::{Request, Response, Status};

use super::handler::Handler;
use super::read_stream::EmptyStream;
use super::signing_key::signing_key;
use crate::api::page::first_that_fit;
use crate::api::pb::admin_service_server::AdminService;
use crate::api::status::status;
use crate::api::{pb, request, response};
use crate::domain::limits::MESSAGE_MAX_BYTES;
use crate::domain::outcome::KeyRevoked;

/// The handlers.
#[derive(Debug, Clone)]
pub struct AdminHandler(pub Handler);

type Answer<T> = Result<Response<T>, Status>;

/// What ListSigningKeys may take for keys: some 2,000, and those that are not revoked are the first 20.
const KEYS_MAX_BYTES: usize = 1024 * 1024;
/// What it may take for key statements.
const KEY_STATEMENTS_MAX_BYTES: usize = MESSAGE_MAX_BYTES - KEYS_MAX_BYTES - 4 * 1024;

#[tonic::async_trait]
impl AdminService for AdminHandler {
    async fn create_namespace(
        &self,
        asked: Request<pb::CreateNamespaceRequest>,
    ) -> Answer<pb::CreateNamespaceResponse> {
        let context = self.0.write(&asked, &asked.get_ref().request_id, asked.get_ref().validate_only).await?;
        let command = request::create_namespace(asked.into_inner()).map_err(status)?;
        let done = self.0.service.access.create_namespace(&context, command).await.map_err(status)?;
        let namespace = Some(response::namespace(done.namespace));
        Ok(Response::new(pb::CreateNamespaceResponse { namespace, cursor: done.cursor.map(Into::into) }))
    }

    async fn get_namespace(&self, asked: Request<pb::GetNamespaceRequest>) -> Answer<pb::GetNamespaceResponse> {
        self.0.read(&asked).await?;
        let id = request::namespace("name", &asked.get_ref().name).map_err(status)?;
        let found = self.0.service.access.get_namespace(&id).await.map_err(status)?;
        let imports = self.0.service.archive.imports(&id).await.map_err(status)?;
        let imports = imports.into_iter().map(response::namespace_import).collect();
        let namespace = pb::Namespace { imports, ..response::namespace(found) };
        Ok(Response::new(pb::GetNamespaceResponse { namespace: Some(namespace) }))
    }

    async fn list_namespaces(&self, asked: Request<pb::ListNamespacesRequest>) -> Answer<pb::ListNamespacesResponse> {
        let context = self.0.read(&asked).await?;
        let (list, page, filter) = request::list_namespaces(asked.get_ref()).map_err(status)?;
        let found = self.0.service.access.list_namespaces(&context, &page, &filter).await.map_err(status)?;
        let (namespaces, next_page_token) = list.answer(found, |each| each.id.to_string(), response::namespace);
        Ok(Response::new(pb::ListNamespacesResponse { namespaces, next_page_token }))
    }

    async fn update_namespace(
        &self,
        asked: Request<pb::UpdateNamespaceRequest>,
    ) -> Answer<pb::UpdateNamespaceResponse> {
        let context = self.0.write(&asked, &asked.get_ref().request_id, asked.get_ref().validate_only).await?;
        let command = request::update_namespace(asked.into_inner()).map_err(status)?;
        let done = self.0.service.access.update_namespace(&context, command).await.map_err(status)?;
        let namespace = Some(response::namespace(done.namespace));
        Ok(Response::new(pb::UpdateNamespaceResponse { namespace, cursor: done.cursor.map(Into::into) }))
    }

    async fn list_signing_keys(
        &self,
        asked: Request<pb::ListSigningKeysRequest>,
    ) -> Answer<pb::ListSigningKeysResponse> {
        self.0.read(&asked).await?;
        let filter = request::list_signing_keys(asked.get_ref()).map_err(status)?;
        let service = &self.0.service;
        let keys = first_that_fit(service.keys.keys(&filter).into_iter().map(signing_key).collect(), KEYS_MAX_BYTES);
        // Where not all fit, the newest ones lead on from the keys of the latest rotations.
        let newest_first = service.keys.key_statements().into_iter().rev().collect();
        let mut key_statements = first_that_fit(newest_first, KEY_STATEMENTS_MAX_BYTES);
        key_statements.reverse();
        let store = service.keys.signer().store().to_owned();
        Ok(Response::new(pb::ListSigningKeysResponse { keys, store, key_statements }))
    }

    async fn create_role_binding(
        &self,
        asked: Request<pb::CreateRoleBindingRequest>,
    ) -> Answer<pb::CreateRoleBindingResponse> {
        self.grant(asked).await
    }

    async fn list_role_bindings(
        &self,
        asked: Request<pb::ListRoleBindingsRequest>,
    ) -> Answer<pb::ListRoleBindingsResponse> {
        self.bindings(asked).await
    }

    async fn list_denials(&self, asked: Request<pb::ListDenialsRequest>) -> Answer<pb::ListDenialsResponse> {
        self.denials(asked).await
    }

    async fn delete_role_binding(
        &self,
        asked: Request<pb::DeleteRoleBindingRequest>,
    ) -> Answer<pb::DeleteRoleBindingResponse> {
        self.revoke(asked).await
    }

    async fn prepare_signing_key(
        &self,
        asked: Request<pb::PrepareSigningKeyRequest>,
    ) -> Answer<pb::PrepareSigningKeyResponse> {
        let context = self.0.write(&asked, &asked.get_ref().request_id, false).await?;
        let command = request::prepare_key(asked.into_inner());
        let done = self.0.service.keys.prepare_key(&context, command).await.map_err(status)?;
        let key = Some(signing_key(self.0.service.keys.key_info(done.key)));
        Ok(Response::new(pb::PrepareSigningKeyResponse { key, cursor: done.cursor.map(Into::into) }))
    }

    async fn activate_signing_key(
        &self,
        asked: Request<pb::ActivateSigningKeyRequest>,
    ) -> Answer<pb::ActivateSigningKeyResponse> {
        let context = self.0.write(&asked, &asked.get_ref().request_id, false).await?;
        let command = request::activate_key(asked.into_inner()).map_err(status)?;
        let done = self.0.service.keys.activate_key(&context, command).await.map_err(status)?;
        let key = Some(signing_key(self.0.service.keys.key_info(done.key)));
        Ok(Response::new(pb::ActivateSigningKeyResponse { key, cursor: done.cursor.map(Into::into) }))
    }

    async fn revoke_signing_key(
        &self,
        asked: Request<pb::RevokeSigningKeyRequest>,
    ) -> Answer<pb::RevokeSigningKeyResponse> {
        let context = self.0.write(&asked, &asked.get_ref().request_id, false).await?;
        let command = request::revoke_key(asked.into_inner()).map_err(status)?;
        let KeyRevoked { key, cursor, versions, version_count, remaining_count } =
            self.0.service.keys.revoke_key(&context, command).await.map_err(status)?;
        let key = Some(signing_key(self.0.service.keys.key_info(key)));
        let answer = pb::RevokeSigningKeyResponse {
            key,
            versions,
            cursor: cursor.map(Into::into),
            version_count,
            remaining_count,
        };
        Ok(Response::new(answer))
    }

    async fn revoke_token(&self, asked: Request<pb::RevokeTokenRequest>) -> Answer<pb::RevokeTokenResponse> {
        let context = self.0.write(&asked, &asked.get_ref().request_id, false).await?;
        let command = request::revoke_token(asked.into_inner()).map_err(status)?;
        let at = self.0.service.access.revoke_token(&context, command).await.map_err(status)?;
        Ok(Response::new(pb::RevokeTokenResponse { cursor: at.map(Into::into) }))
    }

    async fn thaw_namespace(&self, asked: Request<pb::ThawNamespaceRequest>) -> Answer<pb::ThawNamespaceResponse> {
        let given = asked.get_ref();
        let context = self.0.write(&asked, &given.request_id, given.validate_only).await?;
        let command = request::thaw_namespace(asked.into_inner()).map_err(status)?;
        let at = self.0.service.archive.thaw_namespace(&context, command).await.map_err(status)?;
        Ok(Response::new(pb::ThawNamespaceResponse { cursor: at.map(Into::into) }))
    }

    type VerifyLogStream = EmptyStream<pb::VerifyLogResponse>;

    async fn verify_log(&self, asked: Request<pb::VerifyLogRequest>) -> Answer<Self::VerifyLogStream> {
        self.check_log(asked).await
    }

    type ExportRowsStream = EmptyStream<pb::ExportRowsResponse>;

    async fn export_rows(&self, asked: Request<pb::ExportRowsRequest>) -> Answer<Self::ExportRowsStream> {
        self.rows(asked).await
    }

    async fn import_namespace(
        &self,
        asked: Request<pb::ImportNamespaceRequest>,
    ) -> Answer<pb::ImportNamespaceResponse> {
        self.import(asked).await
    }
}
