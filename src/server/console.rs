//! The console of this server: where it listens, its site, and the note that is taken of its requests.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::net::TcpListener;

use super::clock;
use super::config::ListenConfig;
use super::denials::{Denials, is_denial};
use super::metrics::Metrics;
use crate::api::status::status;
use crate::auth::{ConsoleSessionKeys, Verifier};
use crate::http::console::{
    Answered, Console, ConsoleObserver, LiveSettings, SignInProvider, Site, SiteScheme, router,
};
use crate::service::Service;
use crate::transport::{ReloadableTls, serve_http};

/// What serves for as long as it is polled.
type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

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

/// Serves the console; without one it waits for ever. With the socket comes the secret of console sessions, which all replicas share.
///
/// # Errors
/// The keys of sessions can't be derived.
pub(super) fn serve_console(
    socket: Option<(TcpListener, [u8; 32])>,
    (listen, tls, head_timeout): (&ListenConfig, Option<Arc<ReloadableTls>>, Duration),
    (service, verifier): (Arc<Service>, Arc<Verifier>),
    (metrics, denials): (Metrics, Arc<Denials>),
    (live, providers): (LiveSettings, Vec<Arc<dyn SignInProvider>>),
) -> Result<Serving> {
    let Some((socket, secret)) = socket else { return Ok(Box::pin(std::future::pending())) };
    let scheme = match &listen.tls {
        Some(_) => SiteScheme::Tls,
        None if listen.insecure_plaintext => SiteScheme::BehindProxy,
        None => SiteScheme::Loopback,
    };
    let site = Site::new(scheme, socket.local_addr()?.port());
    let sessions = ConsoleSessionKeys::new(&secret)?;
    let observer = Arc::new(ConsoleObservation { metrics, denials });
    let console = Console::new(service, verifier, sessions, site, clock::now, observer, live);
    let console = Arc::new(console.with_providers(providers, listen.console_url.clone()));
    Ok(Box::pin(serve_http(socket, tls, router(console), head_timeout)))
}
