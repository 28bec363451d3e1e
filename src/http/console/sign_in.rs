//! Signing in and out: by a pasted token, or by the one-time code of `policyhub console`.
//!
//! Nobody is signed in by opening an address: a page names who it would be, and a form does it. Otherwise a link of another site could
//! sign somebody in as the one who made it, to whom would then belong what is written here.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::body::Body;
use axum::extract::connect_info::ConnectInfo;
use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};

use super::fields::Fields;
use super::form_body::read_form;
use super::layout::Layout;
use super::refusal::{http_status, refusal_page};
use super::rendered::{Rendered, redirect};
use super::sign_in_codes::CODE_TTL_SECONDS;
use super::sign_in_page::{ask, form_page, local_path};
use super::state::Console;
use super::visible_text::VisibleText;
use super::visit::Visit;
use crate::auth::ConsoleSession;
use crate::domain::principal::Credential;
use crate::domain::{Error, Reason, Result};

/// The longest session. Longer: a browser that somebody left is signed in for longer.
const SESSION_MAX_SECONDS: i64 = 12 * 60 * 60;

#[derive(Template)]
#[template(path = "sign_in_code.html")]
struct CodePage {
    layout: Layout,
    actor: VisibleText,
    code: String,
}

/// Shows the form for a token.
pub async fn show_form(State(console): State<Arc<Console>>, request: Request) -> Response {
    let next = Fields::parse(request.uri().query().unwrap_or_default()).unwrap_or_default();
    let page = form_page(&console, None, next.get("next"));
    finish(&console, &request_peer(&request), Rendered::page(&page).map(Rendered::into_response))
}

/// Signs in by a token in a form.
pub async fn with_token(State(console): State<Arc<Console>>, request: Request) -> Response {
    let peer = request_peer(&request);
    let (parts, body) = request.into_parts();
    let done = async {
        let fields = read_form(&parts, body).await?;
        let (token, next) = (fields.get("token").trim(), local_path(fields.get("next")));
        Ok(begin_session(&console, token, next).unwrap_or_else(|error| ask(&console, &error, next)))
    };
    finish(&console, &peer, done.await)
}

/// Shows whom a one-time code signs in. The code is not used by that.
pub async fn show_code(State(console): State<Arc<Console>>, request: Request) -> Response {
    let fields = Fields::parse(request.uri().query().unwrap_or_default());
    let page = fields.and_then(|fields| {
        let code = fields.get("code");
        let actor = console.codes.actor_of(code, (console.clock)()).ok_or_else(code_is_over)?;
        let layout = Layout::anonymous("Sign in");
        Rendered::page(&CodePage { layout, actor: VisibleText::line(&actor), code: code.to_owned() })
    });
    finish(&console, &request_peer(&request), page.map(Rendered::into_response))
}

/// Signs in by a one-time code, which is used with that.
pub async fn with_code(State(console): State<Arc<Console>>, request: Request) -> Response {
    let peer = request_peer(&request);
    let (parts, body) = request.into_parts();
    let done = async {
        let fields = read_form(&parts, body).await?;
        let token = console.codes.take(fields.get("code"), (console.clock)()).ok_or_else(code_is_over)?;
        begin_session(&console, &token, "/")
    };
    finish(&console, &peer, done.await)
}

fn code_is_over() -> Error {
    let message = "the code was used, or is older than a minute: run `policyhub console` again";
    Error::new(Reason::TokenInvalid, message)
}

/// Gives a one-time code to a caller who shows a token, as JSON.
pub async fn give_code(State(console): State<Arc<Console>>, request: Request) -> Response {
    let now = (console.clock)();
    let mut given = request.headers().get_all(header::AUTHORIZATION).iter();
    let header = given.next().filter(|_| given.next().is_none()).map(|value| value.to_str().unwrap_or_default());
    let code = console.verifier.verify(header, now.seconds()).and_then(|caller| {
        let token = header.and_then(|header| header.split_once(' ')).map_or("", |(_, token)| token);
        console.codes.give(&caller.principal.actor(), token, now)
    });
    let (status, answer) = match &code {
        Ok(code) => {
            let path = format!("/sign-in/code?code={code}");
            (StatusCode::OK, serde_json::json!({"path": path, "expires_in_seconds": CODE_TTL_SECONDS}))
        }
        Err(error) => {
            let answer = serde_json::json!({"reason": error.reason.as_str(), "message": error.message});
            (http_status(error.reason), answer)
        }
    };
    console.note("sign-in", request_peer(&request), status, code.as_ref().err(), Duration::ZERO);
    let mut response = Response::new(Body::from(answer.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Ends the session of this browser. The token in it stays valid, as it was before; `policyhub token revoke` ends it.
pub async fn sign_out(State(console): State<Arc<Console>>, request: Request) -> Response {
    let peer = request_peer(&request);
    let (parts, body) = request.into_parts();
    let done = async {
        let fields = read_form(&parts, body).await?;
        let session = Visit::verify(&console, &parts.headers, (console.clock)());
        if session.is_ok_and(|(_, session)| !console.sessions.is_form_token(&session, fields.get("form_token"))) {
            return Err(Error::new(Reason::PermissionDenied, "the form is not one of this session"));
        }
        let mut response = redirect("/sign-in");
        set_cookie(&mut response, &console.site.set_cookie("", 0))?;
        Ok(response)
    };
    finish(&console, &peer, done.await)
}

/// Verifies a token, and answers with a session that ends with it.
pub(super) fn begin_session(console: &Console, token: &str, next: &str) -> Result<Response> {
    let now = (console.clock)().seconds();
    let caller = console.verifier.verify(Some(&format!("Bearer {token}")), now)?;
    let token_ends = match caller.credential {
        Credential::Token { expires_at_seconds, .. } | Credential::Certificate { expires_at_seconds, .. } => {
            expires_at_seconds
        }
    };
    let ends = token_ends.min(now.saturating_add(SESSION_MAX_SECONDS));
    let cookie = console.sessions.seal(&ConsoleSession::begin(token, ends)?)?;
    let mut response = redirect(next);
    set_cookie(&mut response, &console.site.set_cookie(&cookie, ends.saturating_sub(now)))?;
    Ok(response)
}

/// Adds a cookie to a response.
pub(super) fn set_cookie(response: &mut Response, cookie: &str) -> Result<()> {
    let cookie = HeaderValue::from_str(cookie).map_err(|error| Error::internal(error.to_string()))?;
    response.headers_mut().append(header::SET_COOKIE, cookie);
    Ok(())
}

/// Returns who sent a request.
pub(super) fn request_peer(request: &Request) -> Option<SocketAddr> {
    request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0)
}

/// Takes note of a sign-in, and answers its error as a page.
pub(super) fn finish(console: &Console, peer: &Option<SocketAddr>, done: Result<Response>) -> Response {
    let error = done.as_ref().err().cloned();
    let response = done.unwrap_or_else(|error| refusal_page(&error, Layout::anonymous("Sign in")));
    console.note("sign-in", *peer, response.status(), error.as_ref(), Duration::ZERO);
    response
}
