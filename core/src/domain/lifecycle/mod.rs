//! The decisions of a version's life: facts in, one decision or one error out.
//!
//! Pure and total. The caller has locked the namespace, so the facts hold until the decision is written.

mod activate;
mod approve;
mod draft;
mod pointer_stack;
mod publish;
mod replay;

#[cfg(test)]
mod model;

pub use activate::{
    TargetFacts, activate, check_activate, check_expected, check_reason, check_unmoved, deactivate, no_active, point,
    rollback,
};
pub use approve::{ApproveFacts, Review, approve, check_copy, counting, reject, reviewed};
pub use draft::{DraftDecision, DraftFacts, abandon, draft, resolve_open};
pub use pointer_stack::{PointerMove, rollback_target};
pub use publish::{Grounds, PublishFacts, StageDecision, check_report, check_stageable, publish, stage};
pub use replay::Replay;

use super::error::{Error, Reason, Result};
use super::etag::Etag;
use super::limits::NOTE_MAX_BYTES;
use super::version::{Version, VersionState};

/// A text for people: bounded, and without NUL, which PostgreSQL keeps in no text. `field` is named in the error.
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

/// A given etag must be the current one.
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

fn check_open(version: &Version) -> Result<()> {
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
