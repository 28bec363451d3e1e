//! The actions, one file each: the request that a form stands for, and where the browser goes once it is done.

pub mod abandon;
pub mod activate;
pub mod approve;
pub mod deactivate;
pub mod publish;
pub mod reject;
pub mod roll_back;
pub mod stage;
