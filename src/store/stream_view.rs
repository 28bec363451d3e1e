//! Views that a stream reads: for minutes, and with pauses in which its reader takes nothing.

use sea_orm::ConnectionTrait as _;

use super::connect::Store;
use super::error::failed;
use super::postgres_session::STREAM_IDLE_TIMEOUT_MILLIS;
use super::transaction::ReadTx;
use crate::domain::Result;

impl Store {
    /// Opens a consistent view for a stream, whose reader may take nothing for a while between two statements.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub async fn read_for_stream(&self) -> Result<ReadTx> {
        let view = self.read().await?;
        if self.is_postgres() {
            // Of this transaction alone. It is no query, so the view begins after it.
            let sql = format!("SET LOCAL idle_in_transaction_session_timeout = {STREAM_IDLE_TIMEOUT_MILLIS}");
            view.tx.execute_unprepared(&sql).await.map_err(failed)?;
        }
        Ok(view)
    }
}
