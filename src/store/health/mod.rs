//! Health: whether the database answers, accepts writes, and keeps what it confirms.

pub mod disk_checks;
pub mod durability;
pub mod error_codes;
pub mod file_checks;
pub mod file_probe;
pub mod probe;
pub mod rights;
pub mod state;
pub mod write_blocker;
