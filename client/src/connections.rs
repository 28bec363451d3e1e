//! The connections that the calls and watches of one client share.
//!
//! Boundary: hands connections out; [`super::target`] makes them. Invariant: a connection carries no more watches than a server
//! takes on one, and one that broke is handed out to nobody.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as Lock, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::channel::RpcClient;
use super::error::ClientError;
use super::target::Target;

/// Most watches that share a connection. A server takes 100 streams on one and keeps some for calls; what is over its limit waits
/// without an error.
const STREAMS_PER_CONNECTION_MAX: usize = 64;
/// Sets how long a connection is handed out. tonic opens it again by itself after the server closed it, with the certificates that it
/// began with. Longer: certificate files that were renewed are read later. Shorter: more handshakes.
const HANDED_OUT_MAX: Duration = Duration::from_secs(600);

/// Connections to one server. Clones share them.
#[derive(Debug, Clone)]
pub struct ConnectionPool(Arc<PoolState>);

#[derive(Debug)]
struct PoolState {
    target: Target,
    pooled: Lock<Vec<PooledConnection>>,
    /// Tries to connect that have ended.
    tries: AtomicU64,
    /// Says how the last try failed. It is locked while a connection is made, so that many who need one make one.
    connecting: Mutex<Option<ClientError>>,
}

#[derive(Debug)]
struct PooledConnection {
    client: RpcClient,
    since: Instant,
    /// Counts the watches that were given this connection.
    streams: Vec<Weak<()>>,
}

impl ConnectionPool {
    /// Makes a pool without connections: one is made when somebody needs it.
    pub fn new(target: Target) -> Self {
        let (pooled, tries, connecting) = (Lock::default(), AtomicU64::new(0), Mutex::new(None));
        Self(Arc::new(PoolState { target, pooled, tries, connecting }))
    }

    /// Returns the server that the connections lead to.
    pub fn target(&self) -> &Target {
        &self.0.target
    }

    /// Answers a connection for calls.
    ///
    /// # Errors
    /// Those of [`Target::connect`].
    pub async fn for_calls(&self) -> Result<RpcClient, ClientError> {
        self.find_or_connect(|pooled| pooled.first().map(|pooled| pooled.client.clone())).await
    }

    /// Answers a connection that has room for one more watch, which lasts as long as the answer and its clones do.
    ///
    /// # Errors
    /// Those of [`Target::connect`].
    pub async fn for_stream(&self) -> Result<RpcClient, ClientError> {
        self.find_or_connect(|pooled| {
            let with_room = pooled.iter_mut().find(|pooled| pooled.streams.len() < STREAMS_PER_CONNECTION_MAX)?;
            let stream = Arc::new(());
            with_room.streams.push(Arc::downgrade(&stream));
            Some(with_room.client.clone().held_by(stream))
        })
        .await
    }

    async fn find_or_connect(
        &self,
        find: impl Fn(&mut Vec<PooledConnection>) -> Option<RpcClient>,
    ) -> Result<RpcClient, ClientError> {
        let find = || {
            let mut pooled = self.0.pooled.lock().unwrap_or_else(PoisonError::into_inner);
            // One is kept for calls; another one whose watches have ended is closed.
            let mut kept = 0;
            pooled.retain_mut(|each| {
                let carried = each.streams.len();
                each.streams.retain(|stream| stream.strong_count() > 0);
                let is_over = kept > 0 && carried > 0 && each.streams.is_empty();
                let is_kept = !is_over && each.since.elapsed() < HANDED_OUT_MAX;
                kept += usize::from(is_kept);
                is_kept
            });
            find(&mut pooled)
        };
        let tries = self.0.tries.load(Ordering::Acquire);
        if let Some(found) = find() {
            return Ok(found);
        }
        let mut failure = self.0.connecting.lock().await;
        loop {
            // Another caller may have connected meanwhile, or have taken the last stream of a connection.
            if let Some(found) = find() {
                return Ok(found);
            }
            // A try that began while this one waited speaks for it: otherwise all who wait would try one after the other.
            if self.0.tries.load(Ordering::Acquire) > tries + 1
                && let Some(failure) = &*failure
            {
                return Err(failure.clone());
            }
            let made = self.0.target.connect().await;
            self.0.tries.fetch_add(1, Ordering::Release);
            *failure = made.as_ref().err().cloned();
            let pooled = PooledConnection { client: made?, since: Instant::now(), streams: Vec::new() };
            self.0.pooled.lock().unwrap_or_else(PoisonError::into_inner).push(pooled);
        }
    }

    /// Removes a connection from the pool, because a call or a watch failed with it. Those who hold it may go on.
    pub fn drop_connection(&self, lost: &RpcClient, error: &ClientError) {
        if !error.is_of_connection() {
            return;
        }
        let mut pooled = self.0.pooled.lock().unwrap_or_else(PoisonError::into_inner);
        pooled.retain(|each| !each.client.is_same_connection(lost));
        self.0.target.pass_over_endpoint(lost, error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    /// Returns a pool for a port, which takes connections as long as it is held.
    async fn pool() -> (tokio::net::TcpListener, ConnectionPool) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        (listener, ConnectionPool::new(Target::new(endpoint)))
    }

    fn lost() -> ClientError {
        ClientError::local(Code::Unavailable, "lost")
    }

    fn count(pool: &ConnectionPool) -> usize {
        pool.0.pooled.lock().expect("no panic").len()
    }

    #[tokio::test]
    async fn watches_share_a_connection_up_to_its_bound_and_leave_room_when_they_end() {
        let (_listener, pool) = pool().await;
        let opening = (0..3 * STREAMS_PER_CONNECTION_MAX).map(|_| pool.for_stream());
        let mut watches = futures_util::future::try_join_all(opening).await.expect("connected");
        assert_eq!(count(&pool), 3);
        watches.truncate(STREAMS_PER_CONNECTION_MAX + 10);
        let _more = pool.for_stream().await.expect("connected");
        pool.for_calls().await.expect("connected");
        assert_eq!(count(&pool), 2, "there is room, and what carries nothing is closed");
    }

    #[tokio::test]
    async fn a_connection_that_broke_is_handed_out_to_nobody() {
        let (_listener, pool) = pool().await;
        let first = pool.for_calls().await.expect("connected");
        assert!(pool.for_stream().await.expect("connected").is_same_connection(&first));
        pool.drop_connection(&first, &ClientError::local(Code::NotFound, "no policy"));
        assert!(pool.for_calls().await.expect("connected").is_same_connection(&first), "it is not to blame");
        pool.drop_connection(&first, &lost());
        assert!(!pool.for_calls().await.expect("connected").is_same_connection(&first));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_handed_out_for_a_while() {
        let (_listener, pool) = pool().await;
        let first = pool.for_calls().await.expect("connected");
        tokio::time::advance(HANDED_OUT_MAX).await;
        assert!(!pool.for_calls().await.expect("connected").is_same_connection(&first));
    }

    #[tokio::test]
    async fn who_waited_for_a_try_that_failed_hears_of_it() {
        let asked = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&asked);
        let token = crate::token::TokenSource::function(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            async {
                tokio::task::yield_now().await;
                Err("the provider is away".into())
            }
        });
        let pool = ConnectionPool::new(Target::new("http://127.0.0.1:1").with_token(token));
        let waiting = futures_util::future::join_all((0..50).map(|_| pool.for_calls()));
        assert!(waiting.await.iter().all(Result::is_err));
        assert!(asked.load(Ordering::SeqCst) <= 3, "{asked:?} tries for 50 who need one");
    }
}
