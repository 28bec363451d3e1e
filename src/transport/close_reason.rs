//! Why a connection ended, as the metrics name it.

use super::connection_handle::ShutdownReason;

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// The client closed it, or is gone.
    Peer,
    /// The client broke the rules of HTTP/2.
    Protocol,
    /// The TLS handshake failed, or the client does not speak HTTP/2.
    Handshake,
    /// TLS and the HTTP/2 preface took too long.
    HandshakeTimeout,
    /// The client answered no ping, or read nothing.
    Keepalive,
    /// It reached the age limit.
    Age,
    /// The server is shutting down.
    Draining,
    /// The port has as many connections as it may have.
    Limit,
}

impl CloseReason {
    /// Returns the value of the label `cause`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Protocol => "protocol",
            Self::Handshake => "handshake",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::Keepalive => "keepalive",
            Self::Age => "age",
            Self::Draining => "draining",
            Self::Limit => "limit",
        }
    }
}

impl From<ShutdownReason> for CloseReason {
    fn from(reason: ShutdownReason) -> Self {
        match reason {
            ShutdownReason::Draining => Self::Draining,
            ShutdownReason::Age => Self::Age,
        }
    }
}
