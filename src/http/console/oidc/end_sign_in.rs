//! Ends a sign-in: checks what the browser brings back from the provider, exchanges the code, and begins a session.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::request::Parts;

use super::sign_in_provider::{CodeExchange, IssuedTokens, SignInProvider};
use crate::auth::PendingSignIn;
use crate::domain::{Error, Reason, Result};
use crate::http::console::fields::Fields;
use crate::http::console::sign_in::{begin_session, request_peer, set_cookie};
use crate::http::console::sign_in_page::{ask, local_path};
use crate::http::console::state::Console;

/// The longest code. Longer ones are no provider's.
const CODE_MAX_BYTES: usize = 4_096;

/// Takes the browser back from the provider.
pub async fn end_sign_in(
    State(console): State<Arc<Console>>,
    Path(issuer_name): Path<String>,
    request: Request,
) -> Response {
    let peer = request_peer(&request);
    let (parts, _) = request.into_parts();
    let ended = end(&console, &issuer_name, &parts).await;
    let error = ended.as_ref().err().cloned();
    let mut response = ended.unwrap_or_else(|error| ask(&console, &error, "/"));
    // Used or not, the sign-in is over: what comes again with this answer is refused.
    let over = set_cookie(&mut response, &console.site.set_pending_cookie("", 0));
    let error = over.err().or(error);
    console.note("sign-in", peer, response.status(), error.as_ref(), Duration::ZERO);
    response
}

async fn end(console: &Console, issuer_name: &str, parts: &Parts) -> Result<Response> {
    let provider = console.provider(issuer_name)?;
    let fields = Fields::parse(parts.uri.query().unwrap_or_default())?;
    let now = (console.clock)().seconds();
    let cookie = console.site.pending_cookie(&parts.headers);
    let pending = cookie.and_then(|cookie| console.sessions.open_pending(cookie));
    let pending = pending.filter(|pending| pending.ends_at_seconds > now);
    let pending = pending.ok_or_else(|| refused("no sign-in waits in this browser, or it took over 10 minutes"))?;
    check_answer(console, &**provider, &pending, &fields).await?;
    let redirect_uri = console.redirect_uri(issuer_name, &parts.headers)?;
    let (code, code_verifier) = (fields.get("code"), pending.code_verifier.as_str());
    let tokens = provider.exchange(CodeExchange { code, code_verifier, redirect_uri: &redirect_uri }).await?;
    let token = usable_token(console, &**provider, &pending, &tokens, now)?;
    begin_session(console, token, local_path(&pending.next))
}

/// Checks that an answer is one to the sign-in that this browser began.
async fn check_answer(
    console: &Console,
    provider: &dyn SignInProvider,
    pending: &PendingSignIn,
    fields: &Fields,
) -> Result<()> {
    if pending.issuer_name != provider.name() {
        return Err(refused("the sign-in of this browser is at another issuer"));
    }
    if !console.sessions.is_state(pending, fields.get("state")) {
        return Err(refused("the answer is not to the sign-in of this browser: its state is another one"));
    }
    let given = fields.get("iss");
    let is_named = !given.is_empty();
    if (is_named && given != provider.issuer()) || (!is_named && provider.authorization_endpoint().await?.names_issuer)
    {
        return Err(refused("the answer is of another issuer"));
    }
    let error = fields.get("error");
    if !error.is_empty() {
        return Err(refused(format!("the provider answered {error}: {}", fields.get("error_description"))));
    }
    if !(1..=CODE_MAX_BYTES).contains(&fields.get("code").len()) {
        return Err(refused("the answer has no code"));
    }
    Ok(())
}

/// Returns the token that the session keeps: the access token, or the ID token where the rules of the issuer take that one.
fn usable_token<'a>(
    console: &Console,
    provider: &dyn SignInProvider,
    pending: &PendingSignIn,
    tokens: &'a IssuedTokens,
    now_seconds: i64,
) -> Result<&'a str> {
    let expected = (provider.client_id(), pending.nonce.as_str());
    console.verifier.check_id_token(provider.name(), &tokens.id_token, expected, now_seconds)?;
    let is_of_provider = |token: &str| {
        let caller = console.verifier.verify(Some(&format!("Bearer {token}")), now_seconds)?;
        let is_own = caller.principal.issuer == provider.name();
        if is_own { Ok(()) } else { Err(refused("the token is from another issuer")) }
    };
    match is_of_provider(&tokens.access_token) {
        Ok(()) => Ok(&tokens.access_token),
        Err(error) => is_of_provider(&tokens.id_token).map(|()| tokens.id_token.as_str()).map_err(|_| error),
    }
}

fn refused(message: impl Into<String>) -> Error {
    Error::new(Reason::TokenInvalid, message)
}
