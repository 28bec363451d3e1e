//! A real server for each test: the built binary, its own directory, its own database, ports of its own.
//!
//! Everything that starts here ends here, also when a test fails.

pub mod calls;
pub mod hub;
pub mod postgres;

pub use hub::{Database, Hub};

/// Runs the same body on both databases, as two tests.
macro_rules! on_both_databases {
    ($($(#[doc = $doc:literal])* async fn $name:ident($hub:ident: Hub) $body:block)*) => {$(
        $(#[doc = $doc])*
        mod $name {
            use super::*;

            async fn body($hub: crate::harness::Hub) $body

            #[tokio::test]
            async fn sqlite() {
                body(crate::harness::Hub::start(crate::harness::Database::Sqlite).await).await;
            }

            #[tokio::test]
            async fn postgres() {
                body(crate::harness::Hub::start(crate::harness::Database::Postgres).await).await;
            }
        }
    )*};
}
pub(crate) use on_both_databases;
