//! Serves a route: whose request it is, whether it may come, its time limit, and the note that is taken of it.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::connect_info::ConnectInfo;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::request::Parts;
use http::{Method, StatusCode};
use tokio::sync::Semaphore;

use super::answer_slots::AnswerSlots;
use super::fields::Fields;
use super::form_body::{read_form, read_sign_in};
use super::layout::Layout;
use super::outcome::OUTCOME_FIELD;
use super::refusal::{refusal_page, refusal_with};
use super::rendered::{Done, Rendered, redirect};
use super::route_table::{Handler, ROUTES, Route};
use super::sign_in_page::{ask, ask_after_form};
use super::site::add_headers;
use super::state::Console;
use super::visit::{Visit, layout_of, path_arguments};
use crate::domain::{Error, Reason, Result};
use crate::service::wait_once;

/// How long an answer may take to make. A browser shows nothing meanwhile.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a request waits for others to be answered.
const SLOT_TIMEOUT: Duration = Duration::from_secs(5);
/// Where a command shows its token. No cookie is taken there, so no other site can use it.
const CODES_PATH: &str = "/sign-in/codes";

type Answering = Pin<Box<dyn Future<Output = Response> + Send>>;

/// Checks that a request is one of this site, answers it within its time, and adds the headers of every answer.
pub async fn guard(State(console): State<Arc<Console>>, request: Request, next: Next) -> Response {
    let (is_read, path) = ([Method::GET, Method::HEAD].contains(request.method()), request.uri().path());
    let site = console.site.check_host(request.headers()).and_then(|()| {
        if is_read || path == CODES_PATH { Ok(()) } else { console.site.check_origin(request.headers()) }
    });
    let mut response = match site {
        Ok(()) => {
            let (slots, reads_before) =
                (console.slots.of(is_read, path), AnswerSlots::reads_body_before_slot(is_read, path));
            let request = if reads_before { read_sign_in(request).await } else { Ok(request) };
            match request {
                Ok(request) => answer_in_time(slots, request, next).await,
                Err(error) => refusal_page(&error, Layout::anonymous("Refused")),
            }
        }
        Err(foreign) => {
            let error = Error::new(Reason::PermissionDenied, foreign.0);
            let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0);
            console.note("foreign", peer, StatusCode::FORBIDDEN, Some(&error), Duration::ZERO);
            refusal_with(StatusCode::FORBIDDEN, &error, Layout::anonymous("Refused"))
        }
    };
    add_headers(response.headers_mut());
    response
}

async fn answer_in_time(slots: &Semaphore, request: Request, next: Next) -> Response {
    let too_busy = || Error::new(Reason::RequestBudgetExhausted, "too many pages are asked for at once: try again");
    let Ok(Ok(_slot)) = tokio::time::timeout(SLOT_TIMEOUT, slots.acquire()).await else {
        return refusal_page(&too_busy(), Layout::anonymous("Busy"));
    };
    match tokio::time::timeout(ANSWER_TIMEOUT, wait_once(next.run(request))).await {
        Ok(response) => response,
        Err(_) => {
            let error = Error::new(Reason::DeadlineExceeded, "the page was not ready in 30 s");
            refusal_page(&error, Layout::anonymous("Too slow"))
        }
    }
}

/// Returns what serves a route.
pub fn serve_route(
    route: &'static Route,
) -> impl Fn(State<Arc<Console>>, Result<RawPathParams, RawPathParamsRejection>, Request) -> Answering + Clone {
    move |State(console), arguments, request| Box::pin(serve(console, route, arguments, request))
}

async fn serve(
    console: Arc<Console>,
    route: &'static Route,
    arguments: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Response {
    let now = (console.clock)();
    let (parts, body) = request.into_parts();
    let (response, error) = match Visit::verify(&console, &parts.headers, now) {
        Ok(signed_in) => {
            let visited = async {
                let arguments = path_arguments(arguments)?;
                let fields = match route.handler {
                    Handler::Page(_) => read_query(&parts)?,
                    Handler::Action(_) => read_form(&parts, body).await?,
                };
                let named = (route.name, route.path, route.calls);
                let visit = Visit::new(Arc::clone(&console), signed_in.clone(), named, arguments, fields, now);
                Ok::<_, Error>(match answer(route, &visit).await {
                    Ok(response) => (response, None),
                    Err(error) => (refusal_page(&error, visit.layout_of_refusal()), Some(error)),
                })
            };
            visited.await.unwrap_or_else(|error| {
                let layout = layout_of(&console, (&signed_in.0, &signed_in.1), "Refused");
                (refusal_page(&error, layout), Some(error))
            })
        }
        Err(error) => (ask_for_route(&console, &error, route, &parts), Some(error)),
    };
    console.note_since(now, route.name, &parts, response.status(), error.as_ref());
    response
}

/// Reads the query of a page. What an action has done is said to whoever comes from its form: a link elsewhere can't say it.
fn read_query(parts: &Parts) -> Result<Fields> {
    let fields = Fields::parse(parts.uri.query().unwrap_or_default())?;
    let is_own = parts.headers.get("sec-fetch-site").is_none_or(|site| site == "same-origin");
    Ok(if is_own { fields } else { fields.without(OUTCOME_FIELD) })
}

async fn answer(route: &Route, visit: &Visit) -> Result<Response> {
    match route.handler {
        Handler::Page(show) => show(visit).await.map(Rendered::into_response),
        Handler::Action(act) => {
            if !visit.is_form_token(visit.fields.get("form_token")) {
                let message = "the form is not one of this session: open the page again, and send it from there";
                return Err(Error::new(Reason::PermissionDenied, message));
            }
            Ok(match act(visit).await? {
                Done::At(next) => redirect(&next),
                Done::Page(page) => page.into_response(),
            })
        }
    }
}

/// Asks somebody to sign in, who then gets to the page, or to the one that has the form. An action is not repeated.
fn ask_for_route(console: &Console, error: &Error, route: &Route, parts: &Parts) -> Response {
    if matches!(route.handler, Handler::Action(_)) {
        return ask_after_form(console, error, &page_above(route, parts.uri.path()));
    }
    ask(console, error, parts.uri.path_and_query().map_or("/", |path| path.as_str()))
}

/// Returns the path of the page that has the form of an action: the longest path of a page that the one of the action begins with.
fn page_above(action: &Route, path: &str) -> String {
    let is_above = |page: &&Route| {
        matches!(page.handler, Handler::Page(_))
            && action.path.strip_prefix(page.path).is_some_and(|rest| rest.starts_with('/'))
    };
    let page = ROUTES.iter().filter(is_above).max_by_key(|page| page.path.len());
    let parts = page.map_or(0, |page| page.path.split('/').count());
    path.split('/').take(parts).collect::<Vec<_>>().join("/")
}
