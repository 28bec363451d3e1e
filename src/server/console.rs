//! The console of this server: where it listens, its site, and the note that is taken of its requests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;

use super::clock;
use super::config::ListenConfig;
use super::denials::{Denials, is_denial};
use super::metrics::Metrics;
use crate::api::status::status;
use crate::auth::{ConsoleSessionKeys, Verifier};
use crate::http::console::{Answered, Console, ConsoleObserver, Site, SiteScheme};
use crate::service::Service;

/// Observes the requests of the console as `ObserveLayer` does calls: a count, a line for who was refused.
#[derive(Debug)]
struct ConsoleObservation {
    metrics: Metrics,
    denials: Arc<Denials>,
}

impl ConsoleObserver for ConsoleObservation {
    fn answered(&self, answered: &Answered<'_>) {
        let Answered { route, peer, status: http_status, error, elapsed } = *answered;
        // `status` logs what is for the log alone.
        if let Some(status) = error.map(|error| status(error.clone())).filter(|status| is_denial(status.code())) {
            // Whoever has no session is asked to sign in: that is no refusal.
            let has_shown_something = error.is_some_and(|error| error.reason != crate::domain::Reason::TokenMissing);
            if has_shown_something {
                self.metrics.denied(self.denials.denied(route, &status, peer, Instant::now()));
            }
        }
        self.metrics.console_answered(route, http_status, elapsed);
        tracing::debug!(route, http_status, elapsed_us = elapsed.as_micros(), "answered in the console");
    }
}

/// Creates the console. `secret` is that of console sessions, which all replicas share.
///
/// # Errors
/// The keys of sessions can't be derived.
pub(super) fn console(
    service: Arc<Service>,
    verifier: Arc<Verifier>,
    (listen, addr): (&ListenConfig, SocketAddr),
    secret: &[u8; 32],
    (metrics, denials): (Metrics, Arc<Denials>),
) -> Result<Arc<Console>> {
    let scheme = match &listen.tls {
        Some(_) => SiteScheme::Tls,
        None if listen.insecure_plaintext => SiteScheme::BehindProxy,
        None => SiteScheme::Loopback,
    };
    let sessions = ConsoleSessionKeys::new(secret)?;
    let observer = Arc::new(ConsoleObservation { metrics, denials });
    let site = Site::new(scheme, addr.port());
    Ok(Arc::new(Console::new(service, verifier, sessions, site, clock::now, observer)))
}
