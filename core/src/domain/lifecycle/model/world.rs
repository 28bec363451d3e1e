//! The decisions, obeyed: what the service does with the store, done to maps.
//!
//! Decides nothing itself. Facts are gathered and decisions written down exactly as the use cases do it.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::super::super::approval::Approval;
use super::super::super::command::{self, PointerTarget};
use super::super::super::error::{Error, Reason, Result};
use super::super::super::etag::Etag;
use super::super::super::event::PointerChange;
use super::super::super::label::Label;
use super::super::super::limits::APPROVAL_TTL_SECONDS;
use super::super::super::policy::Policy;
use super::super::super::report::{Check, CheckFinding, CheckResult, Report};
use super::super::super::time::Micros;
use super::super::super::version::{Version, VersionState};
use super::super::{
    self as lifecycle, ApproveFacts, DraftDecision, DraftFacts, PointerMove, PublishBasis, PublishFacts, StageDecision,
    TargetFacts,
};
use super::fixtures::{
    content_of, digest, draft_request, index_of, namespace, new_policy, new_version, person, point_to, policy_name,
    published, version_name,
};
use super::operation::{
    Aim, Answer, BAD, LABELS, LAX, Line, Moved, Operation, POLICIES, Publish, Rests, Row, Settings,
};

/// The etag that a version has after it was written so often: the current one by the current number alone.
fn etag_after(version: &Version, edits: Option<i64>) -> Option<Etag> {
    edits.map(|edits| Version { edits, ..version.clone() }.etag())
}

/// A policy with its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shelf {
    pub(super) policy: Policy,
    pub(super) versions: BTreeMap<i64, Version>,
    /// By version and approver, as the table has them.
    approvals: BTreeMap<(i64, String), Approval>,
    moves: Vec<PointerMove>,
}

/// How a pointer moved.
#[derive(Clone, Copy, PartialEq)]
enum How {
    Activated,
    RolledBack,
    Copied,
}

/// A namespace. `revision` counts accepted changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct World {
    pub(super) shelves: Vec<Shelf>,
    pub(super) pointer_log: Vec<PointerChange>,
    pub(super) revision: i64,
    pub(super) now: Micros,
}

fn reason(reasoned: bool) -> String {
    if reasoned { "because".to_owned() } else { " ".to_owned() }
}

impl Shelf {
    fn version(&self, number: i64) -> Result<&Version> {
        self.versions.get(&number).ok_or_else(|| Error::new(Reason::VersionNotFound, "absent"))
    }

    fn open(&self) -> Vec<Version> {
        self.versions.values().filter(|version| version.state.is_open()).cloned().collect()
    }

    fn meant(&self, version: Option<i64>) -> Result<Version> {
        match version {
            Some(number) => self.version(number).cloned(),
            None => lifecycle::resolve_open(&self.policy, &self.open()).cloned(),
        }
    }

    fn approvals_of(&self, version: i64) -> Vec<Approval> {
        let of_version = self.approvals.iter().filter(|((number, _), _)| *number == version);
        of_version.map(|(_, approval)| approval.clone()).collect()
    }

    /// Today's checks. A rollback gives no label: it was taken long ago.
    fn report(&self, version: &Version, label: Option<&Label>) -> Report {
        let is_strict = !self.policy.settings.json_schema.is_empty();
        let content = content_of(&version.digest);
        let content_passes = content != BAD && (content != LAX || !is_strict);
        let label_passes = label.is_none_or(|label| {
            let mut published = self.versions.values().filter(|other| other.state == VersionState::Published);
            self.policy.settings.allow_backport
                || published.all(|other| other.label.as_ref().is_none_or(|other| label.is_higher_than(other)))
        });
        let check = |id, passes| {
            let result = if passes { CheckResult::Passed } else { CheckResult::Failed };
            Check::of(id, result, vec![CheckFinding::new(result.severity(), "checked").at_place(1, 1)])
        };
        let checks = vec![
            Check::new("unusual", CheckResult::Warning, "never matters"),
            check("content", content_passes),
            check("label", label_passes),
        ];
        Report::new(version.digest.clone(), String::new(), checks, Micros(0))
    }

    fn insert(&mut self, version: Version) {
        self.policy.latest_version = version.number;
        let taken = self.versions.insert(version.number, version);
        assert_eq!(taken, None, "a number was used twice");
    }

    fn update(&mut self, version: Version) {
        assert!(self.versions.insert(version.number, version).is_some(), "only rows that are there are updated");
    }
}

impl World {
    pub(super) fn new() -> Self {
        let (versions, approvals, moves) = Default::default();
        let empty = Shelf { policy: new_policy(0), versions, approvals, moves };
        let shelves = (0..POLICIES).map(|index| Shelf { policy: new_policy(index), ..empty.clone() }).collect();
        Self { shelves, pointer_log: Vec::new(), revision: 0, now: Micros(0) }
    }

    /// What the reference can be compared with.
    pub(super) fn picture(&self) -> Vec<Line> {
        let row = |shelf: &Shelf, version: &Version| Row {
            state: version.state,
            label: version.label.as_ref().and_then(|label| LABELS.iter().position(|text| *text == label.to_string())),
            content: content_of(&version.digest),
            source: version.source_version,
            etag: version.edits,
            author: index_of(&version.author),
            approvers: approvers(&lifecycle::counting(
                &shelf.policy,
                version,
                &shelf.approvals_of(version.number),
                self.now,
            )),
        };
        let line = |(policy, shelf): (usize, &Shelf)| Line {
            settings: Settings {
                max_open_drafts: shelf.policy.settings.max_open_drafts,
                allow_backport: shelf.policy.settings.allow_backport,
                strict: !shelf.policy.settings.json_schema.is_empty(),
                required_approvals: shelf.policy.settings.required_approvals,
            },
            rows: shelf.versions.iter().map(|(number, version)| (*number, row(shelf, version))).collect(),
            pointer: shelf.policy.active_version,
            history: self.moves_of(policy).map(|change| change.version).collect(),
        };
        self.shelves.iter().enumerate().map(line).collect()
    }

    /// Every move of a policy's pointer, in order.
    pub(super) fn moves_of(&self, policy: usize) -> impl DoubleEndedIterator<Item = &PointerChange> {
        let id = policy_name(policy).policy;
        self.pointer_log.iter().filter(move |change| change.policy == id)
    }

    /// Does one operation.
    pub(super) fn apply(&mut self, operation: &Operation) -> Result<Answer> {
        let answer = match operation.clone() {
            Operation::Settings { policy, settings } => {
                self.shelves[policy].policy.edits += 1;
                let changed = &mut self.shelves[policy].policy.settings;
                changed.max_open_drafts = settings.max_open_drafts;
                changed.allow_backport = settings.allow_backport;
                changed.json_schema = if settings.strict { "{}".to_owned() } else { String::new() };
                changed.required_approvals = settings.required_approvals;
                Answer { wrote: true, ..Answer::default() }
            }
            Operation::Draft { policy, label, content, base, author, supersede_staged } => {
                self.draft(policy, label, (content, author), base, supersede_staged)?
            }
            Operation::Abandon { policy, version, etag } => {
                let version = self.shelves[policy].version(version)?.clone();
                lifecycle::abandon(&version, etag_after(&version, etag).as_ref())?;
                self.end(policy, version, VersionState::Abandoned)
            }
            Operation::Stage { policy, version, etag } => self.stage(policy, version, etag)?,
            Operation::Approve { policy, version, reviewed, approver } => {
                self.approve(policy, version, reviewed, approver)?
            }
            Operation::Reject { policy, version, reviewed, reasoned } => {
                let reason = reason(reasoned);
                lifecycle::check_reason(&reason)?;
                let version = self.shelves[policy].version(version)?.clone();
                let digest = reviewed.map_or_else(|| version.digest.clone(), digest);
                let name = version_name(policy, version.number);
                lifecycle::reject(&version, &command::RejectVersion { version: name, digest, reason })?;
                self.end(policy, version, VersionState::Rejected)
            }
            Operation::Wait => {
                self.now.0 += APPROVAL_TTL_SECONDS * 1_000_000 / 3;
                Answer::default()
            }
            Operation::Publish(asked) => self.publish(&asked)?,
            Operation::Activate { targets, reasoned } => self.activate(&targets, reason(reasoned))?,
            Operation::Rollback { policy, version, copy_forward, skip_validation, reasoned } => {
                lifecycle::check_reason(&reason(reasoned))?;
                self.rollback(policy, version, copy_forward, skip_validation)?
            }
            Operation::Deactivate { policy, expected_active, reasoned } => {
                lifecycle::check_reason(&reason(reasoned))?;
                let change = lifecycle::deactivate(&self.shelves[policy].policy, expected_active)?;
                Answer { wrote: true, moved: self.record(vec![change], How::Activated), ..Answer::default() }
            }
        };
        self.revision += i64::from(answer.wrote);
        Ok(answer)
    }

    fn end(&mut self, policy: usize, version: Version, state: VersionState) -> Answer {
        let (number, edits) = (version.number, version.edits + 1);
        self.shelves[policy].update(Version { state, edits, ..version });
        Answer { version: Some(number), wrote: true, ..Answer::default() }
    }

    fn approve(&mut self, policy: usize, number: i64, reviewed: Option<u8>, approver: usize) -> Result<Answer> {
        let shelf = &mut self.shelves[policy];
        let (version, approver) = (shelf.version(number)?, person(approver));
        let digest = reviewed.map_or_else(|| version.digest.clone(), digest);
        let name = version_name(policy, number);
        let request = command::ApproveVersion { version: name, digest, reason: String::new() };
        let facts = ApproveFacts {
            policy: &shelf.policy,
            version,
            approvals: &shelf.approvals_of(number),
            importer: None,
            store: "here",
            approver: &approver,
            now: self.now,
            revision: self.revision + 1,
        };
        let approval = lifecycle::approve(facts, &request)?;
        shelf.approvals.insert((number, approver), approval);
        Ok(Answer { version: Some(number), wrote: true, ..Answer::default() })
    }

    fn draft(
        &mut self,
        policy: usize,
        label: Option<usize>,
        (content, author): (u8, usize),
        base_version: i64,
        supersede_staged: bool,
    ) -> Result<Answer> {
        let shelf = &mut self.shelves[policy];
        let label = label.map(super::fixtures::label);
        let request = command::Draft {
            content: Bytes::copy_from_slice(&[content]),
            label: label.clone(),
            base_version,
            supersede_staged,
            ..draft_request(shelf.policy.name.clone())
        };
        let open = shelf.open();
        let mut live = shelf
            .versions
            .values()
            .filter(|version| version.state.is_open() || version.state == VersionState::Published);
        let holder = label.as_ref().and_then(|label| live.find(|version| version.label.as_ref() == Some(label)));
        let base_exists = base_version == 0 || shelf.versions.contains_key(&base_version);
        let facts = DraftFacts { policy: &shelf.policy, open: &open, label_holder: holder, base_exists, stager: "" };
        let (number, superseded) = match lifecycle::draft(facts, &request, &digest(content))? {
            DraftDecision::Existing => {
                let version = holder.map(|version| version.number);
                return Ok(Answer { version, ..Answer::default() });
            }
            DraftDecision::New { number, superseded } => (number, superseded),
        };
        for number in superseded {
            let version = shelf.version(number)?.clone();
            assert!(version.state.is_open(), "only open versions end for a new draft");
            shelf.update(Version { state: VersionState::Superseded, edits: version.edits + 1, ..version });
        }
        let version = new_version(shelf.policy.name.clone(), number, label, digest(content));
        shelf.insert(Version { base_version, author: person(author), ..version });
        Ok(Answer { version: Some(number), wrote: true, ..Answer::default() })
    }

    fn stage(&mut self, policy: usize, version: Option<i64>, etag: Option<i64>) -> Result<Answer> {
        let shelf = &mut self.shelves[policy];
        let version = shelf.meant(version)?;
        let report = shelf.report(&version, version.label.as_ref());
        let number = version.number;
        let wrote = lifecycle::stage(&version, etag_after(&version, etag).as_ref(), &report)? == StageDecision::Lock;
        if wrote {
            let edits = version.edits + 1;
            shelf.update(Version { state: VersionState::Staged, edits, stage_time: Some(Micros(1)), ..version });
        }
        Ok(Answer { version: Some(number), wrote, ..Answer::default() })
    }

    fn publish(&mut self, asked: &Publish) -> Result<Answer> {
        if asked.activate || asked.break_glass {
            lifecycle::check_reason(&reason(asked.reasoned))?;
        }
        let shelf = &mut self.shelves[asked.policy];
        let version = shelf.meant(asked.version)?;
        let report = shelf.report(&version, version.label.as_ref());
        let needs_some = shelf.policy.settings.required_approvals > 0;
        let approvals = if needs_some { shelf.approvals_of(version.number) } else { Vec::new() };
        let facts = PublishFacts { policy: &shelf.policy, version: &version, approvals: &approvals, now: self.now };
        let PublishBasis { approvals, broke_glass } = {
            let etag = etag_after(&version, asked.etag);
            lifecycle::publish(facts, etag.as_ref(), &report, asked.break_glass)?
        };
        let version = published(version);
        let changes = if asked.activate { point_to(&shelf.policy, &version)? } else { Vec::new() };
        let number = version.number;
        shelf.update(version);
        let basis = needs_some.then_some(Rests { approvers: approvers(&approvals), broke_glass });
        Ok(Answer { version: Some(number), wrote: true, moved: self.record(changes, How::Activated), basis })
    }

    fn activate(&mut self, aims: &[Aim], reason: String) -> Result<Answer> {
        let target = |aim: &Aim| command::ActivationTarget {
            policy: policy_name(aim.policy).policy,
            to: if aim.version == 0 { PointerTarget::None } else { PointerTarget::Number(aim.version) },
            expected_active: aim.expected_active,
        };
        let targets: Vec<command::ActivationTarget> = aims.iter().map(target).collect();
        let request =
            command::Activate { namespace: namespace(), targets, reason, unmoved_since: None, skip_validation: false };
        lifecycle::check_activate(&request)?;
        let facts = |aim: &Aim| {
            let shelf = &self.shelves[aim.policy];
            let version = (aim.version != 0).then(|| shelf.version(aim.version)).transpose()?;
            Ok(TargetFacts { policy: &shelf.policy, version })
        };
        let facts = aims.iter().map(facts).collect::<Result<Vec<_>>>()?;
        let changes = lifecycle::activate(&request.targets, &facts)?;
        Ok(Answer { wrote: true, moved: self.record(changes, How::Activated), ..Answer::default() })
    }

    fn rollback(&mut self, policy: usize, named: i64, copy_forward: bool, skip_validation: bool) -> Result<Answer> {
        let shelf = &self.shelves[policy];
        let number = match named {
            0 => {
                let source_of = |copy| shelf.versions.get(&copy).map_or(0, |version| version.source_version);
                lifecycle::rollback_target(&shelf.moves, source_of)
                    .ok_or_else(|| Error::new(Reason::NoPreviousVersion, "nothing before"))?
            }
            named => named,
        };
        let version = shelf.version(number)?.clone();
        let report = (!skip_validation).then(|| shelf.report(&version, None));
        let change = lifecycle::rollback(&shelf.policy, &version, report.as_ref())?;
        if !copy_forward {
            let moved = self.record(vec![change], How::RolledBack);
            return Ok(Answer { version: Some(number), wrote: true, moved, ..Answer::default() });
        }
        lifecycle::check_copy(&shelf.policy, &version)?;
        let copy = Version {
            number: shelf.policy.latest_version + 1,
            label: None,
            base_version: number,
            source_version: number,
            edits: 0,
            ..version
        };
        let (number, copy) = (copy.number, published(copy));
        let changes = point_to(&shelf.policy, &copy)?;
        self.shelves[policy].insert(copy);
        Ok(Answer { version: Some(number), wrote: true, moved: self.record(changes, How::Copied), ..Answer::default() })
    }

    fn record(&mut self, changes: Vec<PointerChange>, how: How) -> Vec<Moved> {
        let mut moved = Vec::new();
        for change in changes {
            let policy = (0..POLICIES).find(|index| policy_name(*index).policy == change.policy).unwrap();
            self.shelves[policy].policy.active_version = change.version;
            self.shelves[policy].moves.push(PointerMove {
                version: change.version,
                previous: change.previous,
                is_rollback: how != How::Activated,
                is_copy: how == How::Copied,
            });
            let content = change.digest.as_ref().map(content_of);
            moved.push(Moved { policy, version: change.version, content, previous: change.previous });
            self.pointer_log.push(change);
        }
        moved
    }
}

fn approvers(approvals: &[Approval]) -> Vec<usize> {
    approvals.iter().map(|approval| index_of(&approval.approver)).collect()
}
