//! Serves the live part of a page.

use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::response::Response;
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};

use super::live_routes::LiveRoute;
use super::live_stream::LiveStream;
use crate::domain::{Error, Reason, Result};
use crate::http::console::fields::Fields;
use crate::http::console::layout::Layout;
use crate::http::console::refusal::{http_status, refusal_with};
use crate::http::console::state::Console;
use crate::http::console::visit::{Visit, path_arguments};

type Answering = Pin<Box<dyn Future<Output = Response> + Send>>;

/// Returns what serves a live part.
pub fn serve_live(
    route: &'static LiveRoute,
) -> impl Fn(State<Arc<Console>>, Result<RawPathParams, RawPathParamsRejection>, Request) -> Answering + Clone {
    move |State(console), arguments, request| Box::pin(serve(console, route, arguments, request))
}

async fn serve(
    console: Arc<Console>,
    route: &'static LiveRoute,
    arguments: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Response {
    let now = (console.clock)();
    let (parts, _) = request.into_parts();
    let opened = open(&console, route, arguments, &parts).await;
    let error = opened.as_ref().err().cloned();
    let response = opened.unwrap_or_else(|error| {
        // Nobody reads the page of this refusal: the script sees that there is no stream, and the page stays as it is.
        let status = match error.reason {
            Reason::TooManyStreams => StatusCode::SERVICE_UNAVAILABLE,
            reason => http_status(reason),
        };
        refusal_with(status, &error, Layout::anonymous("Not live"))
    });
    console.note_since(now, route.name, &parts, response.status(), error.as_ref());
    response
}

async fn open(
    console: &Arc<Console>,
    route: &'static LiveRoute,
    arguments: Result<RawPathParams, RawPathParamsRejection>,
    parts: &Parts,
) -> Result<Response> {
    let now = (console.clock)();
    let signed_in = Visit::verify(console, &parts.headers, now)?;
    let arguments = path_arguments(arguments)?;
    let fields = Fields::parse(parts.uri.query().unwrap_or_default())?;
    if console.live.draining.is_cancelled() {
        return Err(Error::new(Reason::ServerDraining, "this server is shutting down"));
    }
    let slot = console.live_slots.take(signed_in.1.id(), &signed_in.0.principal.actor())?;
    let named = (route.name, route.path, route.calls);
    let visit = Visit::new(Arc::clone(console), signed_in, named, arguments, fields, now);
    let stream = LiveStream::open(route, visit, console.live.clone(), slot).await?;
    let mut response = Response::new(Body::from_stream(stream.into_events()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // Otherwise proxies such as nginx keep events until they have enough of them.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}
