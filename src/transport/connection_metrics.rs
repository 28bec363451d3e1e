//! What is counted of connections. The caller of the port says where.

use super::close_reason::CloseReason;

/// Receives what happens to connections.
pub trait ConnectionMetrics: std::fmt::Debug + Send + Sync + 'static {
    /// Counts a connection that was accepted.
    fn opened(&self);

    /// Counts the end of a connection that was accepted.
    fn closed(&self, reason: CloseReason);

    /// Counts a connection that was closed at once.
    fn refused(&self, reason: CloseReason);

    /// Counts a failed accept of the kernel.
    fn accept_failed(&self);

    /// Counts a write to the socket of a connection.
    fn wrote(&self);
}
