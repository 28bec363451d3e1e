//! `PolicyService`: one handler per RPC, all in one rhythm.

use tonic::{Request, Response, Status};

use super::handler::Handler;
use crate::api::pb::policy_service_server::PolicyService;
use crate::api::status::status;
use crate::api::{pb, request, response};
use crate::domain::event::{Event, Payload};
use crate::domain::pointed_policy::PointedPolicy;
use crate::service::VersionWithContent;

/// The handlers.
#[derive(Debug, Clone)]
pub struct PolicyHandler(pub Handler);

type Answer<T> = Result<Response<T>, Status>;

fn listed(from: VersionWithContent) -> pb::Version {
    let approvals = response::approvals(from.approvals);
    pb::Version { approvals, ..response::version_with_content(from.version, from.active, from.content) }
}

#[tonic::async_trait]
impl PolicyService for PolicyHandler {
    async fn create_policy(&self, asked: Request<pb::CreatePolicyRequest>) -> Answer<pb::CreatePolicyResponse> {
        let context = self.0.write(&asked, &asked.get_ref().request_id, asked.get_ref().validate_only).await?;
        let command = request::create_policy(asked.into_inner()).map_err(status)?;
        let done = self.0.service.policies.create_policy(&context, command).await.map_err(status)?;
        let policy = Some(response::policy(done.policy));
        Ok(Response::new(pb::CreatePolicyResponse { policy, cursor: done.cursor.map(Into::into) }))
    }

    async fn get_policy(&self, asked: Request<pb::GetPolicyRequest>) -> Answer<pb::GetPolicyResponse> {
        self.0.read(&asked).await?;
        let name = request::policy("name", &asked.get_ref().name).map_err(status)?;
        let policy = self.0.service.policies.get_policy(&name).await.map_err(status)?;
        Ok(Response::new(pb::GetPolicyResponse { policy: Some(response::policy(policy)) }))
    }

    async fn list_policies(&self, asked: Request<pb::ListPoliciesRequest>) -> Answer<pb::ListPoliciesResponse> {
        self.0.read(&asked).await?;
        let asked = request::list_policies(asked.get_ref()).map_err(status)?;
        let found = self.0.service.policies.list_policies(&asked.namespace, &asked.page, &asked.filter).await;
        let key = |each: &PointedPolicy| each.policy.name.policy.to_string();
        let (policies, next_page_token) = asked.list.answer(found.map_err(status)?, key, response::policy);
        Ok(Response::new(pb::ListPoliciesResponse { policies, next_page_token }))
    }

    async fn update_policy(&self, asked: Request<pb::UpdatePolicyRequest>) -> Answer<pb::UpdatePolicyResponse> {
        let context = self.0.write(&asked, &asked.get_ref().request_id, asked.get_ref().validate_only).await?;
        let command = request::update_policy(asked.into_inner()).map_err(status)?;
        let done = self.0.service.policies.update_policy(&context, command).await.map_err(status)?;
        let policy = Some(response::policy(done.policy));
        Ok(Response::new(pb::UpdatePolicyResponse { policy, cursor: done.cursor.map(Into::into) }))
    }

    async fn draft(&self, asked: Request<pb::DraftRequest>) -> Answer<pb::DraftResponse> {
        let context = self.0.write(&asked, &asked.get_ref().request_id, asked.get_ref().validate_only).await?;
        let command = request::draft(asked.into_inner()).map_err(status)?;
        let done = self.0.service.policies.draft(&context, command).await.map_err(status)?;
        let version = Some(response::version(done.version, done.active));
        Ok(Response::new(pb::DraftResponse { version, cursor: done.cursor.map(Into::into) }))
    }

    async fn abandon_draft(&self, asked: Request<pb::AbandonDraftRequest>) -> Answer<pb::AbandonDraftResponse> {
        let context = self.0.write(&asked, &asked.get_ref().request_id, asked.get_ref().validate_only).await?;
        let command = request::abandon_draft(asked.into_inner()).map_err(status)?;
        let done = self.0.service.policies.abandon_draft(&context, command).await.map_err(status)?;
        let version = Some(response::version(done.version, false));
        Ok(Response::new(pb::AbandonDraftResponse { version, cursor: done.cursor.map(Into::into) }))
    }

    async fn stage(&self, asked: Request<pb::StageRequest>) -> Answer<pb::StageResponse> {
        let context = self.0.write(&asked, &asked.get_ref().request_id, asked.get_ref().validate_only).await?;
        let command = request::stage(asked.get_ref()).map_err(status)?;
        let done = self.0.service.policies.stage(&context, command).await.map_err(status)?;
        let report = Some(response::report(done.version.name(), done.report));
        let version = Some(response::version(done.version, false));
        Ok(Response::new(pb::StageResponse { version, report, cursor: done.cursor.map(Into::into) }))
    }

    async fn publish(&self, asked: Request<pb::PublishRequest>) -> Answer<pb::PublishResponse> {
        let context = self.0.write(&asked, &asked.get_ref().request_id, asked.get_ref().validate_only).await?;
        let command = request::publish(asked.into_inner()).map_err(status)?;
        let done = self.0.service.policies.publish(&context, command).await.map_err(status)?;
        let active = done.activation.as_ref().is_some_and(|activation| activation.cursor.is_some());
        let version = Some(response::version(done.version, active));
        let activation = done.activation.map(response::activation_summary);
        Ok(Response::new(pb::PublishResponse { version, cursor: done.cursor.map(Into::into), activation }))
    }

    async fn publish_versions(
        &self,
        asked: Request<pb::PublishVersionsRequest>,
    ) -> Answer<pb::PublishVersionsResponse> {
        let context = self.0.write(&asked, &asked.get_ref().request_id, asked.get_ref().validate_only).await?;
        let command = request::publish_versions(asked.into_inner()).map_err(status)?;
        let done = self.0.service.policies.publish_versions(&context, command).await.map_err(status)?;
        Ok(Response::new(response::published_versions(done)))
    }

    async fn activate(&self, asked: Request<pb::ActivateRequest>) -> Answer<pb::ActivateResponse> {
        let context = self.0.write(&asked, &asked.get_ref().request_id, asked.get_ref().validate_only).await?;
        let command = request::activate(asked.into_inner()).map_err(status)?;
        let done = self.0.service.policies.activate(&context, command).await.map_err(status)?;
        let cursor = done.cursor.map(Into::into);
        let activation = Some(response::activation_summary(done));
        Ok(Response::new(pb::ActivateResponse { activation, cursor }))
    }

    async fn rollback(&self, asked: Request<pb::RollbackRequest>) -> Answer<pb::RollbackResponse> {
        let context = self.0.write(&asked, &asked.get_ref().request_id, asked.get_ref().validate_only).await?;
        let command = request::rollback(asked.into_inner()).map_err(status)?;
        let done = self.0.service.policies.rollback(&context, command).await.map_err(status)?;
        let active = done.activation.cursor.is_some();
        let report = done.report.map(|report| response::report(done.version.name(), report));
        Ok(Response::new(pb::RollbackResponse {
            version: Some(response::version(done.version, active)),
            activation: Some(response::activation_summary(done.activation)),
            cursor: done.cursor.map(Into::into),
            report,
            warnings: done.warnings,
        }))
    }

    async fn deactivate(&self, asked: Request<pb::DeactivateRequest>) -> Answer<pb::DeactivateResponse> {
        let context = self.0.write(&asked, &asked.get_ref().request_id, asked.get_ref().validate_only).await?;
        let command = request::deactivate(asked.into_inner()).map_err(status)?;
        let done = self.0.service.policies.deactivate(&context, command).await.map_err(status)?;
        let policy = Some(response::policy(done.policy));
        let activation = Some(response::activation_summary(done.activation));
        Ok(Response::new(pb::DeactivateResponse { policy, activation, cursor: done.cursor.map(Into::into) }))
    }

    async fn get_version(&self, asked: Request<pb::GetVersionRequest>) -> Answer<pb::GetVersionResponse> {
        let context = self.0.read(&asked).await?;
        let name = request::version("name", &asked.get_ref().name).map_err(status)?;
        let full = asked.get_ref().view != pb::VersionView::Basic as i32;
        let found = self.0.service.policies.get_version(&context, &name, full).await.map_err(status)?;
        Ok(Response::new(pb::GetVersionResponse { version: Some(listed(found)) }))
    }

    async fn list_versions(&self, asked: Request<pb::ListVersionsRequest>) -> Answer<pb::ListVersionsResponse> {
        let context = self.0.read(&asked).await?;
        let asked = request::list_versions(asked.get_ref()).map_err(status)?;
        let service = &self.0.service;
        let listed_versions =
            service.policies.list_versions(&context, &asked.policy, &asked.page, &asked.filter, asked.full);
        let found = listed_versions.await.map_err(status)?;
        let (versions, next_page_token) = asked.list.answer(found, |each| each.version.number.to_string(), listed);
        Ok(Response::new(pb::ListVersionsResponse { versions, next_page_token }))
    }

    async fn diff_versions(&self, asked: Request<pb::DiffVersionsRequest>) -> Answer<pb::DiffVersionsResponse> {
        self.0.read(&asked).await?;
        let from = request::version("base", &asked.get_ref().base).map_err(status)?;
        let to = request::version("other", &asked.get_ref().other).map_err(status)?;
        let found = self.0.service.policies.diff_versions(&from, &to).await.map_err(status)?;
        Ok(Response::new(pb::DiffVersionsResponse {
            unified: found.unified,
            json_patch: found.json_patch,
            base: Some(listed(found.from)),
            other: Some(listed(found.to)),
            too_large: found.too_large,
        }))
    }

    async fn get_validation_report(
        &self,
        asked: Request<pb::GetValidationReportRequest>,
    ) -> Answer<pb::GetValidationReportResponse> {
        self.0.read(&asked).await?;
        let name = request::version("name", &asked.get_ref().name).map_err(status)?;
        let (version, report) = self.0.service.policies.get_report(&name).await.map_err(status)?;
        let report = Some(response::report(version.name(), report));
        Ok(Response::new(pb::GetValidationReportResponse { report }))
    }

    async fn approve_version(&self, asked: Request<pb::ApproveVersionRequest>) -> Answer<pb::ApproveVersionResponse> {
        let context = self.0.write(&asked, &asked.get_ref().request_id, false).await?;
        let command = request::approve_version(asked.into_inner()).map_err(status)?;
        let done = self.0.service.policies.approve_version(&context, command).await.map_err(status)?;
        let approvals = response::approvals(done.approvals);
        let version = Some(pb::Version { approvals, ..response::version(done.version, false) });
        Ok(Response::new(pb::ApproveVersionResponse { version, cursor: done.cursor.map(Into::into) }))
    }

    async fn reject_version(&self, asked: Request<pb::RejectVersionRequest>) -> Answer<pb::RejectVersionResponse> {
        let context = self.0.write(&asked, &asked.get_ref().request_id, false).await?;
        let command = request::reject_version(asked.into_inner()).map_err(status)?;
        let done = self.0.service.policies.reject_version(&context, command).await.map_err(status)?;
        let version = Some(response::version(done.version, false));
        Ok(Response::new(pb::RejectVersionResponse { version, cursor: done.cursor.map(Into::into) }))
    }

    async fn list_events(&self, asked: Request<pb::ListEventsRequest>) -> Answer<pb::ListEventsResponse> {
        self.0.read(&asked).await?;
        let asked = request::list_events(asked.get_ref()).map_err(status)?;
        let (service, namespace, position) = (&self.0.service, &asked.namespace, asked.import_position);
        let found = if position > 0 {
            service.archive.list_imported_events(namespace, position, &asked.page, &asked.filter).await
        } else {
            service.archive.list_events(namespace, &asked.page, &asked.filter).await
        };
        let written = if position > 0 { response::imported_event } else { response::event };
        let key = |(event, _): &(Event, Payload)| event.cursor.revision.to_string();
        let write = |(event, payload)| written(event, payload);
        let (events, next_page_token) = asked.list.answer(found.map_err(status)?, key, write);
        Ok(Response::new(pb::ListEventsResponse { events, next_page_token }))
    }
}
