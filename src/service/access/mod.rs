//! Access control and quotas, one file per verb.

mod admission_cache;
mod admit;
mod authorize;
mod binding_change;
mod bootstrap;
mod create_namespace;
mod create_role_binding;
mod delete_role_binding;
mod denial_recorder;
mod list_denials;
mod list_namespaces;
mod list_role_bindings;
mod namespace_change;
mod quotas;
mod revoke_token;
mod update_namespace;
mod use_cases;

pub use bootstrap::FIRST_ADMIN;
pub use denial_recorder::DenialRecorder;
pub use use_cases::Access;
