//! A real server for each test: the built binary with its own directory, database and ports.
//!
//! Everything that is started here also ends here, even when a test fails.

pub mod agents;
pub mod archives;
pub mod callers;
pub mod calls;
pub mod certificates;
pub mod clock;
pub mod copies;
pub mod disk_error;
pub mod faults;
pub mod frames;
pub mod guardrails;
pub mod history;
pub mod hostile_server;
pub mod http;
pub mod http2;
pub mod hub;
pub mod idp;
pub mod keys;
pub mod metrics;
pub mod outages;
pub mod pgbouncer;
pub mod plain_server;
pub mod postgres;
pub mod postgres_scene;
pub mod proxy;
pub mod random;
pub mod raw;
pub mod reviews;
pub mod runs;
pub mod schedules;
pub mod sign_in_provider;
pub mod signer;
pub mod sqlite_shell;
pub mod stores;
pub mod subscribing;
pub mod tampering_proxy;
pub mod watcher_fixture;
pub mod watching;
pub mod workers;

pub use hub::{Database, Hub};

/// Returns the peak memory of a process, in KiB.
pub fn peak_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Runs the same body on both databases, as two tests. `with &["--flag", "value"];` before the functions starts their servers with these
/// arguments; a body that takes a `Database` instead of a `Hub` starts its own servers.
macro_rules! on_both_databases {
    ($($(#[doc = $doc:literal])* async fn $name:ident($database:ident: Database) $body:block)*) => {$(
        $(#[doc = $doc])*
        mod $name {
            use super::*;

            async fn body($database: crate::harness::Database) $body

            #[tokio::test]
            async fn sqlite() {
                body(crate::harness::Database::Sqlite).await;
            }

            #[tokio::test]
            async fn postgres() {
                body(crate::harness::Database::Postgres).await;
            }
        }
    )*};
    (with $arguments:expr; $($(#[doc = $doc:literal])* async fn $name:ident($hub:ident: Hub) $body:block)*) => {$(
        $(#[doc = $doc])*
        mod $name {
            use super::*;

            async fn body($hub: crate::harness::Hub) $body

            #[tokio::test]
            async fn sqlite() {
                body(crate::harness::Hub::start_with(crate::harness::Database::Sqlite, $arguments).await).await;
            }

            #[tokio::test]
            async fn postgres() {
                body(crate::harness::Hub::start_with(crate::harness::Database::Postgres, $arguments).await).await;
            }
        }
    )*};
    ($($functions:tt)*) => {
        crate::harness::on_both_databases! { with &[]; $($functions)* }
    };
}
pub(crate) use on_both_databases;
