//! Prints what an activation did, or would do.

use crate::cli::output::document::say;
use crate::cli::output::{next_step, text};
use crate::cli::session::Session;
use crate::client::pb;
use crate::domain::counted_noun::counted_noun;

/// Prints an activation, and what to do next.
pub fn print_activation(
    session: &Session,
    response: &pb::ActivateResponse,
    request_id: &str,
    validate_only: bool,
) -> anyhow::Result<()> {
    if validate_only {
        let streams = response.activation.as_ref().map_or(0, |activation| activation.watching_streams);
        say(&format!("{} of this replica would hear of it", counted_noun(streams, "open stream", "open streams")));
    }
    session.output.print_mutation(response, request_id, |response| {
        let moves = response.activation.as_ref().map(text::moves).unwrap_or_default();
        format!("{moves}{}", text::done_at("activated", response.cursor))
    })?;
    next_step::after_activation(session, response.cursor);
    Ok(())
}
