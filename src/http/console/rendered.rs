//! What a page or an action answers, before it becomes a response.

use askama::Template;
use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};

use crate::domain::{Error, Result};

/// A page as HTML, or a content as it is.
#[derive(Debug)]
pub struct Rendered {
    status: StatusCode,
    content_type: &'static str,
    /// Name of a file that the browser saves instead of showing it.
    save_as: Option<String>,
    body: Body,
}

/// What an action answers.
#[derive(Debug)]
pub enum Done {
    /// It was done: the browser goes on to this absolute path of the console.
    At(String),
    /// Nothing was done yet, or it was refused: the form is shown again.
    Page(Rendered),
}

impl Rendered {
    /// Renders a page.
    ///
    /// # Errors
    /// `INTERNAL`.
    pub fn page(template: &impl Template) -> Result<Self> {
        Self::page_with(StatusCode::OK, template)
    }

    /// Renders a page with another status than 200.
    ///
    /// # Errors
    /// `INTERNAL`.
    pub fn page_with(status: StatusCode, template: &impl Template) -> Result<Self> {
        let text = render(template)?;
        Ok(Self { status, content_type: "text/html; charset=utf-8", save_as: None, body: Body::from(text) })
    }

    /// Returns a content for the browser to save. It is never shown: whatever it holds, it is no page of this site.
    #[must_use]
    pub fn file(name: &str, content: bytes::Bytes) -> Self {
        Self {
            status: StatusCode::OK,
            content_type: "application/octet-stream",
            save_as: Some(name.to_owned()),
            body: Body::from(content),
        }
    }

    /// Returns a file that is made while it is sent.
    #[must_use]
    pub fn stream(name: &str, content_type: &'static str, body: Body) -> Self {
        Self { status: StatusCode::OK, content_type, save_as: Some(name.to_owned()), body }
    }

    /// Returns the response.
    #[must_use]
    pub fn into_response(self) -> Response {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        let saved = self.save_as.map(|name| format!("attachment; filename=\"{name}\""));
        if let Some(saved) = saved.and_then(|text| HeaderValue::from_str(&text).ok()) {
            headers.insert(header::CONTENT_DISPOSITION, saved);
        }
        response
    }
}

/// Renders a template.
///
/// # Errors
/// `INTERNAL`.
pub fn render(template: &impl Template) -> Result<String> {
    template.render().map_err(|error| Error::internal(format!("a page was not rendered: {error}")))
}

/// Returns a response that sends the browser on with a GET (RFC 9110 §15.4.4).
#[must_use]
pub fn redirect(path: &str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    let location = HeaderValue::from_str(path).unwrap_or(HeaderValue::from_static("/"));
    response.headers_mut().insert(header::LOCATION, location);
    response
}
