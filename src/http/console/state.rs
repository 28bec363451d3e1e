//! What all requests of the console share.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::connect_info::ConnectInfo;
use http::StatusCode;
use http::request::Parts;

use super::answer_slots::AnswerSlots;
use super::live::{LiveSettings, LiveSlots};
use super::oidc::SignInProvider;
use super::sign_in_codes::SignInCodes;
use super::site::Site;
use crate::auth::{ConsoleSessionKeys, Verifier};
use crate::domain::Error;
use crate::domain::time::Micros;
use crate::service::Service;

/// Reads the clock.
pub type Clock = fn() -> Micros;

/// A request that was answered, for logs and metrics.
#[derive(Debug)]
pub struct Answered<'a> {
    /// The name of the page or of the action.
    pub route: &'static str,
    /// Who sent it.
    pub peer: Option<SocketAddr>,
    /// The status of HTTP.
    pub status: u16,
    /// Why it was refused.
    pub error: Option<&'a Error>,
    /// How long it took.
    pub elapsed: Duration,
}

/// Takes note of requests, as it is done of calls.
pub trait ConsoleObserver: std::fmt::Debug + Send + Sync {
    /// Takes note of one request.
    fn answered(&self, answered: &Answered<'_>);
}

/// What all requests share.
#[derive(Debug)]
pub struct Console {
    /// The use cases.
    pub service: Arc<Service>,
    /// Verifies the token of a session at each request.
    pub verifier: Arc<Verifier>,
    /// The keys of sessions.
    pub sessions: ConsoleSessionKeys,
    /// The site.
    pub site: Site,
    /// The clock.
    pub clock: Clock,
    /// Takes note of requests.
    pub observer: Arc<dyn ConsoleObserver>,
    /// When live parts of pages end.
    pub live: LiveSettings,
    pub(super) live_slots: LiveSlots,
    pub(super) providers: Vec<Arc<dyn SignInProvider>>,
    /// The address at which browsers reach the console; none: on loopback, that of each request.
    pub(super) public_url: Option<String>,
    pub(super) codes: SignInCodes,
    pub(super) slots: AnswerSlots,
}

impl Console {
    /// Creates the state of a console.
    #[must_use]
    pub fn new(
        service: Arc<Service>,
        verifier: Arc<Verifier>,
        sessions: ConsoleSessionKeys,
        site: Site,
        clock: Clock,
        observer: Arc<dyn ConsoleObserver>,
        live: LiveSettings,
    ) -> Self {
        let (codes, live_slots, slots) = (SignInCodes::default(), LiveSlots::default(), AnswerSlots::default());
        Self {
            service,
            verifier,
            sessions,
            site,
            clock,
            observer,
            live,
            live_slots,
            providers: Vec::new(),
            public_url: None,
            codes,
            slots,
        }
    }

    /// Lets people sign in at these providers, which send them back to the console at `public_url`.
    #[must_use]
    pub fn with_providers(self, providers: Vec<Arc<dyn SignInProvider>>, public_url: Option<String>) -> Self {
        Self { providers, public_url, ..self }
    }

    /// Takes note of a request that came at `since` and is answered now.
    pub(super) fn note_since(
        &self,
        since: Micros,
        route: &'static str,
        parts: &Parts,
        status: StatusCode,
        error: Option<&Error>,
    ) {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0);
        let elapsed = Duration::from_micros((self.clock)().0.saturating_sub(since.0).unsigned_abs());
        self.note(route, peer, status, error, elapsed);
    }

    /// Takes note of a request.
    pub(super) fn note(
        &self,
        route: &'static str,
        peer: Option<SocketAddr>,
        status: StatusCode,
        error: Option<&Error>,
        elapsed: Duration,
    ) {
        self.observer.answered(&Answered { route, peer, status: status.as_u16(), error, elapsed });
    }
}
