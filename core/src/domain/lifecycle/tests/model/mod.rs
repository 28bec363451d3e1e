//! The lifecycle against a reference model, and its worked states.
//!
//! `world` obeys the decisions as the service does, `reference` is written from the design alone. Random operations go
//! to both: they must answer alike and look alike after every step, and `invariants` and `separation` must hold of the
//! world by itself.

mod fixtures;
mod invariants;
mod operation;
mod policy_rows;
mod reference;
mod separation;
mod worked_states;
mod world;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

pub(in crate::domain::lifecycle) use self::fixtures::{
    digest, draft_request, label, new_policy, new_version, policy_name,
};
use self::operation::{ModelAnswer, ModelOperation, Rests, operation};
use self::reference::Reference;
use self::separation::SeparationObserver;
use self::world::ModelWorld;
use crate::domain::error::Reason;

const STEPS_MAX: usize = 80;

/// Everything the operations can be refused for.
const REFUSALS: [Reason; 19] = [
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
    Reason::VersionNotStaged,
    Reason::VersionNotPublished,
    Reason::ValidationFailed,
    Reason::ApprovalsMissing,
    Reason::SelfApproval,
    Reason::DigestMismatch,
    Reason::EtagMismatch,
    Reason::ExpectedActiveMismatch,
];

/// Both sides, and who watches them.
#[derive(Debug)]
struct Trial {
    world: ModelWorld,
    reference: Reference,
    observer: SeparationObserver,
}

impl Trial {
    fn new() -> Self {
        Self { world: ModelWorld::new(), reference: Reference::new(), observer: SeparationObserver::default() }
    }

    /// Does one operation in both, compares, and says what came of it.
    fn step(&mut self, operation: &ModelOperation) -> Result<ModelAnswer, Reason> {
        let operation = &operation.clone().aimed(&self.reference.lines);
        let before = self.world.clone();
        let answer = self.world.apply(operation);
        match (&answer, self.reference.apply(operation)) {
            (Ok(answer), Ok(expected)) => assert_eq!(answer, &expected, "{operation:?}"),
            (Err(error), Err(expected)) => {
                assert_eq!(error.reason, expected.reason, "{operation:?}: {error}");
                for (key, value) in &expected.details {
                    assert_eq!(error.metadata.get(key), Some(value), "{key} of {operation:?}: {error}");
                }
            }
            (answer, expected) => panic!("{operation:?} gave {answer:?}, expected {expected:?}"),
        }
        assert_eq!(self.world.picture(), self.reference.lines, "{operation:?}");
        invariants::check(&before, &self.world, operation, &answer);
        self.observer.see(&before, &self.world, operation, &answer);
        answer.map_err(|error| error.reason)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn decisions_agree_with_the_reference(operations in vec(operation(), 1..STEPS_MAX)) {
        let mut trial = Trial::new();
        for operation in &operations {
            let _ = trial.step(operation);
        }
    }
}

/// Returns what was accepted, by the words of `VERBS`.
fn verbs(operation: &ModelOperation, answer: &ModelAnswer) -> Vec<&'static str> {
    let basis = answer.basis.as_ref().map(|Rests { broke_glass, .. }| match broke_glass {
        true => "break glass",
        false => "publish what was approved",
    });
    std::iter::once(operation.verb()).chain(basis).collect()
}

/// Agreement on what never happens proves nothing: the same generator, from a fixed seed, reaches every answer.
#[test]
fn the_operations_reach_every_answer() {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(ProptestConfig::default(), rng);
    let (mut accepted, mut refused) = (Vec::new(), REFUSALS.to_vec());
    for _ in 0..200 {
        let operations = vec(operation(), STEPS_MAX).new_tree(&mut runner).unwrap().current();
        let mut trial = Trial::new();
        for operation in &operations {
            match trial.step(operation) {
                Err(reason) => refused.retain(|expected| *expected != reason),
                Ok(answer) => accepted.extend(verbs(operation, &answer)),
            }
        }
    }
    accepted.sort_unstable();
    accepted.dedup();
    assert_eq!(refused, [], "never refused for these");
    assert_eq!(accepted, operation::VERBS, "accepted");
}
