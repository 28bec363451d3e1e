//! What an error says, with what those underneath say that it does not repeat: "transport error" alone helps nobody.

use std::error::Error;

/// Returns the words of an error and of its causes, each once.
#[must_use]
pub fn causes(error: &dyn Error) -> String {
    with_causes(error.to_string(), error.source())
}

/// Returns the same, of an error whose own words are `text`; empty: its causes alone.
#[must_use]
pub fn with_causes(mut text: String, mut cause: Option<&(dyn Error + 'static)>) -> String {
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.contains(&part) {
            text = if text.is_empty() { part } else { format!("{text}: {part}") };
        }
        cause = error.source();
    }
    text
}
