//! Activate, Rollback and Deactivate: what is in force.

use tonic::Code;

use super::{Prepared, can_be_validated, every_change};
use crate::error::ClientError;
use crate::model::ActivationResult;
use crate::namespace::NamespaceClient;
use policyhub_core::api::pb;
use policyhub_core::api::pb::activate_target::To;
use policyhub_core::api::pb::rollback_request;

impl NamespaceClient {
    /// Begins to move policies, all or none.
    pub fn activate(&self, moves: impl IntoIterator<Item = Move>, reason: &str) -> ActivateCall {
        let request = |request_id| pb::ActivateRequest {
            parent: self.id().name(),
            targets: moves.into_iter().map(|each| each.0).collect(),
            reason: reason.to_owned(),
            request_id,
            ..Default::default()
        };
        ActivateCall(Prepared::new(self, |request_id| Ok(request(request_id))))
    }

    /// Begins to put an older version back in force.
    pub fn roll_back(&self, policy: &str, reason: &str) -> RollbackCall {
        let reason = reason.to_owned();
        let request = |name, request_id| pb::RollbackRequest { name, reason, request_id, ..Default::default() };
        RollbackCall(Prepared::of_policy(self, policy, request))
    }

    /// Begins to take a policy out of force.
    pub fn deactivate(&self, policy: &str, reason: &str) -> DeactivateCall {
        let reason = reason.to_owned();
        let request = |name, request_id| pb::DeactivateRequest { name, reason, request_id, ..Default::default() };
        DeactivateCall(Prepared::of_policy(self, policy, request))
    }
}

/// Says where an activation moves one policy.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Move(pb::ActivateTarget);

/// Policies to be moved, all or none.
#[derive(Debug, Clone)]
#[must_use = "nothing is activated before it is sent"]
pub struct ActivateCall(Prepared<pb::ActivateRequest>);

/// A policy to be moved back.
#[derive(Debug, Clone)]
#[must_use = "nothing is rolled back before it is sent"]
pub struct RollbackCall(Prepared<pb::RollbackRequest>);

/// A policy of which no version shall be in force.
#[derive(Debug, Clone)]
#[must_use = "nothing is deactivated before it is sent"]
pub struct DeactivateCall(Prepared<pb::DeactivateRequest>);

every_change!(ActivateCall);
can_be_validated!(ActivateCall);
every_change!(RollbackCall);
can_be_validated!(RollbackCall);
every_change!(DeactivateCall);
can_be_validated!(DeactivateCall);

impl Move {
    fn new(policy: impl Into<String>, to: To) -> Self {
        Self(pb::ActivateTarget { policy: policy.into(), to: Some(to), expected_active: None })
    }

    /// Moves the policy to the version of this number.
    pub fn to(policy: impl Into<String>, number: i64) -> Self {
        Self::new(policy, To::Version(number))
    }

    /// Moves the policy to the version of this label.
    pub fn to_label(policy: impl Into<String>, label: impl Into<String>) -> Self {
        Self::new(policy, To::Label(label.into()))
    }

    /// Takes the policy out of force.
    pub fn to_none(policy: impl Into<String>) -> Self {
        Self::new(policy, To::None(()))
    }

    /// Refuses the move unless exactly this version is in force; 0: unless none is.
    pub fn expected_active(mut self, number: i64) -> Self {
        self.0.expected_active = Some(number);
        self
    }
}

impl ActivateCall {
    /// Puts the versions in force, all or none, at one revision.
    ///
    /// # Errors
    /// The error of the call: ABORTED with EXPECTED_ACTIVE_MISMATCH names what is in force, and nothing was changed.
    pub async fn send(&self) -> Result<ActivationResult, ClientError> {
        let call = self.0.send("Activate", |mut rpc, request| async move { rpc.policy.activate(request).await });
        let answer = call.await?;
        ActivationResult::read(answer.activation, answer.cursor)
    }
}

impl RollbackCall {
    /// Takes the version of this number, in place of the one that was in force before.
    pub fn to(self, number: i64) -> Self {
        Self(self.0.with(|request| request.to = Some(rollback_request::To::Version(number))))
    }

    /// Takes the version of this label, in place of the one that was in force before.
    pub fn to_label(self, label: impl Into<String>) -> Self {
        Self(self.0.with(|request| request.to = Some(rollback_request::To::Label(label.into()))))
    }

    /// Refuses the change unless exactly this version is in force.
    pub fn expected_active(self, number: i64) -> Self {
        Self(self.0.with(|request| request.expected_active = Some(number)))
    }

    /// Puts an older version back in force, at a new revision.
    ///
    /// # Errors
    /// The error of the call.
    pub async fn send(&self) -> Result<ActivationResult, ClientError> {
        let call = self.0.send("Rollback", |mut rpc, request| async move { rpc.policy.rollback(request).await });
        let answer = call.await?;
        let warnings = answer.warnings;
        Ok(ActivationResult { warnings, ..ActivationResult::read(answer.activation, answer.cursor)? })
    }
}

impl DeactivateCall {
    /// Refuses the change unless exactly this version is in force.
    pub fn expected_active(self, number: i64) -> Self {
        Self(self.0.with(|request| request.expected_active = Some(number)))
    }

    /// Takes the policy out of force.
    ///
    /// # Errors
    /// The error of the call.
    pub async fn send(&self) -> Result<ActivationResult, ClientError> {
        let call = self.0.send("Deactivate", |mut rpc, request| async move { rpc.policy.deactivate(request).await });
        let answer = call.await?;
        ActivationResult::read(answer.activation, answer.cursor)
    }
}
