//! The page that asks for a token, at its own address and as the answer to whoever is not signed in.

use askama::Template;
use axum::response::Response;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::layout::Layout;
use super::refusal::{http_status, refusal_page};
use super::rendered::Rendered;
use super::state::Console;
use super::visible_text::VisibleText;
use crate::domain::{Error, Reason};

/// The longest path that a browser is sent on to.
const NEXT_MAX_BYTES: usize = 2_048;

/// The page.
#[derive(Template)]
#[template(path = "sign_in.html")]
pub struct SignInPage {
    layout: Layout,
    /// Where to go then.
    next: String,
    /// Why the visitor is asked; empty when there was no session.
    message: VisibleText,
    reason: String,
    /// Whether a form was sent, which changed nothing.
    is_after_form: bool,
    /// The identity providers, with the link that begins a sign-in at each.
    providers: Vec<(String, String)>,
}

/// Returns the form for a token, as the answer to a request of somebody who is not signed in.
pub fn ask(console: &Console, error: &Error, next: &str) -> Response {
    respond(error, &form_page(console, Some(error), next))
}

/// Returns the same to somebody who sent another form, which changed nothing.
pub fn ask_after_form(console: &Console, error: &Error, next: &str) -> Response {
    respond(error, &SignInPage { is_after_form: true, ..form_page(console, Some(error), next) })
}

fn respond(error: &Error, page: &SignInPage) -> Response {
    let rendered = Rendered::page_with(http_status(error.reason), page).map(Rendered::into_response);
    rendered.unwrap_or_else(|error| refusal_page(&error, Layout::anonymous("Sign in")))
}

/// Returns the page, with the error for which it is shown.
pub fn form_page(console: &Console, error: Option<&Error>, next: &str) -> SignInPage {
    // Whoever just has no session needs no explanation.
    let said = error.filter(|error| error.reason != Reason::TokenMissing);
    let next = local_path(next);
    let link = |name: &str| format!("/sign-in/with/{name}?next={}", utf8_percent_encode(next, NON_ALPHANUMERIC));
    SignInPage {
        layout: Layout::anonymous("Sign in"),
        next: next.to_owned(),
        message: said.map(|error| VisibleText::line(&error.message)).unwrap_or_default(),
        reason: said.map(|error| error.reason.as_str()).unwrap_or_default(),
        is_after_form: false,
        providers: console.providers.iter().map(|each| (each.name().to_owned(), link(each.name()))).collect(),
    }
}

/// Returns a path of this console; `/` for anything else, so that nobody is sent on to another site.
pub fn local_path(path: &str) -> &str {
    let is_plain = path.len() <= NEXT_MAX_BYTES && path.bytes().all(|byte| (b'!'..=b'~').contains(&byte));
    let is_local = path.starts_with('/') && !path.starts_with("//") && !path.contains('\\');
    if is_plain && is_local { path } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_another_site() {
        for own in ["/", "/namespaces/a?x=1", "/a//b"] {
            assert_eq!(local_path(own), own);
        }
        for other in ["", "//evil.example", "/\\evil.example", "https://evil.example", "evil", "/a\r\nb", "/\u{e4}"] {
            assert_eq!(local_path(other), "/", "{other}");
        }
        assert_eq!(local_path(&format!("/{}", "a".repeat(NEXT_MAX_BYTES))), "/");
    }
}
