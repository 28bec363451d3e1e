//! What an event says of a version that changed its state.

use crate::domain::event::VersionChange;
use crate::domain::version::Version;

/// What an event says of a version that changed its state.
pub(super) fn state_change(version: &Version) -> VersionChange {
    VersionChange {
        policy: version.policy.policy.clone(),
        version: version.number,
        state: version.state,
        digest: version.digest.clone(),
        adopted: None,
    }
}
