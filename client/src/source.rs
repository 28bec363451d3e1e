//! Where the streams of a watcher come from: a connection of its own for each, or those that a client shares.

use super::channel::RpcClient;
use super::connections::ConnectionPool;
use super::error::ClientError;
use super::target::Target;

/// Says where connections for streams come from.
#[derive(Debug, Clone)]
pub enum StreamSource {
    /// Each stream has a connection of its own.
    Own(Box<Target>),
    /// Streams share the connections of a client.
    Shared(ConnectionPool),
}

impl StreamSource {
    /// Answers a connection that has room for a stream.
    ///
    /// # Errors
    /// Those of [`Target::connect`].
    pub(super) async fn connect(&self) -> Result<RpcClient, ClientError> {
        match self {
            Self::Own(target) => target.connect().await,
            Self::Shared(pool) => pool.for_stream().await,
        }
    }

    /// Says that a stream failed with its connection: the next one begins with the next endpoint, and a shared one is handed out to
    /// nobody.
    pub(super) fn drop_connection(&self, lost: &RpcClient, error: &ClientError) {
        match self {
            Self::Own(target) if error.is_of_connection() => target.pass_over_endpoint(lost, error),
            Self::Own(_) => {}
            Self::Shared(pool) => pool.drop_connection(lost, error),
        }
    }
}

impl From<Target> for StreamSource {
    fn from(target: Target) -> Self {
        Self::Own(Box::new(target))
    }
}
