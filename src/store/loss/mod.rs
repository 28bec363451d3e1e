//! Suspected data loss: high-water marks, epochs, and frozen namespaces.

pub mod epochs;
pub mod freeze;
pub mod frozen;
pub mod high_water_file;
pub mod high_water_lines;
pub mod high_water_marks;
pub mod loss_checks;
pub mod seen_heads;
pub mod suspected_loss;
pub mod unverified_restore;
