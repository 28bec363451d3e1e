//! WatchActive.

use super::Service;
use crate::domain::Result;
use crate::domain::command::Watch;
use crate::watch::Subscription;

impl Service {
    /// Opens a watch.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, `RESUME_POINT_GONE`, `DATABASE_UNAVAILABLE`, `DATA_LOSS`.
    pub async fn watch(&self, request: &Watch) -> Result<Subscription> {
        self.hub.subscribe(request).await
    }
}
