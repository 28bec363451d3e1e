//! What every use case knows of its call.

use crate::domain::access::{Grants, Permission};
use crate::domain::command::RequestOptions;
use crate::domain::principal::{LOCAL_ISSUER_NAME, Principal};
use crate::domain::time::Micros;
use crate::domain::{Error, Reason, Result};

/// The context of a call.
#[derive(Debug, Clone)]
pub struct Context {
    /// The caller.
    pub principal: Principal,
    /// What the caller may do in the namespace of the call.
    pub grants: Grants,
    /// How the call may change things.
    pub options: RequestOptions,
    /// When the call came in.
    pub now: Micros,
}

impl Context {
    /// Returns the context of what the server does by itself. Nobody authorizes it, so it has no grants.
    #[must_use]
    pub fn of_server(now: Micros) -> Self {
        let principal = Principal::new(LOCAL_ISSUER_NAME, "server");
        Self { principal, grants: Grants::default(), options: RequestOptions::default(), now }
    }

    /// Returns the caller, as events and versions name them.
    #[must_use]
    pub fn actor(&self) -> String {
        self.principal.actor()
    }

    /// Refuses a caller who lacks a permission: for what a call needs beyond the permission of its RPC.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`.
    pub fn require(&self, permission: Permission) -> Result<()> {
        if self.grants.permit(permission) { Ok(()) } else { Err(denied(&self.principal, permission)) }
    }
}

/// Makes the refusal of a caller who lacks a permission.
pub fn denied(principal: &Principal, permission: Permission) -> Error {
    let (actor, permission) = (principal.actor(), permission.as_str());
    Error::new(Reason::PermissionDenied, format!("{actor} lacks the permission {permission} here"))
        .with("permission", permission)
        .with("actor", actor)
}
