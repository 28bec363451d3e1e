//! WatchActive.

use std::sync::Arc;

use super::use_cases::Sync;
use crate::domain::Result;
use crate::domain::command::StartWatch;
use crate::watch::{SentKeyStatements, Subscription};

impl Sync {
    /// Opens the watch of a namespace. With `keys` it sends key statements too, shared by all watches of one stream.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, `RESUME_POINT_GONE`, `DATABASE_UNAVAILABLE`, `DATA_LOSS`.
    pub async fn watch(&self, request: &StartWatch, keys: Option<Arc<SentKeyStatements>>) -> Result<Subscription> {
        self.log.hub.subscribe(request, keys).await
    }
}
