//! The decisions, obeyed: what the service does with the store, done to maps.
//!
//! Decides nothing itself. Facts are gathered and decisions written down exactly as the use cases do it.

use bytes::Bytes;

use super::fixtures::{
    content_of, digest, draft_request, index_of, namespace, new_policy, new_version, person, point_to, policy_name,
    published, version_name,
};
use super::operation::{
    Aim, LABELS, ModelAnswer, ModelMove, ModelOperation, ModelPolicy, ModelRow, ModelSettings, POLICIES,
    PublishOperation, Rests,
};
use super::policy_rows::PolicyRows;
use crate::domain::approval::Approval;
use crate::domain::command::{self, PointerTarget};
use crate::domain::error::{Error, Reason, Result};
use crate::domain::etag::Etag;
use crate::domain::event::PointerChange;
use crate::domain::lifecycle::{
    self as lifecycle, ApproveFacts, DraftDecision, DraftFacts, PointerMove, PublishBasis, PublishFacts, StageDecision,
    TargetFacts,
};
use crate::domain::limits::APPROVAL_TTL_SECONDS;
use crate::domain::time::Micros;
use crate::domain::version::{Version, VersionState};

/// Returns the etag that a version has after it was written so often: the current one by the current number alone.
fn etag_after(version: &Version, edits: Option<i64>) -> Option<Etag> {
    edits.map(|edits| Version { edits, ..version.clone() }.etag())
}

/// Says how a pointer moved.
#[derive(Clone, Copy, PartialEq)]
enum How {
    Activated,
    RolledBack,
    Copied,
}

/// A namespace. `revision` counts accepted changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ModelWorld {
    pub(super) policies: Vec<PolicyRows>,
    pub(super) pointer_log: Vec<PointerChange>,
    pub(super) revision: i64,
    pub(super) now: Micros,
}

fn reason(reasoned: bool) -> String {
    if reasoned { "because".to_owned() } else { " ".to_owned() }
}

impl ModelWorld {
    pub(super) fn new() -> Self {
        let policies = (0..POLICIES).map(|index| PolicyRows::new(new_policy(index))).collect();
        Self { policies, pointer_log: Vec::new(), revision: 0, now: Micros(0) }
    }

    /// Returns what the reference can be compared with.
    pub(super) fn picture(&self) -> Vec<ModelPolicy> {
        let row = |rows: &PolicyRows, version: &Version| ModelRow {
            state: version.state,
            label: version.label.as_ref().and_then(|label| LABELS.iter().position(|text| *text == label.to_string())),
            content: content_of(&version.digest),
            source: version.source_version,
            etag: version.edits,
            author: index_of(&version.author),
            approvers: approvers(&lifecycle::counting(
                &rows.policy,
                version,
                &rows.approvals_of(version.number),
                self.now,
            )),
        };
        let line = |(policy, rows): (usize, &PolicyRows)| ModelPolicy {
            settings: ModelSettings {
                max_open_drafts: rows.policy.settings.max_open_drafts,
                allow_backport: rows.policy.settings.allow_backport,
                strict: !rows.policy.settings.json_schema.is_empty(),
                required_approvals: rows.policy.settings.required_approvals,
            },
            rows: rows.versions.iter().map(|(number, version)| (*number, row(rows, version))).collect(),
            pointer: rows.policy.active_version,
            history: self.moves_of(policy).map(|change| change.version).collect(),
        };
        self.policies.iter().enumerate().map(line).collect()
    }

    /// Returns every move of a policy's pointer, in order.
    pub(super) fn moves_of(&self, policy: usize) -> impl DoubleEndedIterator<Item = &PointerChange> {
        let id = policy_name(policy).policy;
        self.pointer_log.iter().filter(move |change| change.policy == id)
    }

    /// Does one operation.
    pub(super) fn apply(&mut self, operation: &ModelOperation) -> Result<ModelAnswer> {
        let answer = match operation.clone() {
            ModelOperation::Settings { policy, settings } => {
                self.policies[policy].policy.edits += 1;
                let changed = &mut self.policies[policy].policy.settings;
                changed.max_open_drafts = settings.max_open_drafts;
                changed.allow_backport = settings.allow_backport;
                changed.json_schema = if settings.strict { "{}".to_owned() } else { String::new() };
                changed.required_approvals = settings.required_approvals;
                ModelAnswer { wrote: true, ..ModelAnswer::default() }
            }
            ModelOperation::Draft { policy, label, content, base, author, supersede_staged } => {
                self.draft(policy, label, (content, author), base, supersede_staged)?
            }
            ModelOperation::Abandon { policy, version, etag } => {
                let version = self.policies[policy].version(version)?.clone();
                lifecycle::abandon(&version, etag_after(&version, etag).as_ref())?;
                self.end(policy, version, VersionState::Abandoned)
            }
            ModelOperation::Stage { policy, version, etag } => self.stage(policy, version, etag)?,
            ModelOperation::Approve { policy, version, reviewed, approver } => {
                self.approve(policy, version, reviewed, approver)?
            }
            ModelOperation::Reject { policy, version, reviewed, reasoned } => {
                let reason = reason(reasoned);
                lifecycle::check_reason(&reason)?;
                let version = self.policies[policy].version(version)?.clone();
                let digest = reviewed.map_or_else(|| version.digest.clone(), digest);
                let name = version_name(policy, version.number);
                lifecycle::reject(&version, &command::RejectVersion { version: name, digest, reason })?;
                self.end(policy, version, VersionState::Rejected)
            }
            ModelOperation::Wait => {
                self.now.0 += APPROVAL_TTL_SECONDS * 1_000_000 / 3;
                ModelAnswer::default()
            }
            ModelOperation::Publish(asked) => self.publish(&asked)?,
            ModelOperation::Activate { targets, reasoned } => self.activate(&targets, reason(reasoned))?,
            ModelOperation::Rollback { policy, version, copy_forward, skip_validation, reasoned } => {
                lifecycle::check_reason(&reason(reasoned))?;
                self.rollback(policy, version, copy_forward, skip_validation)?
            }
            ModelOperation::Deactivate { policy, expected_active, reasoned } => {
                lifecycle::check_reason(&reason(reasoned))?;
                let change = lifecycle::deactivate(&self.policies[policy].policy, expected_active)?;
                ModelAnswer { wrote: true, moved: self.record(vec![change], How::Activated), ..ModelAnswer::default() }
            }
        };
        self.revision += i64::from(answer.wrote);
        Ok(answer)
    }

    fn end(&mut self, policy: usize, version: Version, state: VersionState) -> ModelAnswer {
        let (number, edits) = (version.number, version.edits + 1);
        self.policies[policy].update(Version { state, edits, ..version });
        ModelAnswer { version: Some(number), wrote: true, ..ModelAnswer::default() }
    }

    fn approve(&mut self, policy: usize, number: i64, reviewed: Option<u8>, approver: usize) -> Result<ModelAnswer> {
        let rows = &mut self.policies[policy];
        let (version, approver) = (rows.version(number)?, person(approver));
        let digest = reviewed.map_or_else(|| version.digest.clone(), digest);
        let name = version_name(policy, number);
        let request = command::ApproveVersion { version: name, digest, reason: String::new() };
        let facts = ApproveFacts {
            policy: &rows.policy,
            version,
            approvals: &rows.approvals_of(number),
            importer: None,
            store: "here",
            approver: &approver,
            now: self.now,
            revision: self.revision + 1,
        };
        let approval = lifecycle::approve(facts, &request)?;
        rows.approvals.insert((number, approver), approval);
        Ok(ModelAnswer { version: Some(number), wrote: true, ..ModelAnswer::default() })
    }

    fn draft(
        &mut self,
        policy: usize,
        label: Option<usize>,
        (content, author): (u8, usize),
        base_version: i64,
        supersede_staged: bool,
    ) -> Result<ModelAnswer> {
        let rows = &mut self.policies[policy];
        let label = label.map(super::fixtures::label);
        let request = command::Draft {
            content: Bytes::copy_from_slice(&[content]),
            label: label.clone(),
            base_version,
            supersede_staged,
            ..draft_request(rows.policy.name.clone())
        };
        let open = rows.open();
        let mut live = rows
            .versions
            .values()
            .filter(|version| version.state.is_open() || version.state == VersionState::Published);
        let holder = label.as_ref().and_then(|label| live.find(|version| version.label.as_ref() == Some(label)));
        let base_exists = base_version == 0 || rows.versions.contains_key(&base_version);
        let facts = DraftFacts {
            policy: &rows.policy,
            open: &open,
            label_holder: holder,
            base_exists,
            stager: "",
            template: None,
        };
        let (number, superseded) = match lifecycle::draft(facts, &request, &digest(content))? {
            DraftDecision::Existing => {
                let version = holder.map(|version| version.number);
                return Ok(ModelAnswer { version, ..ModelAnswer::default() });
            }
            DraftDecision::New { number, superseded } => (number, superseded),
        };
        for number in superseded {
            let version = rows.version(number)?.clone();
            assert!(version.state.is_open(), "only open versions end for a new draft");
            rows.update(Version { state: VersionState::Superseded, edits: version.edits + 1, ..version });
        }
        let version = new_version(rows.policy.name.clone(), number, label, digest(content));
        rows.insert(Version { base_version, author: person(author), ..version });
        Ok(ModelAnswer { version: Some(number), wrote: true, ..ModelAnswer::default() })
    }

    fn stage(&mut self, policy: usize, version: Option<i64>, etag: Option<i64>) -> Result<ModelAnswer> {
        let rows = &mut self.policies[policy];
        let version = rows.meant(version)?;
        let report = rows.report(&version, version.label.as_ref());
        let number = version.number;
        let wrote = lifecycle::stage(&version, etag_after(&version, etag).as_ref(), &report)? == StageDecision::Lock;
        if wrote {
            let edits = version.edits + 1;
            rows.update(Version { state: VersionState::Staged, edits, stage_time: Some(Micros(1)), ..version });
        }
        Ok(ModelAnswer { version: Some(number), wrote, ..ModelAnswer::default() })
    }

    fn publish(&mut self, asked: &PublishOperation) -> Result<ModelAnswer> {
        if asked.activate || asked.break_glass {
            lifecycle::check_reason(&reason(asked.reasoned))?;
        }
        let rows = &mut self.policies[asked.policy];
        let version = rows.meant(asked.version)?;
        let report = rows.report(&version, version.label.as_ref());
        let needs_some = rows.policy.settings.required_approvals > 0;
        let approvals = if needs_some { rows.approvals_of(version.number) } else { Vec::new() };
        let facts = PublishFacts { policy: &rows.policy, version: &version, approvals: &approvals, now: self.now };
        let PublishBasis { approvals, broke_glass } = {
            let etag = etag_after(&version, asked.etag);
            lifecycle::publish(facts, etag.as_ref(), &report, asked.break_glass)?
        };
        let version = published(version);
        let changes = if asked.activate { point_to(&rows.policy, &version)? } else { Vec::new() };
        let number = version.number;
        rows.update(version);
        let basis = needs_some.then_some(Rests { approvers: approvers(&approvals), broke_glass });
        Ok(ModelAnswer { version: Some(number), wrote: true, moved: self.record(changes, How::Activated), basis })
    }

    fn activate(&mut self, aims: &[Aim], reason: String) -> Result<ModelAnswer> {
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
            let rows = &self.policies[aim.policy];
            let version = (aim.version != 0).then(|| rows.version(aim.version)).transpose()?;
            Ok(TargetFacts { policy: &rows.policy, version })
        };
        let facts = aims.iter().map(facts).collect::<Result<Vec<_>>>()?;
        let changes = lifecycle::activate(&request.targets, &facts)?;
        Ok(ModelAnswer { wrote: true, moved: self.record(changes, How::Activated), ..ModelAnswer::default() })
    }

    fn rollback(
        &mut self,
        policy: usize,
        named: i64,
        copy_forward: bool,
        skip_validation: bool,
    ) -> Result<ModelAnswer> {
        let rows = &self.policies[policy];
        let number = match named {
            0 => {
                let source_of = |copy| rows.versions.get(&copy).map_or(0, |version| version.source_version);
                lifecycle::rollback_target(&rows.moves, source_of)
                    .ok_or_else(|| Error::new(Reason::NoPreviousVersion, "nothing before"))?
            }
            named => named,
        };
        let version = rows.version(number)?.clone();
        let report = (!skip_validation).then(|| rows.report(&version, None));
        let change = lifecycle::rollback(&rows.policy, &version, report.as_ref())?;
        if !copy_forward {
            let moved = self.record(vec![change], How::RolledBack);
            return Ok(ModelAnswer { version: Some(number), wrote: true, moved, ..ModelAnswer::default() });
        }
        lifecycle::check_copy(&rows.policy, &version)?;
        let copy = Version {
            number: rows.policy.latest_version + 1,
            label: None,
            base_version: number,
            source_version: number,
            edits: 0,
            ..version
        };
        let (number, copy) = (copy.number, published(copy));
        let changes = point_to(&rows.policy, &copy)?;
        self.policies[policy].insert(copy);
        Ok(ModelAnswer {
            version: Some(number),
            wrote: true,
            moved: self.record(changes, How::Copied),
            ..ModelAnswer::default()
        })
    }

    fn record(&mut self, changes: Vec<PointerChange>, how: How) -> Vec<ModelMove> {
        let mut moved = Vec::new();
        for change in changes {
            let policy = (0..POLICIES).find(|index| policy_name(*index).policy == change.policy).unwrap();
            self.policies[policy].policy.active_version = change.version;
            self.policies[policy].moves.push(PointerMove {
                version: change.version,
                previous: change.previous,
                is_rollback: how != How::Activated,
                is_copy: how == How::Copied,
            });
            let content = change.digest.as_ref().map(content_of);
            moved.push(ModelMove { policy, version: change.version, content, previous: change.previous });
            self.pointer_log.push(change);
        }
        moved
    }
}

fn approvers(approvals: &[Approval]) -> Vec<usize> {
    approvals.iter().map(|approval| index_of(&approval.approver)).collect()
}
