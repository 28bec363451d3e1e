//! Reads the body of a form, bounded in bytes and in time.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use http::request::Parts;

use super::fields::Fields;
use crate::domain::limits::CONTENT_MAX_BYTES;
use crate::domain::{Error, Reason, Result};

/// The largest form: the largest content with every byte percent-encoded, and the other fields.
const FORM_MAX_BYTES: usize = 3 * CONTENT_MAX_BYTES + 64 * 1024;
/// How long the body of a form may take. Longer: a slow sender holds a slot.
const FORM_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest body of a sign-in: a token as long as a header may be.
const SIGN_IN_MAX_BYTES: usize = 32 * 1024;

/// Reads the body of a sign-in. The number of connections bounds how many are read at once.
///
/// # Errors
/// `MESSAGE_TOO_LARGE`, `REQUEST_TIMEOUT`.
pub async fn read_sign_in(request: Request) -> Result<Request> {
    let (parts, body) = request.into_parts();
    Ok(Request::from_parts(parts, Body::from(read(body, SIGN_IN_MAX_BYTES).await?)))
}

async fn read(body: Body, max_bytes: usize) -> Result<Bytes> {
    let read = tokio::time::timeout(FORM_TIMEOUT, axum::body::to_bytes(body, max_bytes)).await;
    let read = read.map_err(|_| Error::new(Reason::RequestTimeout, "the form did not come in 10 s"))?;
    read.map_err(|_| Error::new(Reason::MessageTooLarge, "the form is too large, or was cut off"))
}

/// Reads a form.
///
/// # Errors
/// `INVALID_ARGUMENT`, `MESSAGE_TOO_LARGE`, `REQUEST_TIMEOUT`.
pub async fn read_form(parts: &Parts, body: Body) -> Result<Fields> {
    let given = parts.headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(Error::invalid("content-type", "must be application/x-www-form-urlencoded"));
    }
    let read = read(body, FORM_MAX_BYTES).await?;
    let text = std::str::from_utf8(&read).map_err(|_| Error::invalid("form", "is not UTF-8"))?;
    Fields::parse(text)
}
