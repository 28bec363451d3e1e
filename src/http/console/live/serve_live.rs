//! Serves the live part of a page.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::connect_info::ConnectInfo;
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
use crate::http::console::visit::Visit;

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
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0);
    let elapsed = Duration::from_micros((console.clock)().0.saturating_sub(now.0).unsigned_abs());
    console.note(route.name, peer, response.status(), error.as_ref(), elapsed);
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
    let arguments = arguments.map_err(|_| Error::invalid("path", "is not UTF-8"))?;
    let arguments = arguments.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let fields = Fields::parse(parts.uri.query().unwrap_or_default())?;
    if console.live.draining.is_cancelled() {
        return Err(Error::new(Reason::ServerDraining, "this server is shutting down"));
    }
    let slot = console.live_slots.take(signed_in.1.id())?;
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
