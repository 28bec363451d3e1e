//! The context of a call, passed to every use case.

use crate::domain::access::{Grants, Permission};
use crate::domain::command::RequestOptions;
use crate::domain::principal::{Credential, LOCAL_ISSUER_NAME, Principal, SYSTEM_ISSUER_NAME};
use crate::domain::time::Micros;
use crate::domain::{Error, Reason, Result};

/// By what a caller was authorized. It is looked at again under the lock of a write.
#[derive(Debug, Clone)]
pub struct AuthorizedBy {
    /// The credential, which may be revoked since.
    pub credential: Credential,
    /// The generation of the store before its roles were read ([`crate::store::Store::generation`]).
    pub generation: u64,
}

/// The context of a call.
#[derive(Debug, Clone)]
pub struct Context {
    /// The caller.
    pub principal: Principal,
    /// By what the caller was authorized; none for the server itself.
    pub authorized_by: Option<AuthorizedBy>,
    /// The caller's grants in the namespace of the call.
    pub grants: Grants,
    /// Options of the call as a mutation.
    pub options: RequestOptions,
    /// Time at which the call was received.
    pub now: Micros,
}

impl Context {
    /// Returns the context of an action of the server itself. It is not authorized, so it has no grants.
    #[must_use]
    pub fn of_server(now: Micros) -> Self {
        let principal = Principal::new(LOCAL_ISSUER_NAME, "server");
        Self { principal, authorized_by: None, grants: Grants::default(), options: RequestOptions::default(), now }
    }

    /// Returns the context of a run of a schedule, whose creator was authorized when it was made.
    #[must_use]
    pub fn of_schedule(request_id: String, now: Micros) -> Self {
        let principal = Principal::new(SYSTEM_ISSUER_NAME, "schedule");
        let options = RequestOptions { request_id, validate_only: false };
        Self { principal, authorized_by: None, grants: Grants::default(), options, now }
    }

    /// Returns the caller's name as in events and versions.
    #[must_use]
    pub fn actor(&self) -> String {
        self.principal.actor()
    }

    /// Refuses a caller who lacks a permission that the call needs beyond that of its RPC.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`.
    pub fn require(&self, permission: Permission) -> Result<()> {
        if self.grants.permit(permission) { Ok(()) } else { Err(denied(&self.principal, permission)) }
    }
}

/// Returns the refusal of a caller who lacks a permission.
pub fn denied(principal: &Principal, permission: Permission) -> Error {
    let (actor, permission) = (principal.actor(), permission.as_str());
    Error::new(Reason::PermissionDenied, format!("{actor} lacks the permission {permission} here"))
        .with("permission", permission)
        .with("actor", actor)
}
