//! LISTEN and NOTIFY: replicas wake each other, and say which logs have moved. This is only a wake-up; polling alone is sufficient.
//!
//! A notification is sent after the commit, because inside it would hold a global lock across the flush. After a reconnect, listeners wake
//! once, because notifications may have been lost.

use std::time::Duration;

use sea_orm::sqlx::postgres::{PgListener, PgPoolOptions};
use sea_orm::sqlx::{self, PgPool};
use sea_orm::{ConnectionTrait as _, Statement};
use tokio::time::{sleep, timeout};

use crate::store::connection::database::postgres_options;
use crate::store::connection::notification::{Wake, payload, read_payload};
use crate::store::connection::postgres_session::{SessionTimeouts, prepare};
use crate::store::connection::postgres_tls::warn_unverified;
use crate::store::error::StoreError;
use crate::store::handle::Store;

/// Name of the channel. PostgreSQL separates channels by database, and a database holds one store.
const CHANNEL: &str = "policyhub_commits";
/// Time without a notification after which the connection is tested: a network that drops packets silently gives no error, and sqlx sets
/// no TCP keepalive on our side. Too high: meanwhile replicas notice each other's commits by polling alone.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Timeout of connecting, and of each answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause between two attempts to connect: doubled from the first to the last.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Pause after a notification that could not be sent. Commits continue meanwhile, and polling finds them.
const SEND_RETRY: Duration = Duration::from_secs(1);

impl Store {
    /// Notifies the other replicas of commits until it is dropped: one notification at a time, however many commits were made meanwhile. A
    /// listener that passes the same `replica` ignores it.
    pub async fn announce(&self, replica: &str) {
        loop {
            self.inner.unannounced.added().await;
            let moved = self.inner.unannounced.take();
            let Ok(reader) = self.reader() else { continue };
            let values = [CHANNEL.into(), payload(replica, &moved).into()];
            let notify =
                Statement::from_sql_and_values(reader.get_database_backend(), "SELECT pg_notify($1, $2)", values);
            if let Err(error) = reader.query_one_raw(notify).await {
                tracing::warn!(%error, "failed to notify the other replicas; they will see by their poll");
                sleep(SEND_RETRY).await;
            }
        }
    }

    /// Listens until it is dropped, on its own connection to `url`: a pooler in transaction mode would lose the LISTEN.
    pub async fn listen(&self, url: &str, replica: &str, mut wake: impl FnMut(Wake)) {
        let mut pause = RETRY_MIN;
        if let Ok(options) = postgres_options(url) {
            warn_unverified(&options, "listen_url");
        }
        loop {
            match connect(url).await {
                Ok(mut listener) => {
                    pause = RETRY_MIN;
                    wake(Wake::Connected);
                    if let Err(error) = hear(&mut listener, replica, &mut wake).await {
                        tracing::warn!(%error, "lost the connection that listens; connecting again");
                    }
                }
                Err(error) => tracing::warn!(%error, "failed to listen; the poll goes on alone"),
            }
            sleep(pause).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
    }
}

async fn connect(url: &str) -> Result<PgListener, StoreError> {
    let options = postgres_options(url)?;
    let failed =
        |error| StoreError::Connect(sea_orm::DbErr::Conn(sea_orm::RuntimeErr::SqlxError(std::sync::Arc::new(error))));
    let listen = async {
        let pool = PgPoolOptions::new().max_connections(1).after_connect(|connection, _| {
            Box::pin(async move { prepare(connection, SessionTimeouts::Calls).await.map(drop) })
        });
        let pool: PgPool = pool.connect_lazy_with(options);
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await?;
        Ok(listener)
    };
    timeout(ANSWER_TIMEOUT, listen).await.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(failed)
}

/// Receives notifications until the connection is lost.
async fn hear(listener: &mut PgListener, replica: &str, wake: &mut impl FnMut(Wake)) -> Result<(), sqlx::Error> {
    loop {
        match timeout(SILENCE_MAX, listener.try_recv()).await {
            Ok(Ok(Some(notification))) => {
                if let Some(cause) = read_payload(notification.payload(), replica) {
                    wake(cause);
                }
            }
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                let ping = sqlx::query("SELECT 1").execute(&mut *listener);
                timeout(ANSWER_TIMEOUT, ping).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
            }
        }
    }
}
