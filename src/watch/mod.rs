//! Delivers changes to subscribers: one log follower per replica, one feed per namespace, one cursor per subscriber.
//!
//! The database is the only bus: local and remote commits arrive in the same way. Invariants: no queue per subscriber; no frame that was
//! not read after its commit; no gap, because every event is checked against the one before. Each message is encoded once for all streams
//! that share it.

mod change_signal;
mod checkpoints;
mod counts;
mod encode;
mod feed;
mod feeds;
mod fingerprints;
mod frame;
mod freshness;
mod frozen;
mod heartbeats;
mod hub;
mod leases;
mod moved_logs;
mod pages;
mod read;
mod read_index;
mod ring;
mod ring_budget;
mod sent_key_statements;
mod source;
mod split;
mod subscription;
mod tailer;
mod verify;
mod view;

pub use counts::{Count, WatchCounts};
pub use encode::Encode;
pub use feed::Feed;
pub use freshness::{Freshness, PollResult};
pub use hub::{Hub, InForce};
pub use leases::{Lease, Leases};
pub use read::check_follows;
pub use ring_budget::RingLimits;
pub use sent_key_statements::SentKeyStatements;
pub use subscription::{StreamContext, Subscription, WatchStep};
pub use verify::{Attest, Proof, SetEntry, SetTree, Verify};
pub use view::ActiveView;
