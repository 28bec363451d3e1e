//! The history of a pointer, read as a stack: to which version a rollback returns that names none (docs/lifecycle.md#rule-8).

use super::super::event::{EventKind, Payload};
use super::super::name::PolicyId;
use super::super::version::VersionState;

/// A move of one pointer, as the log has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PointerMove {
    /// The version it moved to; 0: to none.
    pub version: i64,
    /// The version it moved from; 0: from none.
    pub previous: i64,
    /// Says whether a rollback moved it.
    pub is_rollback: bool,
    /// Says whether the rollback made the version, as a copy of an older one.
    pub is_copy: bool,
}

impl PointerMove {
    /// Returns what an event did to the pointer of a policy; none when it did not move it.
    #[must_use]
    pub fn of(payload: &Payload, policy: &PolicyId) -> Option<Self> {
        let change = payload.changes.iter().find(|change| change.policy == *policy)?;
        let is_rollback = payload.kind == EventKind::Rollback;
        let is_copy = is_rollback
            && payload.versions.iter().any(|made| {
                made.policy == *policy && made.version == change.version && made.state == VersionState::Published
            });
        Some(Self { version: change.version, previous: change.previous, is_rollback, is_copy })
    }
}

/// Returns the version that a rollback returns to: the newest that was active before the one in force, and that nobody rolled
/// back from since. `moves` are in the order of the log, and `source_of` names the version that a copy was made of.
///
/// Activating a version puts it on top. Rolling back takes away what was in force, and what stood between it and the version
/// that it returns to: so two rollbacks never return to what the first one left. A copy takes the place of its source.
#[must_use]
pub fn rollback_target(moves: &[PointerMove], source_of: impl Fn(i64) -> i64) -> Option<i64> {
    let mut stack: Vec<i64> = Vec::new();
    let mut active = 0;
    for moved in moves {
        if moved.is_rollback {
            let target = if moved.is_copy { source_of(moved.version) } else { moved.version };
            match stack.iter().position(|version| *version == target) {
                Some(place) => stack.truncate(place),
                None => stack.retain(|version| *version != active),
            }
        }
        if moved.version != 0 {
            stack.retain(|version| *version != moved.version);
            stack.push(moved.version);
        }
        active = moved.version;
    }
    if active != 0 {
        // What is in force stands on top.
        stack.pop();
    }
    stack.pop()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a history: `3` activates version 3, `-3` rolls back to it, `0` deactivates, `43` rolls back to 3 by a copy with number 4.
    fn target(history: &[i64]) -> Option<i64> {
        let mut previous = 0;
        let moved = |step: &i64| {
            let version = if *step > 9 { step / 10 } else { step.abs() };
            let moved = PointerMove { version, previous, is_rollback: *step < 0 || *step > 9, is_copy: *step > 9 };
            previous = version;
            moved
        };
        let moves: Vec<PointerMove> = history.iter().map(moved).collect();
        let source_of = |copy| history.iter().find(|step| **step / 10 == copy).map_or(0, |step| step % 10);
        rollback_target(&moves, source_of)
    }

    #[test]
    fn a_rollback_never_returns_to_what_one_left() {
        for (history, expected) in [
            (&[][..], None),
            (&[1], None),
            (&[1, 2], Some(1)),
            (&[1, 2, -1], None),
            (&[1, 2, 3, -2], Some(1)),
            (&[1, 2, 3, -2, -1], None),
            // It skips the versions between.
            (&[1, 2, 3, -1], None),
            (&[1, 2, 3, -1, 4], Some(1)),
            // Activated again after a rollback from it: it counts again.
            (&[1, 2, -1, 2], Some(1)),
            (&[1, 2, -1, 2, 3], Some(2)),
            (&[1, 2, -1, 3], Some(1)),
            // The same version twice stands where it was activated last.
            (&[1, 2, 1], Some(2)),
            (&[1, 2, 1, -2], None),
            (&[1, 1], None),
            // A deactivation is not a version to return to.
            (&[1, 0], Some(1)),
            (&[1, 2, 0], Some(2)),
            (&[1, 0, 2], Some(1)),
            (&[1, 2, 0, -2], Some(1)),
            // To a version that had been left, or that was never active.
            (&[1, 2, -1, -2], None),
            (&[1, 3, -2], Some(1)),
            // A copy stands for its source.
            (&[1, 2, 3, 42], Some(1)),
            (&[1, 2, 31], None),
            (&[1, 2, 31, 4], Some(3)),
        ] {
            assert_eq!(target(history), expected, "{history:?}");
        }
    }
}
