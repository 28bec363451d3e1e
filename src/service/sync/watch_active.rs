//! WatchActive.

use super::use_cases::Sync;
use crate::domain::Result;
use crate::domain::command::StartWatch;
use crate::watch::{StreamContext, Subscription};

impl Sync {
    /// Opens the watch of a namespace. With `keys` in `stream` it sends key statements too.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, `RESUME_POINT_GONE`, `DATABASE_UNAVAILABLE`, `DATA_LOSS`.
    pub async fn watch(&self, request: &StartWatch, stream: StreamContext) -> Result<Subscription> {
        self.log.hub.subscribe(request, stream).await
    }
}
