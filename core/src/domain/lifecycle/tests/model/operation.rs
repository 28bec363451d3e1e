//! What the world and the reference are asked to do, and how they answer.
//!
//! Few policies, labels, contents and numbers, all literal: operations collide often, and a failing sequence shrinks to
//! one that can be read.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;

use crate::domain::error::Reason;
use crate::domain::version::VersionState;

/// Sets how many policies there are. They are named by index.
pub(super) const POLICIES: usize = 2;
/// Labels by index, in SemVer order, which is not their order as text.
pub(super) const LABELS: [&str; 4] = ["1.0.0-rc.1", "1.0.0", "1.9.0", "1.10.0"];
/// Contents by index: two that always pass, one that fails in a strict policy, one that always fails.
pub(super) const CONTENTS: u8 = 4;
/// The content that fails in a strict policy.
pub(super) const LAX: u8 = 2;
/// The content that always fails.
pub(super) const BAD: u8 = 3;

/// Stands for the version of a policy that is under way: the newest staged one, or else the newest draft.
pub(super) const UNDER_WAY: i64 = -1;
/// Principals by index. Each may write, and each may approve.
pub(super) const PEOPLE: usize = 3;

/// Holds what the owner of a policy decides, as far as the lifecycle cares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ModelSettings {
    pub(super) max_open_drafts: u32,
    pub(super) allow_backport: bool,
    pub(super) strict: bool,
    pub(super) required_approvals: u32,
}

/// Describes one target of an activation.
#[derive(Debug, Clone)]
pub(super) struct Aim {
    pub(super) policy: usize,
    pub(super) version: i64,
    pub(super) expected_active: Option<i64>,
}

/// Describes one request. `version: None` names just the policy; `reasoned` says whether a reason was given; `reviewed: None` is the
/// version's own content. `Wait` lets a third of the time pass that an approval lasts.
#[derive(Debug, Clone)]
pub(super) enum ModelOperation {
    Settings { policy: usize, settings: ModelSettings },
    Draft { policy: usize, label: Option<usize>, content: u8, base: i64, author: usize, supersede_staged: bool },
    Abandon { policy: usize, version: i64, etag: Option<i64> },
    Stage { policy: usize, version: Option<i64>, etag: Option<i64> },
    Approve { policy: usize, version: i64, reviewed: Option<u8>, approver: usize },
    Reject { policy: usize, version: i64, reviewed: Option<u8>, reasoned: bool },
    Wait,
    Publish(PublishOperation),
    Activate { targets: Vec<Aim>, reasoned: bool },
    Rollback { policy: usize, version: i64, copy_forward: bool, skip_validation: bool, reasoned: bool },
    Deactivate { policy: usize, expected_active: Option<i64>, reasoned: bool },
}

/// A request to publish.
#[derive(Debug, Clone)]
pub(super) struct PublishOperation {
    pub(super) policy: usize,
    pub(super) version: Option<i64>,
    pub(super) etag: Option<i64>,
    pub(super) activate: bool,
    pub(super) break_glass: bool,
    pub(super) reasoned: bool,
}

/// Every verb, sorted; `Activate` of several policies is one of its own.
pub(super) const VERBS: [&str; 16] = [
    "abandon",
    "activate",
    "activate several",
    "approve",
    "break glass",
    "copy forward",
    "deactivate",
    "draft",
    "publish",
    "publish and activate",
    "publish what was approved",
    "reject",
    "rollback",
    "settings",
    "stage",
    "wait",
];

impl ModelOperation {
    /// Fills in the number of the version that is under way, where it is meant: random numbers hardly ever follow one version
    /// through a review.
    pub(super) fn aimed(mut self, lines: &[ModelPolicy]) -> Self {
        let meant = match &mut self {
            Self::Stage { policy, version: Some(version), .. }
            | Self::Publish(PublishOperation { policy, version: Some(version), .. })
            | Self::Approve { policy, version, .. }
            | Self::Reject { policy, version, .. } => Some((*policy, version)),
            _ => None,
        };
        if let Some((policy, version)) = meant.filter(|(_, version)| **version == UNDER_WAY) {
            let newest = |state| {
                let mut rows = lines[policy].rows.iter().rev();
                rows.find(|(_, row)| row.state == state).map(|(number, _)| *number)
            };
            *version = newest(VersionState::Staged).or_else(|| newest(VersionState::Draft)).unwrap_or(1);
        }
        self
    }

    pub(super) fn verb(&self) -> &'static str {
        match self {
            Self::Settings { .. } => "settings",
            Self::Draft { .. } => "draft",
            Self::Abandon { .. } => "abandon",
            Self::Stage { .. } => "stage",
            Self::Approve { .. } => "approve",
            Self::Reject { .. } => "reject",
            Self::Wait => "wait",
            Self::Publish(PublishOperation { activate: false, .. }) => "publish",
            Self::Publish(PublishOperation { activate: true, .. }) => "publish and activate",
            Self::Activate { targets, .. } if targets.len() > 1 => "activate several",
            Self::Activate { .. } => "activate",
            Self::Rollback { copy_forward: false, .. } => "rollback",
            Self::Rollback { copy_forward: true, .. } => "copy forward",
            Self::Deactivate { .. } => "deactivate",
        }
    }
}

/// A pointer that moved; `content` is that of the version, none for 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ModelMove {
    pub(super) policy: usize,
    pub(super) version: i64,
    pub(super) content: Option<u8>,
    pub(super) previous: i64,
}

/// An accepted operation. `version` is the one it was about, `wrote` whether it was an event. `basis` are what a
/// publication of a policy with required approvals rests on.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ModelAnswer {
    pub(super) version: Option<i64>,
    pub(super) wrote: bool,
    pub(super) moved: Vec<ModelMove>,
    pub(super) basis: Option<Rests>,
}

/// Says who approved what was published, and whether the approvals were too few.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rests {
    pub(super) approvers: Vec<usize>,
    pub(super) broke_glass: bool,
}

/// A refused operation. The error must hold these details, and may hold more.
#[derive(Debug)]
pub(super) struct ModelRefusal {
    pub(super) reason: Reason,
    pub(super) details: BTreeMap<&'static str, String>,
}

/// Describes a version, as both sides know it. `etag` counts from 1 with every change of state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ModelRow {
    pub(super) state: VersionState,
    pub(super) label: Option<usize>,
    pub(super) content: u8,
    pub(super) source: i64,
    pub(super) etag: i64,
    pub(super) author: usize,
    /// Says whose approvals count.
    pub(super) approvers: Vec<usize>,
}

/// Describes a policy, as both sides know it. `history` is every version its pointer was moved to, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ModelPolicy {
    pub(super) settings: ModelSettings,
    pub(super) rows: BTreeMap<i64, ModelRow>,
    pub(super) pointer: i64,
    pub(super) history: Vec<i64>,
}

fn settings() -> impl Strategy<Value = ModelSettings> {
    let required_approvals = prop_oneof![2 => Just(0u32), 4 => Just(1), 2 => Just(2)];
    (0..=3u32, any::<bool>(), any::<bool>(), required_approvals).prop_map(
        |(max_open_drafts, allow_backport, strict, required_approvals)| ModelSettings {
            max_open_drafts,
            allow_backport,
            strict,
            required_approvals,
        },
    )
}

/// Returns mostly the first few numbers, so that the same versions are met again in another state.
fn number() -> impl Strategy<Value = i64> {
    prop_oneof![4 => 1..=3i64, 1 => 4..=8i64]
}

/// Returns a number, or the version that is under way.
fn aimed() -> impl Strategy<Value = i64> {
    prop_oneof![2 => number(), 3 => Just(UNDER_WAY)]
}

fn aim(policy: impl Strategy<Value = usize>) -> impl Strategy<Value = Aim> {
    let move_to = (number(), weighted(0.2, 0..=3i64));
    let removal = (Just(0i64), weighted(0.9, 0..=3i64));
    (policy, prop_oneof![12 => move_to.boxed(), 1 => removal.boxed()])
        .prop_map(|(policy, (version, expected_active))| Aim { policy, version, expected_active })
}

/// Returns one target, one for each policy, or any.
fn targets() -> impl Strategy<Value = Vec<Aim>> {
    prop_oneof![
        4 => vec(aim(0..POLICIES), 1),
        4 => (aim(Just(0)), aim(Just(1))).prop_map(|(one, other)| vec![one, other]),
        1 => vec(aim(0..POLICIES), 0..=3),
    ]
}

/// Returns the etag of a draft, of a version that was staged, or of neither.
fn etag() -> impl Strategy<Value = Option<i64>> {
    weighted(0.3, 1..=3i64)
}

fn publish() -> impl Strategy<Value = PublishOperation> {
    let flags = (any::<bool>(), prop::bool::weighted(0.15), prop::bool::weighted(0.95));
    (0..POLICIES, weighted(0.8, aimed()), etag(), flags).prop_map(|(policy, version, etag, flags)| {
        let (activate, break_glass, reasoned) = flags;
        PublishOperation { policy, version, etag, activate, break_glass, reasoned }
    })
}

/// Returns any request. Drafts and publishing come often, so that there is something to activate.
pub(super) fn operation() -> impl Strategy<Value = ModelOperation> {
    let policy = || 0..POLICIES;
    let person = || 0..PEOPLE;
    let reviewed = || weighted(0.1, 0..BAD);
    let reasoned = || prop::bool::weighted(0.95);
    let base = prop_oneof![8 => Just(0i64), 2 => number()];
    let content = prop_oneof![8 => 0..BAD, 1 => Just(BAD)];
    let older = prop_oneof![1 => Just(0i64), 1 => number()];
    prop_oneof![
        2 => (policy(), settings()).prop_map(|(policy, settings)| ModelOperation::Settings { policy, settings }),
        8 => (policy(), weighted(0.4, 0..LABELS.len()), content, base, person(), any::<bool>()).prop_map(
            |(policy, label, content, base, author, supersede_staged)| {
                ModelOperation::Draft { policy, label, content, base, author, supersede_staged }
            }
        ),
        14 => (policy(), aimed(), reviewed(), person()).prop_map(
            |(policy, version, reviewed, approver)| ModelOperation::Approve { policy, version, reviewed, approver }
        ),
        1 => (policy(), aimed(), reviewed(), reasoned()).prop_map(
            |(policy, version, reviewed, reasoned)| ModelOperation::Reject { policy, version, reviewed, reasoned }
        ),
        1 => Just(ModelOperation::Wait),
        2 => (policy(), number(), etag())
            .prop_map(|(policy, version, etag)| ModelOperation::Abandon { policy, version, etag }),
        6 => (policy(), weighted(0.8, aimed()), etag()).prop_map(|(policy, version, etag)| ModelOperation::Stage { policy, version, etag }),
        10 => publish().prop_map(ModelOperation::Publish),
        6 => (targets(), reasoned())
            .prop_map(|(targets, reasoned)| ModelOperation::Activate { targets, reasoned }),
        5 => (policy(), older, any::<bool>(), any::<bool>(), reasoned()).prop_map(
            |(policy, version, copy_forward, skip_validation, reasoned)| ModelOperation::Rollback {
                policy, version, copy_forward, skip_validation, reasoned
            }
        ),
        2 => (policy(), weighted(0.5, 0..=4i64), reasoned()).prop_map(
            |(policy, expected_active, reasoned)| ModelOperation::Deactivate { policy, expected_active, reasoned }
        ),
    ]
}
