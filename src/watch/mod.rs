//! Who is told: one tailer per replica, one feed per namespace, one cursor per subscriber.
//!
//! The database is the only bus: local and remote commits come the same road. Never a queue per subscriber; never a
//! frame that was not read after its commit; never a gap, because every event is checked against the one before.

mod feed;
mod frames;
mod hub;
mod ring;
mod subscription;
mod tailer;

pub use feed::Feed;
pub use frames::Verify;
pub use hub::Hub;
pub use subscription::{Step, Subscription};
