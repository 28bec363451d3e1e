//! What the world and the reference are asked to do, and how they answer.
//!
//! Few policies, labels, contents and numbers, all literal: operations collide often, and a failing sequence shrinks to
//! one that can be read.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;

use super::super::super::error::Reason;
use super::super::super::version::VersionState;

/// How many policies there are. They are named by index.
pub(super) const POLICIES: usize = 2;
/// Labels by index, in SemVer order, which is not their order as text.
pub(super) const LABELS: [&str; 4] = ["1.0.0-rc.1", "1.0.0", "1.9.0", "1.10.0"];
/// Contents by index: two that always pass, one that fails in a strict policy, one that always fails.
pub(super) const CONTENTS: u8 = 4;
/// The content that fails in a strict policy.
pub(super) const LAX: u8 = 2;
/// The content that always fails.
pub(super) const BAD: u8 = 3;

/// What the owner of a policy decides, as far as the lifecycle cares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) max_open_drafts: u32,
    pub(super) allow_backport: bool,
    pub(super) strict: bool,
    pub(super) required_approvals: u32,
}

/// One target of an activation.
#[derive(Debug, Clone)]
pub(super) struct Aim {
    pub(super) policy: usize,
    pub(super) version: i64,
    pub(super) expected_active: Option<i64>,
}

/// One request. `version: None` names just the policy; `reasoned` says whether a reason was given.
#[derive(Debug, Clone)]
pub(super) enum Operation {
    Settings { policy: usize, settings: Settings },
    Draft { policy: usize, label: Option<usize>, content: u8, base: i64 },
    Abandon { policy: usize, version: i64, etag: Option<i64> },
    Stage { policy: usize, version: Option<i64>, etag: Option<i64> },
    Publish { policy: usize, version: Option<i64>, etag: Option<i64>, activate: bool, reasoned: bool },
    Activate { targets: Vec<Aim>, reasoned: bool },
    Rollback { policy: usize, version: i64, copy_forward: bool, skip_validation: bool, reasoned: bool },
    Deactivate { policy: usize, expected_active: Option<i64>, reasoned: bool },
}

/// Every verb, sorted; `Activate` of several policies is one of its own.
pub(super) const VERBS: [&str; 11] = [
    "abandon",
    "activate",
    "activate several",
    "copy forward",
    "deactivate",
    "draft",
    "publish",
    "publish and activate",
    "rollback",
    "settings",
    "stage",
];

impl Operation {
    pub(super) fn verb(&self) -> &'static str {
        match self {
            Self::Settings { .. } => "settings",
            Self::Draft { .. } => "draft",
            Self::Abandon { .. } => "abandon",
            Self::Stage { .. } => "stage",
            Self::Publish { activate: false, .. } => "publish",
            Self::Publish { activate: true, .. } => "publish and activate",
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
pub(super) struct Moved {
    pub(super) policy: usize,
    pub(super) version: i64,
    pub(super) content: Option<u8>,
    pub(super) previous: i64,
}

/// An accepted operation. `version` is the one it was about, `wrote` whether it was an event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) version: Option<i64>,
    pub(super) wrote: bool,
    pub(super) moved: Vec<Moved>,
}

/// A refused operation. The error must hold these details, and may hold more.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) reason: Reason,
    pub(super) details: BTreeMap<&'static str, String>,
}

/// A version, as both sides can tell it. `etag` counts from 1 with every change of state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) state: VersionState,
    pub(super) label: Option<usize>,
    pub(super) content: u8,
    pub(super) source: i64,
    pub(super) etag: i64,
}

/// A policy, as both sides can tell it. `history` is every place its pointer was moved to, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) settings: Settings,
    pub(super) rows: BTreeMap<i64, Row>,
    pub(super) pointer: i64,
    pub(super) history: Vec<i64>,
}

fn settings() -> impl Strategy<Value = Settings> {
    (0..=3u32, any::<bool>(), any::<bool>(), prop_oneof![19 => Just(0u32), 1 => Just(1)]).prop_map(
        |(max_open_drafts, allow_backport, strict, required_approvals)| Settings {
            max_open_drafts,
            allow_backport,
            strict,
            required_approvals,
        },
    )
}

/// Mostly the first few, so that the same versions are met again in another state.
fn number() -> impl Strategy<Value = i64> {
    prop_oneof![4 => 1..=3i64, 1 => 4..=8i64]
}

fn aim(policy: impl Strategy<Value = usize>) -> impl Strategy<Value = Aim> {
    let version = prop_oneof![30 => number(), 1 => Just(0)];
    (policy, version, weighted(0.2, 0..=3i64)).prop_map(|(policy, version, expected_active)| Aim {
        policy,
        version,
        expected_active,
    })
}

/// One target, one for each policy, or any.
fn targets() -> impl Strategy<Value = Vec<Aim>> {
    prop_oneof![
        4 => vec(aim(0..POLICIES), 1),
        4 => (aim(Just(0)), aim(Just(1))).prop_map(|(one, other)| vec![one, other]),
        1 => vec(aim(0..POLICIES), 0..=3),
    ]
}

/// Any request. Drafts and publishing come often, so that there is something to activate.
pub(super) fn operation() -> impl Strategy<Value = Operation> {
    let policy = || 0..POLICIES;
    let named = || weighted(0.8, number());
    let etag = || weighted(0.4, prop_oneof![2 => Just(1i64), 1 => 2..=3i64]);
    let reasoned = || prop::bool::weighted(0.95);
    let base = prop_oneof![8 => Just(0i64), 2 => number()];
    let content = prop_oneof![8 => 0..BAD, 1 => Just(BAD)];
    let older = prop_oneof![1 => Just(0i64), 1 => number()];
    prop_oneof![
        1 => (policy(), settings()).prop_map(|(policy, settings)| Operation::Settings { policy, settings }),
        8 => (policy(), weighted(0.4, 0..LABELS.len()), content, base)
            .prop_map(|(policy, label, content, base)| Operation::Draft { policy, label, content, base }),
        2 => (policy(), number(), etag())
            .prop_map(|(policy, version, etag)| Operation::Abandon { policy, version, etag }),
        4 => (policy(), named(), etag()).prop_map(|(policy, version, etag)| Operation::Stage { policy, version, etag }),
        10 => (policy(), named(), etag(), any::<bool>(), reasoned()).prop_map(
            |(policy, version, etag, activate, reasoned)| Operation::Publish {
                policy, version, etag, activate, reasoned
            }
        ),
        6 => (targets(), reasoned())
            .prop_map(|(targets, reasoned)| Operation::Activate { targets, reasoned }),
        5 => (policy(), older, any::<bool>(), any::<bool>(), reasoned()).prop_map(
            |(policy, version, copy_forward, skip_validation, reasoned)| Operation::Rollback {
                policy, version, copy_forward, skip_validation, reasoned
            }
        ),
        2 => (policy(), weighted(0.5, 0..=4i64), reasoned()).prop_map(
            |(policy, expected_active, reasoned)| Operation::Deactivate { policy, expected_active, reasoned }
        ),
    ]
}
