//! The worked states and the numbering of the design, word for word.

use super::operation::{Aim, ModelOperation, ModelSettings, PublishOperation};
use super::world::ModelWorld;
use crate::domain::version::VersionState::{self, Abandoned, Draft, Published, Superseded};

const POLICY: usize = 0;

fn settle(world: &mut ModelWorld, operation: ModelOperation) -> Option<i64> {
    world.apply(&operation).unwrap_or_else(|error| panic!("{operation:?}: {error}")).version
}

fn draft(world: &mut ModelWorld) -> i64 {
    settle(
        world,
        ModelOperation::Draft { policy: POLICY, label: None, content: 0, base: 0, author: 0, supersede_staged: false },
    )
    .unwrap()
}

fn publish(world: &mut ModelWorld, version: i64, activate: bool) {
    let (version, break_glass) = (Some(version), false);
    let asked = PublishOperation { policy: POLICY, version, etag: None, activate, break_glass, reasoned: true };
    settle(world, ModelOperation::Publish(asked));
}

/// States by number, and the active version.
fn standing(world: &ModelWorld) -> (Vec<VersionState>, i64) {
    let rows = &world.policies[POLICY];
    (rows.versions.values().map(|version| version.state).collect(), rows.policy.active_version)
}

#[test]
fn the_worked_states_are_walked() {
    let mut world = ModelWorld::new();
    assert_eq!(standing(&world), (vec![], 0), "nothing");

    assert_eq!(draft(&mut world), 1);
    assert_eq!(standing(&world), (vec![Draft], 0), "draft v1");

    publish(&mut world, 1, true);
    assert_eq!(standing(&world), (vec![Published], 1), "published v1 active");

    assert_eq!(draft(&mut world), 2);
    assert_eq!(standing(&world), (vec![Published, Draft], 1), "+ draft v2");

    publish(&mut world, 2, false);
    assert_eq!(standing(&world), (vec![Published, Published], 1), "publishing alone moves no pointer");
    let targets = vec![Aim { policy: POLICY, version: 2, expected_active: Some(1) }];
    settle(&mut world, ModelOperation::Activate { targets, reasoned: true });
    assert_eq!(standing(&world), (vec![Published, Published], 2), "v1 inactive, v2 active");

    assert_eq!(draft(&mut world), 3);
    assert_eq!(standing(&world), (vec![Published, Published, Draft], 2), "+ draft v3");

    let rows = world.policies[POLICY].versions.clone();
    let (copy_forward, skip_validation) = (false, false);
    let back = ModelOperation::Rollback { policy: POLICY, version: 0, copy_forward, skip_validation, reasoned: true };
    assert_eq!(settle(&mut world, back), Some(1));
    assert_eq!(standing(&world), (vec![Published, Published, Draft], 1), "roll back to v1");
    assert_eq!(world.policies[POLICY].versions, rows, "v2 and draft v3 untouched");
}

#[test]
fn nothing_then_the_first_number_is_1() {
    assert_eq!(draft(&mut ModelWorld::new()), 1);
}

#[test]
fn after_published_3_comes_4() {
    let mut world = ModelWorld::new();
    for number in 1..=3 {
        assert_eq!(draft(&mut world), number);
        publish(&mut world, number, false);
    }
    assert_eq!(draft(&mut world), 4);
}

#[test]
fn after_published_2_and_draft_5_comes_6() {
    let mut world = ModelWorld::new();
    for number in 1..=5 {
        assert_eq!(draft(&mut world), number);
    }
    publish(&mut world, 2, true);
    assert_eq!(draft(&mut world), 6);
}

#[test]
fn an_abandoned_or_superseded_number_is_not_used_again() {
    let mut world = ModelWorld::new();
    let settings = ModelSettings { max_open_drafts: 1, ..ModelSettings::default() };
    settle(&mut world, ModelOperation::Settings { policy: POLICY, settings });
    assert_eq!((draft(&mut world), draft(&mut world)), (1, 2));
    settle(&mut world, ModelOperation::Abandon { policy: POLICY, version: 2, etag: Some(1) });
    assert_eq!(draft(&mut world), 3);
    assert_eq!(standing(&world), (vec![Superseded, Abandoned, Draft], 0));
}

#[test]
fn a_copy_forward_takes_the_next_number_after_the_drafts() {
    let mut world = ModelWorld::new();
    for number in 1..=3 {
        assert_eq!(draft(&mut world), number);
    }
    publish(&mut world, 1, true);
    publish(&mut world, 2, true);
    let (copy_forward, skip_validation) = (true, false);
    let back = ModelOperation::Rollback { policy: POLICY, version: 1, copy_forward, skip_validation, reasoned: true };
    assert_eq!(settle(&mut world, back), Some(4));
    assert_eq!(standing(&world), (vec![Published, Published, Draft, Published], 4));
    assert_eq!(world.policies[POLICY].versions[&4].source_version, 1);
}
