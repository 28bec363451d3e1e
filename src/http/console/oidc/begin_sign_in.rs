//! Begins a sign-in: sends the browser to the provider, with a sealed cookie of what it has to bring back.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::request::Parts;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::sign_in_provider::SignInProvider;
use crate::auth::{PENDING_SIGN_IN_SECONDS, PendingSignIn};
use crate::domain::{Error, Reason, Result};
use crate::http::console::fields::Fields;
use crate::http::console::rendered::redirect;
use crate::http::console::sign_in::{finish, request_peer, set_cookie};
use crate::http::console::sign_in_page::local_path;
use crate::http::console::state::Console;

/// Letters that need no encoding in a query (RFC 3986 §2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The longest path to go to after a sign-in.
const NEXT_MAX_BYTES: usize = 1_024;

/// Sends the browser to the provider.
pub async fn begin_sign_in(
    State(console): State<Arc<Console>>,
    Path(issuer_name): Path<String>,
    request: Request,
) -> Response {
    let peer = request_peer(&request);
    let (parts, _) = request.into_parts();
    finish(&console, &peer, begin(&console, &issuer_name, &parts).await)
}

async fn begin(console: &Console, issuer_name: &str, parts: &Parts) -> Result<Response> {
    let provider = console.provider(issuer_name)?;
    let fields = Fields::parse(parts.uri.query().unwrap_or_default())?;
    let now = (console.clock)().seconds();
    // A `next` that would not fit with its seal into a cookie is not worth the sign-in.
    let next = Some(local_path(fields.get("next"))).filter(|next| next.len() <= NEXT_MAX_BYTES).unwrap_or("/");
    let pending = PendingSignIn::begin(issuer_name, next, now)?;
    let endpoint = provider.authorization_endpoint().await?;
    let redirect_uri = console.redirect_uri(issuer_name, &parts.headers)?;
    let query: Vec<String> = [
        ("response_type", "code"),
        ("client_id", provider.client_id()),
        ("redirect_uri", &redirect_uri),
        ("scope", provider.scope()),
        ("state", &pending.state),
        ("nonce", &pending.nonce),
        ("code_challenge", &pending.code_challenge()),
        ("code_challenge_method", "S256"),
    ]
    .iter()
    .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, ENCODED)))
    .collect();
    let separator = if endpoint.url.contains('?') { '&' } else { '?' };
    let mut response = redirect(&format!("{}{separator}{}", endpoint.url, query.join("&")));
    let cookie = console.sessions.seal_pending(&pending)?;
    set_cookie(&mut response, &console.site.set_pending_cookie(&cookie, PENDING_SIGN_IN_SECONDS))?;
    Ok(response)
}

impl Console {
    /// Returns the provider of an issuer.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when nobody signs in there.
    pub fn provider(&self, issuer_name: &str) -> Result<&Arc<dyn SignInProvider>> {
        let found = self.providers.iter().find(|provider| provider.name() == issuer_name);
        found.ok_or_else(|| Error::new(Reason::InvalidArgument, "nobody signs in at an issuer of that name here"))
    }

    /// Returns the address to which a provider sends the browser back. Each issuer has its own, so that the answer of one is never
    /// taken for that of another (RFC 9700 §4.4.2).
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a request without one Host.
    pub fn redirect_uri(&self, issuer_name: &str, headers: &http::HeaderMap) -> Result<String> {
        let origin = match &self.public_url {
            Some(url) => url.clone(),
            // It was checked that it is this machine, and the provider takes addresses that it knows alone.
            None => {
                let host = headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
                let host = host.ok_or_else(|| Error::new(Reason::InvalidArgument, "the request has no Host"))?;
                format!("http://{host}")
            }
        };
        Ok(format!("{origin}/sign-in/from/{issuer_name}"))
    }
}
