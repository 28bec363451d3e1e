//! Every unary RPC as a method of the same name. Streams that read for long are in `log_check` and `exported_rows`.
//!
//! Boundary: no decisions besides a deadline for each call and the bounded retry of mutations. Every method fails with
//! the [`ClientError`] the server answered, or UNAVAILABLE and DEADLINE_EXCEEDED of the transport.

use std::time::Duration;

use tonic::Request;

use super::channel::RpcClient;
use super::error::ClientError;
use super::retry::with_retries;
use policyhub_core::api::pb;
use policyhub_core::domain::limits::{CALL_TIMEOUT_DEFAULT_SECONDS, CONVERGENCE_WAIT_MAX_SECONDS};

/// Sets how long one try of a call may take, unless its caller says otherwise. A server answers sooner, also when its database is down.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(CALL_TIMEOUT_DEFAULT_SECONDS);

/// Returns a request with a deadline.
pub(super) fn timed<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}

/// Methods that change nothing: one try.
macro_rules! reads {
    ($service:ident { $($name:ident($request:ident) -> $response:ident, $doc:literal;)* }) => {
        impl RpcClient { $(
            #[doc = $doc]
            pub async fn $name(&self, request: pb::$request) -> Result<pb::$response, ClientError> {
                Ok(self.$service.clone().$name(timed(request, CALL_TIMEOUT)).await?.into_inner())
            }
        )* }
    };
}

/// Methods that change something: the same request again while the server is UNAVAILABLE and the request has an id, or
/// while it is over a rate.
macro_rules! mutations {
    ($service:ident { $($name:ident($request:ident) -> $response:ident, $doc:literal;)* }) => {
        impl RpcClient { $(
            #[doc = $doc]
            pub async fn $name(&self, request: pb::$request) -> Result<pb::$response, ClientError> {
                with_retries(&request.request_id, || {
                    let (mut service, again) = (self.$service.clone(), request.clone());
                    async move { service.$name(timed(again, CALL_TIMEOUT)).await }
                })
                .await
            }
        )* }
    };
}

reads!(policy {
    get_policy(GetPolicyRequest) -> GetPolicyResponse, "A policy, with its active pointer.";
    list_policies(ListPoliciesRequest) -> ListPoliciesResponse, "The policies of a namespace.";
    get_version(GetVersionRequest) -> GetVersionResponse, "One version.";
    list_versions(ListVersionsRequest) -> ListVersionsResponse, "The versions of a policy.";
    diff_versions(DiffVersionsRequest) -> DiffVersionsResponse, "What changed between two versions.";
    get_validation_report(GetValidationReportRequest) -> GetValidationReportResponse,
        "What the checks found the last time they ran on a version.";
    get_schedule(GetScheduleRequest) -> GetScheduleResponse, "A schedule.";
    list_schedules(ListSchedulesRequest) -> ListSchedulesResponse, "The schedules of a namespace.";
    list_events(ListEventsRequest) -> ListEventsResponse, "The log of a namespace.";
});

mutations!(policy {
    create_policy(CreatePolicyRequest) -> CreatePolicyResponse, "Makes a policy.";
    update_policy(UpdatePolicyRequest) -> UpdatePolicyResponse, "Changes the description or settings of a policy.";
    draft(DraftRequest) -> DraftResponse, "Writes the next version of a policy, as a draft.";
    abandon_draft(AbandonDraftRequest) -> AbandonDraftResponse, "Ends a draft or a staged version.";
    stage(StageRequest) -> StageResponse, "Runs every check and locks the content.";
    publish(PublishRequest) -> PublishResponse, "Signs a version. From then on it never changes.";
    publish_versions(PublishVersionsRequest) -> PublishVersionsResponse,
        "Publishes versions of a namespace, each or not: the answer says of each.";
    activate(ActivateRequest) -> ActivateResponse, "Moves pointers of a namespace, all or none.";
    rollback(RollbackRequest) -> RollbackResponse, "Puts an older version back in force, at a new revision.";
    deactivate(DeactivateRequest) -> DeactivateResponse, "Removes the active pointer of a policy.";
    create_schedule(CreateScheduleRequest) -> CreateScheduleResponse, "Makes a schedule, which activates later.";
    cancel_schedule(CancelScheduleRequest) -> CancelScheduleResponse, "Ends a schedule.";
    resume_schedule(ResumeScheduleRequest) -> ResumeScheduleResponse, "Lets a suspended schedule run again.";
    approve_version(ApproveVersionRequest) -> ApproveVersionResponse, "Approves the digest of a staged version.";
    reject_version(RejectVersionRequest) -> RejectVersionResponse, "Ends a draft or a staged version that shall not be published.";
});

reads!(sync {
    get_active(GetActiveRequest) -> GetActiveResponse,
        "The active version of one policy, now or as it was.";
    list_active(ListActiveRequest) -> ListActiveResponse,
        "A page of the active set, now or as it was.";
    report_status(ReportStatusRequest) -> ReportStatusResponse, "Tells that an activation was applied or rejected.";
    list_subscribers(ListSubscribersRequest) -> ListSubscribersResponse, "Who watches, and what each one runs.";
    get_run(GetRunRequest) -> GetRunResponse, "A recorded run.";
    list_runs(ListRunsRequest) -> ListRunsResponse, "A page of runs.";
});

mutations!(sync {
    record_run(RecordRunRequest) -> RecordRunResponse, "Records which versions a unit of work started with.";
    complete_run(CompleteRunRequest) -> CompleteRunResponse, "Says how a run ended.";
});

reads!(admin {
    get_namespace(GetNamespaceRequest) -> GetNamespaceResponse, "A namespace, with the head of its log.";
    get_guardrails(GetGuardrailsRequest) -> GetGuardrailsResponse, "The guardrails of a namespace, and those of the store.";
    list_namespaces(ListNamespacesRequest) -> ListNamespacesResponse, "The namespaces that the caller may read.";
    list_role_bindings(ListRoleBindingsRequest) -> ListRoleBindingsResponse, "Who has which role.";
    list_denials(ListDenialsRequest) -> ListDenialsResponse, "Who was refused what.";
    list_signing_keys(ListSigningKeysRequest) -> ListSigningKeysResponse,
        "The public keys that bundles, statements, checkpoints and seals are verified with.";
});

mutations!(admin {
    create_namespace(CreateNamespaceRequest) -> CreateNamespaceResponse, "Makes a namespace.";
    update_guardrails(UpdateGuardrailsRequest) -> UpdateGuardrailsResponse, "Replaces guardrails.";
    update_namespace(UpdateNamespaceRequest) -> UpdateNamespaceResponse, "Changes a namespace.";
    create_role_binding(CreateRoleBindingRequest) -> CreateRoleBindingResponse, "Grants a role.";
    delete_role_binding(DeleteRoleBindingRequest) -> DeleteRoleBindingResponse, "Takes a role away.";
    prepare_signing_key(PrepareSigningKeyRequest) -> PrepareSigningKeyResponse,
        "Makes a key public that will sign later.";
    activate_signing_key(ActivateSigningKeyRequest) -> ActivateSigningKeyResponse,
        "Makes a prepared key the one that signs.";
    revoke_signing_key(RevokeSigningKeyRequest) -> RevokeSigningKeyResponse, "Ends trust in a key.";
    revoke_token(RevokeTokenRequest) -> RevokeTokenResponse, "Ends tokens before their time.";
    thaw_namespace(ThawNamespaceRequest) -> ThawNamespaceResponse, "Lets a frozen namespace go on.";
    import_namespace(ImportNamespaceRequest) -> ImportNamespaceResponse,
        "Takes a part of another store's history in.";
});

impl RpcClient {
    /// Returns how far an activation has come. Takes as long as the request asks to wait.
    pub async fn get_convergence(
        &self,
        request: pb::GetConvergenceRequest,
    ) -> Result<pb::GetConvergenceResponse, ClientError> {
        let wait = request.wait.and_then(|wait| Duration::try_from(wait).ok()).unwrap_or_default();
        // A longer wait is refused; the transport takes no deadline of any length.
        let timeout = CALL_TIMEOUT + wait.min(Duration::from_secs(CONVERGENCE_WAIT_MAX_SECONDS));
        Ok(self.sync.clone().get_convergence(timed(request, timeout)).await?.into_inner())
    }

    /// Opens the stream of an active set, unverified. Use a [`crate::Watcher`] unless you verify yourself.
    pub async fn watch_active(
        &self,
        request: pb::WatchActiveRequest,
    ) -> Result<tonic::Streaming<pb::WatchActiveResponse>, ClientError> {
        // No deadline: a watch lives as long as both sides do.
        Ok(self.sync.clone().watch_active(request).await?.into_inner())
    }
}
