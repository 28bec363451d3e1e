//! Who may do what: roles, permissions, and what each RPC asks for and is metered as.
//!
//! The table is total: `Rpc` names every RPC of the product, `required_permission` has no wildcard, and a call that is none of them is
//! refused before anything looks at it. What nobody granted is denied.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::quota::Rate;

/// What a member is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "each is the proto's role of the same name")]
pub enum Role {
    Viewer,
    Subscriber,
    Author,
    Approver,
    Publisher,
    Activator,
    Admin,
    GuardrailAdmin,
}

/// What an RPC asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Permission {
    /// Read everything but secrets.
    Read,
    /// GetActive: what viewers read and subscribers run.
    GetActive,
    /// Watch, report, record runs.
    Sync,
    /// Make policies; write, stage and abandon drafts.
    Author,
    /// Approve and reject.
    Approve,
    /// Publish.
    Publish,
    /// Activate, roll back, deactivate.
    Activate,
    /// Change guardrails.
    Guardrails,
    /// Settings, bindings, keys, and what skips a check.
    Administer,
}

/// Where the permission has to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequiredPermission {
    /// Any caller whose credential is good. What it answers is filtered, or public.
    Authenticated,
    /// The caller needs the permission in the namespace that the request names.
    InNamespace(Permission),
    /// The caller needs the permission in all namespaces.
    StoreWide(Permission),
}

impl Role {
    /// Every role.
    pub const ALL: &[Role] = &[
        Role::Viewer,
        Role::Subscriber,
        Role::Author,
        Role::Approver,
        Role::Publisher,
        Role::Activator,
        Role::Admin,
        Role::GuardrailAdmin,
    ];

    /// Returns whether the role includes the permission (docs/security.md).
    #[must_use]
    pub fn permits(self, permission: Permission) -> bool {
        use Permission as P;
        match self {
            Self::Viewer => matches!(permission, P::Read | P::GetActive),
            Self::Subscriber => matches!(permission, P::GetActive | P::Sync),
            Self::Author => matches!(permission, P::Read | P::GetActive | P::Author),
            Self::Approver => matches!(permission, P::Read | P::GetActive | P::Approve),
            Self::Publisher => matches!(permission, P::Read | P::GetActive | P::Publish),
            Self::Activator => matches!(permission, P::Read | P::GetActive | P::Activate),
            Self::GuardrailAdmin => matches!(permission, P::Read | P::GetActive | P::Guardrails),
            Self::Admin => true,
        }
    }

    /// Returns the word kept in the database and in events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "VIEWER",
            Self::Subscriber => "SUBSCRIBER",
            Self::Author => "AUTHOR",
            Self::Approver => "APPROVER",
            Self::Publisher => "PUBLISHER",
            Self::Activator => "ACTIVATOR",
            Self::Admin => "ADMIN",
            Self::GuardrailAdmin => "GUARDRAIL_ADMIN",
        }
    }
}

impl Permission {
    /// Returns its name in the metadata of an error.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::GetActive => "get-active",
            Self::Sync => "sync",
            Self::Author => "author",
            Self::Approve => "approve",
            Self::Publish => "publish",
            Self::Activate => "activate",
            Self::Guardrails => "guardrails",
            Self::Administer => "administer",
        }
    }
}

/// The roles a caller has where a call is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    roles: BTreeSet<Role>,
}

impl Grants {
    /// Returns whether one of the roles includes the permission.
    #[must_use]
    pub fn permit(&self, permission: Permission) -> bool {
        self.roles.iter().any(|role| role.permits(permission))
    }

    /// Returns the roles.
    pub fn roles(&self) -> impl Iterator<Item = Role> + '_ {
        self.roles.iter().copied()
    }

    /// Returns whether there is no role at all. Such a caller does not even learn whether a resource exists.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.roles.is_empty()
    }
}

impl FromIterator<Role> for Grants {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        Self { roles: roles.into_iter().collect() }
    }
}

/// Writes the list of RPCs once: the enum, all of them, their paths, what they need and what they are metered as.
macro_rules! rpcs {
    ($($service:literal { $($rpc:ident => $needs:expr, $rate:expr;)* })*) => {
        /// Every RPC of `policyhub.v1`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "each is the proto's RPC of the same name")]
        pub enum Rpc { $($($rpc,)*)* }

        impl Rpc {
            /// Every RPC.
            pub const ALL: &[Rpc] = &[$($(Rpc::$rpc,)*)*];

            /// Returns its path on the wire: `/policyhub.v1.PolicyService/Draft`.
            #[must_use]
            pub fn path(self) -> &'static str {
                match self { $($(Self::$rpc => concat!("/policyhub.v1.", $service, "/", stringify!($rpc)),)*)* }
            }

            /// Returns the permission that a caller must have.
            #[must_use]
            pub fn required_permission(self) -> RequiredPermission {
                match self { $($(Self::$rpc => $needs,)*)* }
            }

            /// Returns what a call counts as.
            #[must_use]
            pub fn rate(self) -> Rate {
                match self { $($(Self::$rpc => $rate,)*)* }
            }
        }
    };
}

rpcs! {
    "PolicyService" {
        CreatePolicy => RequiredPermission::InNamespace(Permission::Author), Rate::Write;
        GetPolicy => RequiredPermission::InNamespace(Permission::Read), Rate::Read;
        ListPolicies => RequiredPermission::InNamespace(Permission::Read), Rate::Read;
        UpdatePolicy => RequiredPermission::InNamespace(Permission::Administer), Rate::Write;
        Draft => RequiredPermission::InNamespace(Permission::Author), Rate::Write;
        AbandonDraft => RequiredPermission::InNamespace(Permission::Author), Rate::Write;
        Stage => RequiredPermission::InNamespace(Permission::Author), Rate::Write;
        // With `activate`, Activate too; with `break_glass`, Administer.
        Publish => RequiredPermission::InNamespace(Permission::Publish), Rate::Write;
        // Each version beyond the first is metered as a call of its own.
        PublishVersions => RequiredPermission::InNamespace(Permission::Publish), Rate::Write;
        Activate => RequiredPermission::InNamespace(Permission::Activate), Rate::Write;
        // With `skip_validation`, Administer too; COPY_FORWARD publishes, so Publish too.
        Rollback => RequiredPermission::InNamespace(Permission::Activate), Rate::Write;
        Deactivate => RequiredPermission::InNamespace(Permission::Activate), Rate::Write;
        GetVersion => RequiredPermission::InNamespace(Permission::Read), Rate::Read;
        ListVersions => RequiredPermission::InNamespace(Permission::Read), Rate::Read;
        DiffVersions => RequiredPermission::InNamespace(Permission::Read), Rate::Read;
        GetValidationReport => RequiredPermission::InNamespace(Permission::Read), Rate::Read;
        ApproveVersion => RequiredPermission::InNamespace(Permission::Approve), Rate::Write;
        RejectVersion => RequiredPermission::InNamespace(Permission::Approve), Rate::Write;
        // A schedule activates in the name of whoever made it.
        CreateSchedule => RequiredPermission::InNamespace(Permission::Activate), Rate::Write;
        GetSchedule => RequiredPermission::InNamespace(Permission::Read), Rate::Read;
        ListSchedules => RequiredPermission::InNamespace(Permission::Read), Rate::Read;
        CancelSchedule => RequiredPermission::InNamespace(Permission::Activate), Rate::Write;
        ResumeSchedule => RequiredPermission::InNamespace(Permission::Activate), Rate::Write;
        ListEvents => RequiredPermission::InNamespace(Permission::Read), Rate::Read;
    }
    "SyncService" {
        GetActive => RequiredPermission::InNamespace(Permission::GetActive), Rate::Read;
        ListActive => RequiredPermission::InNamespace(Permission::GetActive), Rate::Read;
        WatchActive => RequiredPermission::InNamespace(Permission::Sync), Rate::Read;
        ReportStatus => RequiredPermission::InNamespace(Permission::Sync), Rate::Report;
        ListSubscribers => RequiredPermission::InNamespace(Permission::Read), Rate::Read;
        GetConvergence => RequiredPermission::InNamespace(Permission::Read), Rate::Read;
        RecordRun => RequiredPermission::InNamespace(Permission::Sync), Rate::Write;
        CompleteRun => RequiredPermission::InNamespace(Permission::Sync), Rate::Write;
        GetRun => RequiredPermission::InNamespace(Permission::Read), Rate::Read;
        ListRuns => RequiredPermission::InNamespace(Permission::Read), Rate::Read;
    }
    "AdminService" {
        CreateNamespace => RequiredPermission::StoreWide(Permission::Administer), Rate::Unmetered;
        GetNamespace => RequiredPermission::InNamespace(Permission::Read), Rate::Read;
        // Those that the caller may read.
        ListNamespaces => RequiredPermission::Authenticated, Rate::Read;
        UpdateNamespace => RequiredPermission::StoreWide(Permission::Administer), Rate::Unmetered;
        GetGuardrails => RequiredPermission::InNamespace(Permission::Read), Rate::Read;
        UpdateGuardrails => RequiredPermission::InNamespace(Permission::Guardrails), Rate::Write;
        CreateRoleBinding => RequiredPermission::InNamespace(Permission::Administer), Rate::Write;
        ListRoleBindings => RequiredPermission::InNamespace(Permission::Read), Rate::Read;
        DeleteRoleBinding => RequiredPermission::InNamespace(Permission::Administer), Rate::Write;
        // Public keys: also at /.well-known/jwks.json, without a token.
        ListSigningKeys => RequiredPermission::Authenticated, Rate::Unmetered;
        PrepareSigningKey => RequiredPermission::StoreWide(Permission::Administer), Rate::Unmetered;
        ActivateSigningKey => RequiredPermission::StoreWide(Permission::Administer), Rate::Unmetered;
        RevokeSigningKey => RequiredPermission::StoreWide(Permission::Administer), Rate::Unmetered;
        RevokeToken => RequiredPermission::StoreWide(Permission::Administer), Rate::Unmetered;
        // Readers may not see who was refused.
        ListDenials => RequiredPermission::InNamespace(Permission::Administer), Rate::Read;
        VerifyLog => RequiredPermission::InNamespace(Permission::Read), Rate::Read;
        ThawNamespace => RequiredPermission::InNamespace(Permission::Administer), Rate::Write;
        ExportRows => RequiredPermission::InNamespace(Permission::Read), Rate::Read;
        // Brings published versions and their settings past all checks.
        ImportNamespace => RequiredPermission::InNamespace(Permission::Administer), Rate::Write;
    }
}

impl Rpc {
    /// Returns the RPC of a path.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|rpc| rpc.path() == path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_those_of_the_design() {
        let may = |role: Role| -> Vec<&str> {
            let all = [
                Permission::Read,
                Permission::GetActive,
                Permission::Sync,
                Permission::Author,
                Permission::Approve,
                Permission::Publish,
                Permission::Activate,
                Permission::Administer,
            ];
            all.into_iter().filter(|permission| role.permits(*permission)).map(Permission::as_str).collect()
        };
        assert_eq!(may(Role::Viewer), ["read", "get-active"]);
        assert_eq!(may(Role::Subscriber), ["get-active", "sync"]);
        assert_eq!(may(Role::Author), ["read", "get-active", "author"]);
        assert_eq!(may(Role::Approver), ["read", "get-active", "approve"]);
        assert_eq!(may(Role::Publisher), ["read", "get-active", "publish"]);
        assert_eq!(may(Role::Activator), ["read", "get-active", "activate"]);
        assert_eq!(may(Role::Admin).len(), 8);
    }

    #[test]
    fn what_ends_an_abuse_is_not_metered_and_what_touches_a_tenant_is() {
        for rpc in Rpc::ALL {
            let is_metered = rpc.rate() != Rate::Unmetered;
            let is_public = *rpc == Rpc::ListSigningKeys;
            let is_operators = matches!(rpc.required_permission(), RequiredPermission::StoreWide(_));
            assert_eq!(is_metered, !is_public && !is_operators, "{rpc:?}");
        }
        assert_eq!(Rpc::ReportStatus.rate(), Rate::Report);
    }

    #[test]
    fn a_path_names_its_rpc_and_nothing_else_does() {
        for rpc in Rpc::ALL {
            assert_eq!(Rpc::of_path(rpc.path()), Some(*rpc));
        }
        for other in ["", "/", "/policyhub.v1.PolicyService/draft", "/policyhub.v1.PolicyService/Draft/", "Draft"] {
            assert_eq!(Rpc::of_path(other), None, "{other}");
        }
    }
}
