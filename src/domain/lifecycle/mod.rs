//! The decisions of a version's life: facts in, one decision or one error out.
//!
//! Pure and total. The caller has locked the namespace, so the facts hold until the decision is written.

mod activate;
mod draft;
mod publish;

#[cfg(test)]
mod model;

pub use activate::{TargetFacts, activate, check_activate, check_reason, deactivate, rollback};
pub use draft::{DraftDecision, DraftFacts, abandon, draft, resolve_open};
pub use publish::{StageDecision, check_stageable, publish, stage};

use super::error::{Error, Reason, Result};
use super::version::{Version, VersionState};

/// A given etag must be the current one.
pub fn check_etag(given: Option<i64>, current: i64, resource: &str) -> Result<()> {
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
    let hint = match version.state {
        VersionState::Published => "a published version never changes; draft a new one",
        _ => "draft a new version",
    };
    Err(Error::new(
        Reason::VersionNotOpen,
        format!("{} is {}, not DRAFT or STAGED: {hint}", version.name(), version.state.as_str()),
    )
    .with("state", version.state.as_str())
    .about(version.name()))
}
