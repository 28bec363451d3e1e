//! What every use case is told of its call.

use crate::domain::command::Delivery;
use crate::domain::principal::Principal;
use crate::domain::time::Micros;

/// The call.
#[derive(Debug, Clone)]
pub struct Context {
    /// Who asks.
    pub principal: Principal,
    /// How it may change things.
    pub delivery: Delivery,
    /// When it came in.
    pub now: Micros,
}

impl Context {
    /// Who asks, as events and versions name them.
    #[must_use]
    pub fn actor(&self) -> String {
        self.principal.actor()
    }
}
