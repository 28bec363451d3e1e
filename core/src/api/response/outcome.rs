//! The answers of mutations: each outcome of the domain as the response of its RPC.

use super::key::signing_key;
use super::version::{approvals, report};
use super::{activation_summary, policy, role_binding, run, schedule, version};
use crate::api::pb;
use crate::domain::event::Position;
use crate::domain::key::KeyInfo;
use crate::domain::outcome::{
    Activated, Approved, BindingChanged, Deactivated, KeyRevoked, NamespaceChanged, NamespaceThawed, PolicyChanged,
    Published, RolledBack, ScheduleChanged, Staged, VersionChanged,
};
use crate::domain::run::Run;

/// Writes a cursor; none when nothing was written.
fn written(at: Option<Position>) -> Option<pb::Cursor> {
    at.map(Into::into)
}

macro_rules! answers {
    ($($from:ident => $response:ident { $field:ident: $convert:expr },)*) => {$(
        impl From<$from> for pb::$response {
            fn from(done: $from) -> Self {
                let cursor = written(done.cursor);
                let convert: fn($from) -> _ = $convert;
                Self { $field: Some(convert(done)), cursor }
            }
        }
    )*};
}

answers! {
    NamespaceChanged => CreateNamespaceResponse { namespace: |done| super::namespace(done.namespace) },
    NamespaceChanged => UpdateNamespaceResponse { namespace: |done| super::namespace(done.namespace) },
    BindingChanged => CreateRoleBindingResponse { role_binding: |done| role_binding(done.binding) },
    PolicyChanged => CreatePolicyResponse { policy: |done| policy(done.policy) },
    VersionChanged => DraftResponse { version: |done| version(done.version, done.active) },
    VersionChanged => AbandonDraftResponse { version: |done| version(done.version, false) },
    VersionChanged => RejectVersionResponse { version: |done| version(done.version, false) },
    Activated => ActivateResponse { activation: activation_summary },
    ScheduleChanged => CreateScheduleResponse { schedule: |done| schedule(done.schedule) },
    ScheduleChanged => CancelScheduleResponse { schedule: |done| schedule(done.schedule) },
    ScheduleChanged => ResumeScheduleResponse { schedule: |done| schedule(done.schedule) },
    Approved => ApproveVersionResponse {
        version: |done| pb::Version { approvals: approvals(done.approvals), ..version(done.version, false) }
    },
}

macro_rules! run_answers {
    ($($response:ident,)*) => {$(
        impl From<Run> for pb::$response {
            fn from(from: Run) -> Self {
                Self { run: Some(run(from)) }
            }
        }
    )*};
}

run_answers! {
    RecordRunResponse,
    CompleteRunResponse,
    GetRunResponse,
}

impl From<BindingChanged> for pb::DeleteRoleBindingResponse {
    fn from(done: BindingChanged) -> Self {
        Self { cursor: written(done.cursor) }
    }
}

impl From<NamespaceThawed> for pb::ThawNamespaceResponse {
    fn from(done: NamespaceThawed) -> Self {
        Self {
            cursor: written(done.cursor),
            removed_schedules: done.removed_schedules,
            removed_schedules_not_listed: i32::try_from(done.removed_schedules_not_listed).unwrap_or(i32::MAX),
        }
    }
}

impl From<Staged> for pb::StageResponse {
    fn from(done: Staged) -> Self {
        Self {
            report: Some(report(done.version.name(), done.report)),
            version: Some(version(done.version, false)),
            cursor: written(done.cursor),
        }
    }
}

impl From<Published> for pb::PublishResponse {
    fn from(done: Published) -> Self {
        let active = done.activation.as_ref().is_some_and(|activation| activation.cursor.is_some());
        Self {
            version: Some(version(done.version, active)),
            cursor: written(done.cursor),
            activation: done.activation.map(activation_summary),
        }
    }
}

impl From<RolledBack> for pb::RollbackResponse {
    fn from(done: RolledBack) -> Self {
        let active = done.activation.cursor.is_some();
        Self {
            report: done.report.map(|found| report(done.version.name(), found)),
            version: Some(version(done.version, active)),
            activation: Some(activation_summary(done.activation)),
            cursor: written(done.cursor),
            warnings: done.warnings,
        }
    }
}

impl From<Deactivated> for pb::DeactivateResponse {
    fn from(done: Deactivated) -> Self {
        Self {
            policy: Some(policy(done.policy)),
            activation: Some(activation_summary(done.activation)),
            cursor: written(done.cursor),
        }
    }
}

/// Returns the answer of RevokeToken.
#[must_use]
pub fn token_revoked(cursor: Option<Position>) -> pb::RevokeTokenResponse {
    pb::RevokeTokenResponse { cursor: written(cursor) }
}

/// Returns the answer of PrepareSigningKey.
#[must_use]
pub fn key_prepared(key: KeyInfo, cursor: Option<Position>) -> pb::PrepareSigningKeyResponse {
    pb::PrepareSigningKeyResponse { key: Some(signing_key(key)), cursor: written(cursor) }
}

/// Returns the answer of ActivateSigningKey.
#[must_use]
pub fn key_activated(key: KeyInfo, cursor: Option<Position>) -> pb::ActivateSigningKeyResponse {
    pb::ActivateSigningKeyResponse { key: Some(signing_key(key)), cursor: written(cursor) }
}

/// Returns the answer of RevokeSigningKey. `key` is the key that was revoked.
#[must_use]
pub fn key_revoked(key: KeyInfo, done: KeyRevoked) -> pb::RevokeSigningKeyResponse {
    let KeyRevoked { cursor, versions, version_count, remaining_count, .. } = done;
    let key = Some(signing_key(key));
    pb::RevokeSigningKeyResponse { key, versions, cursor: written(cursor), version_count, remaining_count }
}
