//! When live streams end, besides their age.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// When live streams end.
#[derive(Debug, Clone)]
pub struct LiveSettings {
    /// Ends every stream when the server begins to drain.
    pub draining: CancellationToken,
    /// The time between two checks of session and roles.
    pub recheck_interval: Duration,
}
