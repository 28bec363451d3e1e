//! LISTEN and NOTIFY: replicas wake each other, and say which logs have moved. This is only a wake-up; polling alone is sufficient.
//!
//! A payload is the name of the replica, and the ids of the namespaces after it, separated by blanks; without any, all may have moved.
//! A notification is sent after the commit, because inside it would hold a global lock across the flush. After a reconnect, listeners wake
//! once, because notifications may have been lost.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sea_orm::sqlx::postgres::{PgListener, PgPoolOptions};
use sea_orm::sqlx::{self, PgPool};
use sea_orm::{ConnectionTrait as _, Statement};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::domain::name::NamespaceId;
use crate::store::connection::database::postgres_options;
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

/// Namespaces that one notification names. A payload is below 8,000 bytes, and an id has 63 at most.
const NAMED_MAX: usize = 100;

/// Why the tailer is woken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wake {
    /// Another replica committed to these logs.
    Notified(Vec<NamespaceId>),
    /// Another replica committed, to more logs than a notification names.
    Unnamed,
    /// The connection is new: anything sent before it was lost.
    Connected,
}

/// The logs to which this process committed since the last notification.
#[derive(Debug, Default)]
pub(in crate::store) struct Unannounced {
    /// At most one more than a notification names.
    namespaces: Mutex<BTreeSet<NamespaceId>>,
    added: Notify,
}

impl Unannounced {
    /// Adds a log that moved.
    pub(in crate::store) fn add(&self, namespace: &NamespaceId) {
        let mut namespaces = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        if namespaces.len() <= NAMED_MAX && !namespaces.contains(namespace) {
            namespaces.insert(namespace.clone());
        }
        drop(namespaces);
        self.added.notify_one();
    }

    fn take(&self) -> BTreeSet<NamespaceId> {
        std::mem::take(&mut self.namespaces.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn payload(replica: &str, namespaces: &BTreeSet<NamespaceId>) -> String {
    let named = namespaces.iter().filter(|_| namespaces.len() <= NAMED_MAX).map(NamespaceId::as_str);
    std::iter::once(replica).chain(named).collect::<Vec<_>>().join(" ")
}

/// Reads a payload; `None` when this replica sent it: its own commits have already woken the tailer.
fn read_payload(payload: &str, replica: &str) -> Option<Wake> {
    let mut words = payload.split(' ');
    if words.next() == Some(replica) {
        return None;
    }
    // Anybody who may connect to the database can notify.
    let namespaces: Result<Vec<_>, _> = words.map(|id| NamespaceId::parse("namespace", id)).collect();
    Some(namespaces.ok().filter(|named| !named.is_empty()).map_or(Wake::Unnamed, Wake::Notified))
}

impl Store {
    /// Notifies the other replicas of commits until it is dropped: one notification at a time, however many commits were made meanwhile. A
    /// listener that passes the same `replica` ignores it.
    pub async fn announce(&self, replica: &str) {
        loop {
            self.inner.unannounced.added.notified().await;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_names_the_logs_that_moved() {
        let ids = |count: usize| (0..count).map(|number| format!("n{number:062}"));
        let named = |id: String| NamespaceId::parse("namespace", &id).expect("an id");
        for count in [1, NAMED_MAX] {
            let unannounced = Unannounced::default();
            ids(count).map(named).for_each(|id| unannounced.add(&id));
            let moved = unannounced.take();
            let sent = payload("r", &moved);
            assert!(sent.len() < 8_000, "{} bytes", sent.len());
            assert_eq!(read_payload(&sent, "r"), None, "its own");
            assert_eq!(read_payload(&sent, "s"), Some(Wake::Notified(moved.into_iter().collect())));
        }
        let unannounced = Unannounced::default();
        ids(10 * NAMED_MAX).map(named).for_each(|id| unannounced.add(&id));
        let moved = unannounced.take();
        assert_eq!(moved.len(), NAMED_MAX + 1, "nothing grows when nobody is notified");
        assert_eq!(read_payload(&payload("r", &moved), "s"), Some(Wake::Unnamed));
        assert!(unannounced.take().is_empty());
    }

    #[test]
    fn a_payload_of_anybody_else_is_a_reason_to_poll() {
        for strange in ["", " ", "x", "x Y", "x a;b", "x a  b"] {
            assert_eq!(read_payload(strange, "r"), Some(Wake::Unnamed), "{strange:?}");
        }
    }
}
