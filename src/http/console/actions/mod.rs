//! The actions, one file each: the request that a form stands for, and where the browser goes once it is done.

pub mod abandon;
pub mod activate;
pub mod activate_key;
pub mod approve;
pub mod cancel_schedule;
pub mod create_schedule;
pub mod deactivate;
pub mod delete_guardrail;
pub mod draft;
pub mod grant;
mod guardrail_change;
pub mod prepare_key;
pub mod publish;
pub mod reject;
pub mod resume_schedule;
pub mod revoke;
pub mod revoke_key;
pub mod roll_back;
pub mod set_guardrail;
pub mod stage;
