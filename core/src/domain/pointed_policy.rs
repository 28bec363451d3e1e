//! A policy together with what put its active version in force.

use serde::{Deserialize, Serialize};

use super::event::Position;
use super::policy::Policy;

/// A policy, with the event that moved its pointer last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointedPolicy {
    /// The policy.
    pub policy: Policy,
    /// The event; none: the pointer never moved.
    pub activation: Option<Position>,
}
