//! What several decisions ask first: of a text for people, of an etag, of the state of a version.

use crate::domain::error::{Error, Reason, Result};
use crate::domain::etag::Etag;
use crate::domain::limits::NOTE_MAX_BYTES;
use crate::domain::version::{Version, VersionState};

/// Checks a text for people: its length, and that it has no NUL, which PostgreSQL does not store. `field` is named in the error.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn check_note(field: &str, text: &str) -> Result<()> {
    if text.len() > NOTE_MAX_BYTES {
        return Err(Error::invalid(field, format!("is over {NOTE_MAX_BYTES} bytes")));
    }
    if text.contains('\0') {
        return Err(Error::invalid(field, "holds a NUL character"));
    }
    Ok(())
}

/// Checks that a given etag is the current one.
pub fn check_etag(given: Option<&Etag>, current: &Etag, resource: &str) -> Result<()> {
    match given {
        Some(etag) if etag != current => {
            Err(Error::new(Reason::EtagMismatch, format!("{resource} changed since it was read; read it again"))
                .with("given", etag)
                .with("current", current)
                .about(resource))
        }
        _ => Ok(()),
    }
}

/// Checks that a version is open: nothing that was published or ended is changed.
pub(super) fn check_open(version: &Version) -> Result<()> {
    if version.state.is_open() {
        return Ok(());
    }
    let (name, state) = (version.name(), version.state.as_str());
    let message = match version.state {
        VersionState::Published => {
            format!(
                "{name} is published already, and what is published never changes: activate it, or draft a new version"
            )
        }
        _ => format!("{name} is {state}, not DRAFT or STAGED: draft a new version"),
    };
    Err(Error::new(Reason::VersionNotOpen, message).with("state", state).about(name))
}
