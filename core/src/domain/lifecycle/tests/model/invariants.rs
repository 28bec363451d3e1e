//! What holds of the world after every step, whatever the reference thinks.

use std::collections::BTreeMap;

use super::operation::{ModelAnswer, ModelOperation};
use super::policy_rows::PolicyRows;
use super::world::ModelWorld;
use crate::domain::error::Result;
use crate::domain::version::VersionState;

/// Compares the world before and after an operation.
pub(super) fn check(before: &ModelWorld, after: &ModelWorld, operation: &ModelOperation, answer: &Result<ModelAnswer>) {
    match answer {
        Ok(answer) if answer.wrote => assert_eq!(after.revision, before.revision + 1, "one change, one event"),
        _ => {
            let later = ModelWorld { now: after.now, ..before.clone() };
            assert_eq!(after, &later, "nothing was accepted, so nothing but the time changed");
        }
    }
    for (old, new) in before.policies.iter().zip(&after.policies) {
        rows_last(old, new);
        numbers_have_no_gap(new);
        labels_are_unique(new);
        only_published_is_active(new);
    }
    pointers_are_chained(after);
    if let (ModelOperation::Draft { policy, .. }, Ok(ModelAnswer { wrote: true, .. })) = (operation, answer) {
        drafts_are_bounded(&after.policies[*policy]);
    }
}

/// Checks that no row is removed or rewritten: what ended or was published is byte for byte as it was.
fn rows_last(old: &PolicyRows, new: &PolicyRows) {
    assert!(new.versions.len() <= old.versions.len() + 1, "an operation makes one version at most");
    for (number, was) in &old.versions {
        let is = new.versions.get(number).expect("rows are kept");
        assert_eq!((&is.digest, &is.label, is.number), (&was.digest, &was.label, was.number));
        if !was.state.is_open() {
            assert_eq!(is, was, "a version that ended or was published never changes");
        }
        let locked = was.state == VersionState::Staged && is.state == VersionState::Draft;
        assert!(!locked, "a staged version does not become a draft again");
        assert_eq!(is.etag() == was.etag(), is == was, "the etag tells every change");
    }
}

/// Checks that every number up to the highest is a version, so that none can be used again.
fn numbers_have_no_gap(rows: &PolicyRows) {
    let numbers: Vec<i64> = rows.versions.keys().copied().collect();
    assert_eq!(numbers, (1..=rows.policy.latest_version).collect::<Vec<_>>());
}

fn labels_are_unique(rows: &PolicyRows) {
    let mut holders = BTreeMap::new();
    for version in
        rows.versions.values().filter(|version| version.state.is_open() || version.state == VersionState::Published)
    {
        if let Some(label) = &version.label {
            let other = holders.insert(label.to_string(), version.number);
            assert_eq!(other, None, "two live versions hold {label}");
        }
    }
}

fn only_published_is_active(rows: &PolicyRows) {
    let active = rows.policy.active_version;
    if active != 0 {
        assert_eq!(rows.versions[&active].state, VersionState::Published, "only published versions are active");
    }
}

/// Checks that the log alone says where every pointer is, and each move where it came from.
fn pointers_are_chained(world: &ModelWorld) {
    for (policy, rows) in world.policies.iter().enumerate() {
        let mut pointer = 0;
        for change in world.moves_of(policy) {
            assert_eq!(change.previous, pointer, "a move tells where the pointer was");
            let digest = rows.versions.get(&change.version).map(|version| &version.digest);
            assert_eq!(change.digest.as_ref(), digest, "a move tells what it points to");
            pointer = change.version;
        }
        assert_eq!(pointer, rows.policy.active_version);
    }
}

fn drafts_are_bounded(rows: &PolicyRows) {
    let open = rows.versions.values().filter(|version| version.state.is_open()).count();
    let limit = rows.policy.settings.max_open_drafts as usize;
    assert!(limit == 0 || open <= limit, "{open} open drafts, over {limit}");
}
