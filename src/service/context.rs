//! What every use case is told of its call.

use crate::domain::access::{Grants, Permission};
use crate::domain::command::RequestOptions;
use crate::domain::principal::{LOCAL_ISSUER_NAME, Principal};
use crate::domain::time::Micros;
use crate::domain::{Error, Reason, Result};

/// The call.
#[derive(Debug, Clone)]
pub struct Context {
    /// Who asks.
    pub principal: Principal,
    /// What they may do where the call is about.
    pub grants: Grants,
    /// How it may change things.
    pub options: RequestOptions,
    /// When it came in.
    pub now: Micros,
}

impl Context {
    /// What the server does by itself. Nobody authorizes it, so it has no grants.
    #[must_use]
    pub(super) fn of_server(now: Micros) -> Self {
        let principal = Principal::new(LOCAL_ISSUER_NAME, "server");
        Self { principal, grants: Grants::default(), options: RequestOptions::default(), now }
    }

    /// Who asks, as events and versions name them.
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

/// The refusal of a caller who lacks a permission.
pub(super) fn denied(principal: &Principal, permission: Permission) -> Error {
    let (actor, permission) = (principal.actor(), permission.as_str());
    Error::new(Reason::PermissionDenied, format!("{actor} lacks the permission {permission} here"))
        .with("permission", permission)
        .with("actor", actor)
}
