//! Tests of all decisions together.

pub(super) mod model;
