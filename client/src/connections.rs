//! The connections that the calls and watches of one client share.
//!
//! Boundary: hands connections out; [`super::target`] makes them. Invariant: a connection carries no more watches than a server
//! takes on one, and one that broke is handed out to nobody.

use std::sync::{Arc, Mutex as Lock, PoisonError, Weak};

use tokio::sync::Mutex;

use super::channel::RpcClient;
use super::error::ClientError;
use super::target::Target;

/// Most watches that share a connection. A server takes 100 streams on one and keeps some for calls; more than it takes wait
/// without a word.
const STREAMS_PER_CONNECTION_MAX: usize = 64;

/// Connections to one server. Clones share them.
#[derive(Debug, Clone)]
pub struct Connections(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    target: Target,
    open: Lock<Vec<Open>>,
    /// Held while a connection is made, so that many who need one make one.
    connecting: Mutex<()>,
}

#[derive(Debug)]
struct Open {
    client: RpcClient,
    /// One for each watch that was given this connection.
    streams: Vec<Weak<()>>,
}

impl Connections {
    /// Connections that are made when somebody needs one.
    pub fn new(target: Target) -> Self {
        Self(Arc::new(Shared { target, open: Lock::default(), connecting: Mutex::new(()) }))
    }

    /// Whether another token may be got than the one of the last connection.
    pub fn may_renew_token(&self) -> bool {
        self.0.target.may_renew_token()
    }

    /// Answers a connection for calls.
    ///
    /// # Errors
    /// As [`Target::connect`].
    pub async fn for_calls(&self) -> Result<RpcClient, ClientError> {
        self.find_or_connect(|open| open.first().map(|open| open.client.clone())).await
    }

    /// Answers a connection that has room for one more watch, which lasts as long as the answer and its clones do.
    ///
    /// # Errors
    /// As [`Target::connect`].
    pub async fn for_stream(&self) -> Result<RpcClient, ClientError> {
        self.find_or_connect(|open| {
            let with_room = open.iter_mut().find_map(|open| {
                open.streams.retain(|stream| stream.strong_count() > 0);
                (open.streams.len() < STREAMS_PER_CONNECTION_MAX).then_some(open)
            })?;
            let stream = Arc::new(());
            with_room.streams.push(Arc::downgrade(&stream));
            Some(with_room.client.clone().held_by(stream))
        })
        .await
    }

    async fn find_or_connect(
        &self,
        find: impl Fn(&mut Vec<Open>) -> Option<RpcClient>,
    ) -> Result<RpcClient, ClientError> {
        let find = || find(&mut self.0.open.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(found) = find() {
            return Ok(found);
        }
        let _connecting = self.0.connecting.lock().await;
        loop {
            // Somebody else may have connected, or have taken the room meanwhile.
            if let Some(found) = find() {
                return Ok(found);
            }
            let client = self.0.target.connect_anew().await?;
            let open = Open { client, streams: Vec::new() };
            self.0.open.lock().unwrap_or_else(PoisonError::into_inner).push(open);
        }
    }

    /// Hands a connection out to nobody any more. Who has it may go on.
    pub fn drop_connection(&self, lost: &RpcClient) {
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        let before = open.len();
        open.retain(|open| !open.client.is_same_connection(lost));
        // Once for a connection, however many calls and watches it broke for.
        if open.len() < before {
            self.0.target.pass_over_endpoint();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Connections to a port, which takes them as long as it is held.
    async fn connections() -> (tokio::net::TcpListener, Connections) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        (listener, Connections::new(Target::new(endpoint)))
    }

    #[tokio::test]
    async fn watches_share_a_connection_up_to_its_bound_and_leave_room_when_they_end() {
        let (_listener, connections) = connections().await;
        let opening = (0..3 * STREAMS_PER_CONNECTION_MAX).map(|_| connections.for_stream());
        let mut watches = futures_util::future::try_join_all(opening).await.expect("connected");
        let open = || connections.0.open.lock().expect("no panic").len();
        assert_eq!(open(), 3);
        watches.truncate(10);
        let _more = connections.for_stream().await.expect("connected");
        connections.for_calls().await.expect("connected");
        assert_eq!(open(), 3, "there is room");
    }

    #[tokio::test]
    async fn a_connection_that_broke_is_handed_out_to_nobody() {
        let (_listener, connections) = connections().await;
        let first = connections.for_calls().await.expect("connected");
        assert!(connections.for_stream().await.expect("connected").is_same_connection(&first));
        connections.drop_connection(&first);
        assert!(!connections.for_calls().await.expect("connected").is_same_connection(&first));
    }
}
