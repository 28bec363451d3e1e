//! The record of a version in an event that changes its state.

use crate::domain::event::VersionChange;
use crate::domain::version::Version;

/// Returns the entry for a version that changed its state in an event.
pub(super) fn describe_version(version: &Version) -> VersionChange {
    VersionChange {
        policy: version.policy.policy.clone(),
        version: version.number,
        state: version.state,
        digest: version.digest.clone(),
        adopted: None,
    }
}
