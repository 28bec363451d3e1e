//! The lifecycle against a reference model, and its worked states.
//!
//! `world` obeys the decisions as the service does, `reference` is written from the design alone. Random operations go
//! to both: they must answer alike and look alike after every step, and `invariants` must hold of the world by itself.

mod fixtures;
mod invariants;
mod operation;
mod reference;
mod worked_states;
mod world;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

pub(super) use self::fixtures::{digest, new_policy, new_version, policy_name};
use self::operation::{Operation, operation};
use self::reference::Reference;
use self::world::World;
use super::super::error::Reason;

const STEPS_MAX: usize = 80;

/// Everything the operations can be refused for.
const REFUSALS: [Reason; 16] = [
    Reason::InvalidArgument,
    Reason::DuplicateTarget,
    Reason::VersionNotFound,
    Reason::LabelContentConflict,
    Reason::NoActiveVersion,
    Reason::NoPreviousVersion,
    Reason::AlreadyActive,
    Reason::NoOpenDraft,
    Reason::SeveralOpenDrafts,
    Reason::TooManyOpenDrafts,
    Reason::VersionNotOpen,
    Reason::VersionNotPublished,
    Reason::ValidationFailed,
    Reason::ApprovalsMissing,
    Reason::EtagMismatch,
    Reason::ExpectedActiveMismatch,
];

/// Does one operation in both, compares, and says what it was refused for.
fn step(world: &mut World, reference: &mut Reference, operation: &Operation) -> Option<Reason> {
    let before = world.clone();
    let answer = world.apply(operation);
    match (&answer, reference.apply(operation)) {
        (Ok(answer), Ok(expected)) => assert_eq!(answer, &expected, "{operation:?}"),
        (Err(error), Err(expected)) => {
            assert_eq!(error.reason, expected.reason, "{operation:?}: {error}");
            for (key, value) in &expected.details {
                assert_eq!(error.metadata.get(key), Some(value), "{key} of {operation:?}: {error}");
            }
        }
        (answer, expected) => panic!("{operation:?} gave {answer:?}, expected {expected:?}"),
    }
    assert_eq!(world.picture(), reference.lines, "{operation:?}");
    invariants::check(&before, world, operation, &answer);
    answer.err().map(|error| error.reason)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn decisions_agree_with_the_reference(operations in vec(operation(), 1..STEPS_MAX)) {
        let (mut world, mut reference) = (World::new(), Reference::new());
        for operation in &operations {
            step(&mut world, &mut reference, operation);
        }
    }
}

/// Agreement on what never happens proves nothing: the same generator, from a fixed seed, reaches every answer.
#[test]
fn the_operations_reach_every_answer() {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(ProptestConfig::default(), rng);
    let (mut accepted, mut refused) = (Vec::new(), REFUSALS.to_vec());
    for _ in 0..200 {
        let operations = vec(operation(), STEPS_MAX).new_tree(&mut runner).unwrap().current();
        let (mut world, mut reference) = (World::new(), Reference::new());
        for operation in &operations {
            match step(&mut world, &mut reference, operation) {
                Some(reason) => refused.retain(|expected| *expected != reason),
                None => accepted.push(operation.verb()),
            }
        }
    }
    accepted.sort_unstable();
    accepted.dedup();
    assert_eq!(refused, [], "never refused for these");
    assert_eq!(accepted, operation::VERBS, "accepted");
}
