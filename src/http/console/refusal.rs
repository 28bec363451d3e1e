//! Refusals as pages: what went wrong, its reason code, what to do next, and the status of HTTP.

use askama::Template;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};

use super::layout::Layout;
use super::next_steps::{NextStep, next_step};
use super::rendered::Rendered;
use super::state::Console;
use super::visible_text::VisibleText;
use crate::api::status::code;
use crate::domain::{Error, Reason};

/// Codes of gRPC (google.rpc.Code), which the table of reasons gives.
const INVALID_ARGUMENT: i32 = 3;
const DEADLINE_EXCEEDED: i32 = 4;
const NOT_FOUND: i32 = 5;
const ALREADY_EXISTS: i32 = 6;
const PERMISSION_DENIED: i32 = 7;
const RESOURCE_EXHAUSTED: i32 = 8;
const FAILED_PRECONDITION: i32 = 9;
const ABORTED: i32 = 10;
const OUT_OF_RANGE: i32 = 11;
const UNIMPLEMENTED: i32 = 12;
const UNAVAILABLE: i32 = 14;
const UNAUTHENTICATED: i32 = 16;

#[derive(Template)]
#[template(path = "refusal.html")]
struct RefusalPage {
    next: Option<NextStep>,
    layout: Layout,
    message: VisibleText,
    reason: String,
    violations: Vec<(VisibleText, VisibleText)>,
}

/// Returns the status of HTTP for a reason.
#[must_use]
pub fn http_status(reason: Reason) -> StatusCode {
    if matches!(reason, Reason::ContentTooLarge | Reason::MessageTooLarge) {
        return StatusCode::PAYLOAD_TOO_LARGE;
    }
    match i32::from(code(reason)) {
        INVALID_ARGUMENT | OUT_OF_RANGE => StatusCode::BAD_REQUEST,
        UNAUTHENTICATED => StatusCode::UNAUTHORIZED,
        PERMISSION_DENIED => StatusCode::FORBIDDEN,
        NOT_FOUND => StatusCode::NOT_FOUND,
        ALREADY_EXISTS | ABORTED | FAILED_PRECONDITION => StatusCode::CONFLICT,
        RESOURCE_EXHAUSTED => StatusCode::TOO_MANY_REQUESTS,
        UNIMPLEMENTED => StatusCode::NOT_IMPLEMENTED,
        UNAVAILABLE => StatusCode::SERVICE_UNAVAILABLE,
        DEADLINE_EXCEEDED => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Returns the page of an error.
#[must_use]
pub fn refusal_page(error: &Error, layout: Layout) -> Response {
    refusal_with(http_status(error.reason), error, layout)
}

/// Returns the page of an error with another status than that of its reason.
#[must_use]
pub fn refusal_with(status: StatusCode, error: &Error, layout: Layout) -> Response {
    let violation = |each: &crate::domain::error::FieldViolation| {
        (VisibleText::line(&each.field), VisibleText::line(&each.description))
    };
    let page = RefusalPage {
        next: next_step(error, &layout),
        layout,
        message: VisibleText::line(&error.message),
        reason: error.reason.as_str(),
        // The message of a single one is all of it.
        violations: error.violations.iter().filter(|_| error.violations.len() > 1).map(violation).collect(),
    };
    let mut response = Rendered::page_with(status, &page).map_or_else(
        |_| {
            let mut plain = Response::new(axum::body::Body::empty());
            *plain.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            plain
        },
        Rendered::into_response,
    );
    if let Some(wait) = error.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
    }
    response
}

/// Returns the page for a path that leads nowhere. It says the same whoever asks.
pub fn no_such_page(_: &Console) -> Response {
    let error = Error::new(Reason::InvalidArgument, "there is no such page");
    refusal_with(StatusCode::NOT_FOUND, &error, Layout::anonymous("Not found"))
}
