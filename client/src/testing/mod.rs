//! A signed hub in memory, for the tests of programs that use the SDK.
//!
//! Boundary: a gRPC server on the loopback address with keys of its own; nothing is stored, checked or authorized. It signs as the real
//! server does, and the SDK verifies it without exceptions. Invariant: what it tells of one revision never changes.
//!
//! It answers WatchActive, GetActive, ListActive, ReportStatus and ListSigningKeys, and UNIMPLEMENTED to every other call.

mod builder;
mod calls;
mod error;
mod hub;
mod log;
mod messages;
mod report;
mod server;
mod signer;
mod state;
mod stream;

pub use builder::{
    HEARTBEAT_INTERVAL_DEFAULT, TEST_CHECKPOINT_LIFETIME_MAX, TEST_CHECKPOINT_LIFETIME_MIN, TestHubBuilder,
};
pub use error::TestHubError;
/// A hub for tests. It ends when the last handle to it is dropped.
///
/// ```
/// use policyhub_client::testing::TestHub;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let hub = TestHub::start().await?;
/// let cursor = hub.activate([("pricing", "max: 1")]).await?;
/// let mut watcher = hub.watcher().subscriber_id("shop-1").open()?;
/// let update = watcher.next().await;
/// let pricing = update.active.get("pricing").ok_or("pricing is active")?;
/// assert_eq!(pricing.content.as_deref(), Some(b"max: 1".as_slice()));
/// watcher.accept().await;
/// assert!(hub.wait_for_report(|report| report.cursor == cursor).await.is_applied());
/// # Ok(())
/// # }
/// ```
pub use hub::TestHub;
/// Says what a runtime reported about an activation.
pub use policyhub_core::domain::subscriber::ReportVerdict;
pub use report::SubscriberReport;
