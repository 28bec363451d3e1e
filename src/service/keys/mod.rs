//! The signing keys, one file per verb.

mod activate_key;
mod active_signed_by;
mod begin_keys;
mod change_key;
mod list_keys;
mod prepare_key;
mod resign;
mod resign_proof;
mod revoke_key;
mod use_cases;

pub use active_signed_by::ActiveSignedBy;
pub use use_cases::SigningKeys;
