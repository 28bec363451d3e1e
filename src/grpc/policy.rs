//! `PolicyService`: one handler per RPC; each authorizes, converts, calls the service and converts the result.

use tonic::{Request, Response};

use super::handler::{Handler, RpcResult};
use crate::api::pb::policy_service_server::PolicyService;
use crate::api::status::status;
use crate::api::{pb, request, response};
use crate::domain::event::{Event, Payload};
use crate::domain::pointed_policy::PointedPolicy;
use crate::domain::version::VersionWithContent;

/// Handles the calls of `PolicyService`.
#[derive(Debug, Clone)]
pub struct PolicyHandler(pub Handler);

#[tonic::async_trait]
impl PolicyService for PolicyHandler {
    async fn create_policy(&self, request: Request<pb::CreatePolicyRequest>) -> RpcResult<pb::CreatePolicyResponse> {
        let context = self.0.mutation(&request).await?;
        let command = request::create_policy(request.into_inner()).map_err(status)?;
        let done = self.0.service.policies.create_policy(&context, command).await.map_err(status)?;
        Ok(Response::new(done.into()))
    }

    async fn get_policy(&self, request: Request<pb::GetPolicyRequest>) -> RpcResult<pb::GetPolicyResponse> {
        self.0.read(&request).await?;
        let name = request::policy("name", &request.get_ref().name).map_err(status)?;
        let policy = self.0.service.policies.get_policy(&name).await.map_err(status)?;
        Ok(Response::new(policy.into()))
    }

    async fn list_policies(&self, request: Request<pb::ListPoliciesRequest>) -> RpcResult<pb::ListPoliciesResponse> {
        self.0.read(&request).await?;
        let list = request::list_policies(request.get_ref()).map_err(status)?;
        let found = self.0.service.policies.list_policies(&list.namespace, &list.page, &list.filter).await;
        let key = |each: &PointedPolicy| each.policy.name.policy.to_string();
        let (policies, next_page_token) = list.list.answer(found.map_err(status)?, key, response::policy);
        Ok(Response::new(pb::ListPoliciesResponse { policies, next_page_token }))
    }

    async fn update_policy(&self, request: Request<pb::UpdatePolicyRequest>) -> RpcResult<pb::UpdatePolicyResponse> {
        let context = self.0.mutation(&request).await?;
        let command = request::update_policy(request.into_inner()).map_err(status)?;
        let done = self.0.service.policies.update_policy(&context, command).await.map_err(status)?;
        Ok(Response::new(done.into()))
    }

    async fn draft(&self, request: Request<pb::DraftRequest>) -> RpcResult<pb::DraftResponse> {
        let context = self.0.mutation(&request).await?;
        let command = request::draft(request.into_inner()).map_err(status)?;
        let done = self.0.service.policies.draft(&context, command).await.map_err(status)?;
        Ok(Response::new(done.into()))
    }

    async fn abandon_draft(&self, request: Request<pb::AbandonDraftRequest>) -> RpcResult<pb::AbandonDraftResponse> {
        let context = self.0.mutation(&request).await?;
        let command = request::abandon_draft(request.into_inner()).map_err(status)?;
        let done = self.0.service.policies.abandon_draft(&context, command).await.map_err(status)?;
        Ok(Response::new(done.into()))
    }

    async fn stage(&self, request: Request<pb::StageRequest>) -> RpcResult<pb::StageResponse> {
        let context = self.0.mutation(&request).await?;
        let command = request::stage(request.get_ref()).map_err(status)?;
        let done = self.0.service.policies.stage(&context, command).await.map_err(status)?;
        Ok(Response::new(done.into()))
    }

    async fn publish(&self, request: Request<pb::PublishRequest>) -> RpcResult<pb::PublishResponse> {
        let context = self.0.mutation(&request).await?;
        let command = request::publish(request.into_inner()).map_err(status)?;
        let done = self.0.service.policies.publish(&context, command).await.map_err(status)?;
        Ok(Response::new(done.into()))
    }

    async fn publish_versions(
        &self,
        request: Request<pb::PublishVersionsRequest>,
    ) -> RpcResult<pb::PublishVersionsResponse> {
        let context = self.0.mutation(&request).await?;
        let command = request::publish_versions(request.into_inner()).map_err(status)?;
        let done = self.0.service.policies.publish_versions(&context, command).await.map_err(status)?;
        Ok(Response::new(response::published_versions(done)))
    }

    async fn activate(&self, request: Request<pb::ActivateRequest>) -> RpcResult<pb::ActivateResponse> {
        let context = self.0.mutation(&request).await?;
        let command = request::activate(request.into_inner()).map_err(status)?;
        let done = self.0.service.policies.activate(&context, command).await.map_err(status)?;
        Ok(Response::new(done.into()))
    }

    async fn rollback(&self, request: Request<pb::RollbackRequest>) -> RpcResult<pb::RollbackResponse> {
        let context = self.0.mutation(&request).await?;
        let command = request::rollback(request.into_inner()).map_err(status)?;
        let done = self.0.service.policies.rollback(&context, command).await.map_err(status)?;
        Ok(Response::new(done.into()))
    }

    async fn deactivate(&self, request: Request<pb::DeactivateRequest>) -> RpcResult<pb::DeactivateResponse> {
        let context = self.0.mutation(&request).await?;
        let command = request::deactivate(request.into_inner()).map_err(status)?;
        let done = self.0.service.policies.deactivate(&context, command).await.map_err(status)?;
        Ok(Response::new(done.into()))
    }

    async fn get_version(&self, request: Request<pb::GetVersionRequest>) -> RpcResult<pb::GetVersionResponse> {
        let context = self.0.read(&request).await?;
        let (name, full) = request::get_version(request.get_ref()).map_err(status)?;
        let found = self.0.service.policies.get_version(&context, &name, full).await.map_err(status)?;
        Ok(Response::new(found.into()))
    }

    async fn list_versions(&self, request: Request<pb::ListVersionsRequest>) -> RpcResult<pb::ListVersionsResponse> {
        let context = self.0.read(&request).await?;
        let list = request::list_versions(request.get_ref()).map_err(status)?;
        let service = &self.0.service;
        let found = service.policies.list_versions(&context, &list.policy, &list.page, &list.filter, list.full).await;
        let found = found.map_err(status)?;
        let key = |each: &VersionWithContent| each.version.number.to_string();
        let (versions, next_page_token) = list.list.answer(found, key, response::version_with_content);
        Ok(Response::new(pb::ListVersionsResponse { versions, next_page_token }))
    }

    async fn diff_versions(&self, request: Request<pb::DiffVersionsRequest>) -> RpcResult<pb::DiffVersionsResponse> {
        self.0.read(&request).await?;
        let from = request::version("base", &request.get_ref().base).map_err(status)?;
        let to = request::version("other", &request.get_ref().other).map_err(status)?;
        let found = self.0.service.policies.diff_versions(&from, &to).await.map_err(status)?;
        Ok(Response::new(found.into()))
    }

    async fn get_validation_report(
        &self,
        request: Request<pb::GetValidationReportRequest>,
    ) -> RpcResult<pb::GetValidationReportResponse> {
        self.0.read(&request).await?;
        let name = request::version("name", &request.get_ref().name).map_err(status)?;
        let (version, report) = self.0.service.policies.get_report(&name).await.map_err(status)?;
        Ok(Response::new(response::found_report(&version, report)))
    }

    async fn approve_version(
        &self,
        request: Request<pb::ApproveVersionRequest>,
    ) -> RpcResult<pb::ApproveVersionResponse> {
        let context = self.0.mutation(&request).await?;
        let command = request::approve_version(request.into_inner()).map_err(status)?;
        let done = self.0.service.policies.approve_version(&context, command).await.map_err(status)?;
        Ok(Response::new(done.into()))
    }

    async fn reject_version(&self, request: Request<pb::RejectVersionRequest>) -> RpcResult<pb::RejectVersionResponse> {
        let context = self.0.mutation(&request).await?;
        let command = request::reject_version(request.into_inner()).map_err(status)?;
        let done = self.0.service.policies.reject_version(&context, command).await.map_err(status)?;
        Ok(Response::new(done.into()))
    }

    async fn create_schedule(
        &self,
        request: Request<pb::CreateScheduleRequest>,
    ) -> RpcResult<pb::CreateScheduleResponse> {
        let context = self.0.mutation(&request).await?;
        let command = request::create_schedule(request.into_inner()).map_err(status)?;
        let done = self.0.service.policies.create_schedule(&context, command).await.map_err(status)?;
        Ok(Response::new(done.into()))
    }

    async fn get_schedule(&self, request: Request<pb::GetScheduleRequest>) -> RpcResult<pb::GetScheduleResponse> {
        self.0.read(&request).await?;
        let name = request::schedule_name("name", &request.get_ref().name).map_err(status)?;
        let schedule = self.0.service.policies.get_schedule(&name).await.map_err(status)?;
        Ok(Response::new(pb::GetScheduleResponse { schedule: Some(response::schedule(schedule)) }))
    }

    async fn list_schedules(&self, request: Request<pb::ListSchedulesRequest>) -> RpcResult<pb::ListSchedulesResponse> {
        self.0.read(&request).await?;
        let (namespace, list, page, filter) = request::list_schedules(request.get_ref()).map_err(status)?;
        let found = self.0.service.policies.list_schedules(&namespace, &page, &filter).await.map_err(status)?;
        let (schedules, next_page_token) = list.answer(found, |each| each.name.id.to_string(), response::schedule);
        Ok(Response::new(pb::ListSchedulesResponse { schedules, next_page_token }))
    }

    async fn cancel_schedule(
        &self,
        request: Request<pb::CancelScheduleRequest>,
    ) -> RpcResult<pb::CancelScheduleResponse> {
        let context = self.0.mutation(&request).await?;
        let command = request::cancel_schedule(request.into_inner()).map_err(status)?;
        let done = self.0.service.policies.cancel_schedule(&context, command).await.map_err(status)?;
        Ok(Response::new(done.into()))
    }

    async fn resume_schedule(
        &self,
        request: Request<pb::ResumeScheduleRequest>,
    ) -> RpcResult<pb::ResumeScheduleResponse> {
        let context = self.0.mutation(&request).await?;
        let command = request::resume_schedule(request.into_inner()).map_err(status)?;
        let done = self.0.service.policies.resume_schedule(&context, command).await.map_err(status)?;
        Ok(Response::new(done.into()))
    }

    async fn list_events(&self, request: Request<pb::ListEventsRequest>) -> RpcResult<pb::ListEventsResponse> {
        self.0.read(&request).await?;
        let list = request::list_events(request.get_ref()).map_err(status)?;
        let (service, namespace, position) = (&self.0.service, &list.namespace, list.import_position);
        let found = if position > 0 {
            service.archive.list_imported_events(namespace, position, &list.page, &list.filter).await
        } else {
            service.archive.list_events(namespace, &list.page, &list.filter).await
        };
        let convert = if position > 0 { response::imported_event } else { response::event };
        let key = |(event, _): &(Event, Payload)| event.cursor.revision.to_string();
        let write = |(event, payload)| convert(event, payload);
        let (events, next_page_token) = list.list.answer(found.map_err(status)?, key, write);
        Ok(Response::new(pb::ListEventsResponse { events, next_page_token }))
    }
}
