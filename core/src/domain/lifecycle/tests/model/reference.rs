//! The simplest thing that could be right: the rules of the design, said again, without the code under test.
//!
//! Never calls a decision. Where several refusals apply, their order here is the one callers may rely on.

use super::operation::{
    Aim, BAD, LABELS, LAX, ModelAnswer, ModelMove, ModelOperation, ModelPolicy, ModelRefusal, ModelRow, POLICIES,
    PublishOperation, Rests,
};
use crate::domain::digest::Digest;
use crate::domain::error::Reason;
use crate::domain::version::VersionState::{self, Abandoned, Draft, Published, Rejected, Staged, Superseded};

/// Waits that an approval does not outlast.
const WAITS: u32 = 3;

/// Policies, what was approved of them since they changed last, and how often somebody waited.
#[derive(Debug)]
pub(super) struct Reference {
    pub(super) lines: Vec<ModelPolicy>,
    given: Vec<Vec<Given>>,
    /// Holds for each policy the versions that a rollback may return to, the newest last.
    returns: Vec<Vec<i64>>,
    waited: u32,
}

/// An approval.
#[derive(Debug)]
struct Given {
    version: i64,
    approver: usize,
    at: u32,
}

type ModelOutcome<T = ModelAnswer> = Result<T, ModelRefusal>;

fn refuse<T>(reason: Reason, details: &[(&'static str, String)]) -> ModelOutcome<T> {
    Err(ModelRefusal { reason, details: details.iter().cloned().collect() })
}

fn written(version: i64, moved: Vec<ModelMove>) -> ModelOutcome {
    Ok(ModelAnswer { version: Some(version), wrote: true, moved, basis: None })
}

fn needs_reason(reasoned: bool) -> ModelOutcome<()> {
    if reasoned { Ok(()) } else { refuse(Reason::InvalidArgument, &[]) }
}

fn is_open(state: VersionState) -> bool {
    state == Draft || state == Staged
}

impl Reference {
    pub(super) fn new() -> Self {
        let given = (0..POLICIES).map(|_| Vec::new()).collect();
        Self { lines: vec![ModelPolicy::default(); POLICIES], given, returns: vec![Vec::new(); POLICIES], waited: 0 }
    }

    pub(super) fn apply(&mut self, operation: &ModelOperation) -> ModelOutcome {
        let outcome = self.done(operation);
        for (line, given) in self.lines.iter_mut().zip(&self.given) {
            for (number, row) in &mut line.rows {
                let fresh = given.iter().filter(|each| each.version == *number && self.waited < each.at + WAITS);
                row.approvers = fresh.filter(|_| row.state == Staged).map(|each| each.approver).collect();
                row.approvers.sort_unstable();
                row.approvers.dedup();
            }
        }
        outcome
    }

    fn done(&mut self, operation: &ModelOperation) -> ModelOutcome {
        match operation.clone() {
            ModelOperation::Settings { policy, settings } => {
                self.lines[policy].settings = settings;
                self.given[policy].clear();
                Ok(ModelAnswer { wrote: true, ..ModelAnswer::default() })
            }
            ModelOperation::Draft { policy, label, content, base, author, supersede_staged } => {
                self.lines[policy].draft(label, content, base, author, supersede_staged)
            }
            ModelOperation::Abandon { policy, version, etag } => {
                let line = &mut self.lines[policy];
                line.fits(version, etag)?;
                line.turn(version, Abandoned);
                written(version, vec![])
            }
            ModelOperation::Stage { policy, version, etag } => self.lines[policy].stage(version, etag),
            ModelOperation::Approve { policy, version, reviewed, approver } => {
                self.lines[policy].approve(version, reviewed, approver)?;
                self.given[policy].push(Given { version, approver, at: self.waited });
                written(version, vec![])
            }
            ModelOperation::Reject { policy, version, reviewed, reasoned } => {
                needs_reason(reasoned)?;
                self.lines[policy].fits(version, None)?;
                self.lines[policy].is_what_was_reviewed(version, reviewed)?;
                self.lines[policy].turn(version, Rejected);
                written(version, vec![])
            }
            ModelOperation::Wait => {
                self.waited += 1;
                Ok(ModelAnswer::default())
            }
            ModelOperation::Publish(asked) => {
                needs_reason(asked.reasoned || !(asked.activate || asked.break_glass))?;
                let (version, basis) = self.lines[asked.policy].publish(&asked)?;
                let moved = if asked.activate { vec![self.point(asked.policy, version)] } else { vec![] };
                written(version, moved).map(|answer| ModelAnswer { basis, ..answer })
            }
            ModelOperation::Activate { targets, reasoned } => self.activate(&targets, reasoned),
            ModelOperation::Rollback { policy, version, copy_forward, skip_validation, reasoned } => {
                needs_reason(reasoned)?;
                let source = self.lines[policy].rollback_target(version, skip_validation, self.before(policy))?;
                let version = if copy_forward { self.lines[policy].copy(source)? } else { source };
                self.leave(policy, source);
                written(version, vec![self.point(policy, version)])
            }
            ModelOperation::Deactivate { policy, expected_active, reasoned } => {
                needs_reason(reasoned)?;
                self.lines[policy].expect(expected_active)?;
                if self.lines[policy].pointer == 0 {
                    return refuse(Reason::NoActiveVersion, &[]);
                }
                Ok(ModelAnswer { wrote: true, moved: vec![self.point(policy, 0)], ..ModelAnswer::default() })
            }
        }
    }

    fn activate(&mut self, targets: &[Aim], reasoned: bool) -> ModelOutcome {
        needs_reason(reasoned)?;
        if targets.is_empty() {
            return refuse(Reason::InvalidArgument, &[]);
        }
        if (1..targets.len()).any(|later| targets[..later].iter().any(|aim| aim.policy == targets[later].policy)) {
            return refuse(Reason::DuplicateTarget, &[]);
        }
        for aim in targets.iter().filter(|aim| aim.version != 0) {
            self.lines[aim.policy].row(aim.version)?;
        }
        for aim in targets {
            self.lines[aim.policy].expect(aim.expected_active)?;
            if aim.version != 0 {
                self.lines[aim.policy].is_published(aim.version)?;
            } else if self.lines[aim.policy].pointer == 0 {
                return refuse(Reason::NoActiveVersion, &[]);
            }
        }
        let moved = targets.iter().map(|aim| self.point(aim.policy, aim.version)).collect();
        Ok(ModelAnswer { wrote: true, moved, ..ModelAnswer::default() })
    }

    fn point(&mut self, policy: usize, version: i64) -> ModelMove {
        let line = &mut self.lines[policy];
        let moved = ModelMove {
            policy,
            version,
            content: line.rows.get(&version).map(|row| row.content),
            previous: line.history.last().copied().unwrap_or(0),
        };
        line.history.push(version);
        line.pointer = version;
        if version != 0 {
            self.returns[policy].retain(|other| *other != version);
            self.returns[policy].push(version);
        }
        moved
    }

    /// Returns what is left to return to.
    fn before(&self, policy: usize) -> Option<i64> {
        self.returns[policy].iter().rev().find(|version| **version != self.lines[policy].pointer).copied()
    }

    /// Marks everything from the target of a rollback upwards as not to be returned to again; without a target, what was in force.
    fn leave(&mut self, policy: usize, target: i64) {
        let pointer = self.lines[policy].pointer;
        let returns = &mut self.returns[policy];
        if returns.contains(&target) {
            while returns.pop().is_some_and(|left| left != target) {}
        } else {
            returns.retain(|other| *other != pointer);
        }
    }
}

impl ModelPolicy {
    fn row(&self, version: i64) -> ModelOutcome<&ModelRow> {
        self.rows.get(&version).map_or_else(|| refuse(Reason::VersionNotFound, &[]), Ok)
    }

    fn open(&self) -> Vec<i64> {
        self.rows.iter().filter(|(_, row)| is_open(row.state)).map(|(number, _)| *number).collect()
    }

    fn next(&self) -> i64 {
        self.rows.keys().next_back().map_or(1, |highest| highest + 1)
    }

    fn turn(&mut self, version: i64, state: VersionState) {
        let row = self.rows.get_mut(&version).unwrap();
        row.state = state;
        row.etag += 1;
    }

    fn draft(
        &mut self,
        label: Option<usize>,
        content: u8,
        base: i64,
        author: usize,
        supersede_staged: bool,
    ) -> ModelOutcome {
        let one_draft = self.settings.max_open_drafts == 1;
        let holder = self
            .rows
            .iter()
            .find(|(_, row)| label.is_some() && row.label == label && (is_open(row.state) || row.state == Published));
        if let Some((number, row)) = holder {
            if row.content == content {
                return Ok(ModelAnswer { version: Some(*number), ..ModelAnswer::default() });
            }
            if !one_draft || row.state == Published {
                let digest = |content: u8| Digest::from_sha256(&[content; 32]).to_string();
                let details = [
                    ("existing_digest", digest(row.content)),
                    ("given_digest", digest(content)),
                    ("label", LABELS[label.unwrap()].to_owned()),
                    ("state", row.state.as_str().to_owned()),
                    ("version", number.to_string()),
                ];
                return refuse(Reason::LabelContentConflict, &details);
            }
        }
        if base != 0 {
            self.row(base)?;
        }
        let staged = self.rows.iter().find(|(_, row)| row.state == Staged);
        if let Some((number, _)) = staged.filter(|_| one_draft && !supersede_staged) {
            let details = [("version", number.to_string()), ("staged_by", String::new())];
            return refuse(Reason::VersionStaged, &details);
        }
        let limit = self.settings.max_open_drafts as usize;
        if limit > 1 && self.open().len() >= limit {
            return refuse(Reason::TooManyOpenDrafts, &[("limit", limit.to_string())]);
        }
        if one_draft {
            self.open().into_iter().for_each(|open| self.turn(open, Superseded));
        }
        let number = self.next();
        let row = ModelRow { state: Draft, label, content, source: 0, etag: 1, author, approvers: vec![] };
        self.rows.insert(number, row);
        written(number, vec![])
    }

    /// Returns the version named, or the one open draft.
    fn meant(&self, version: Option<i64>) -> ModelOutcome<i64> {
        match (version, self.open().as_slice()) {
            (Some(version), _) => self.row(version).map(|_| version),
            (None, []) => refuse(Reason::NoOpenDraft, &[]),
            (None, [one]) => Ok(*one),
            (None, several) => {
                let several: Vec<String> = several.iter().map(ToString::to_string).collect();
                refuse(Reason::SeveralOpenDrafts, &[("versions", several.join(","))])
            }
        }
    }

    /// Checks that a version is there, as it was read, and not ended.
    fn fits(&self, version: i64, etag: Option<i64>) -> ModelOutcome<()> {
        let row = self.row(version)?;
        if let Some(etag) = etag
            && etag != row.etag
        {
            // What it reads like on the wire is not the reference's to say.
            return refuse(Reason::EtagMismatch, &[]);
        }
        if is_open(row.state) {
            return Ok(());
        }
        refuse(Reason::VersionNotOpen, &[("state", row.state.as_str().to_owned())])
    }

    fn content_passes(&self, content: u8) -> ModelOutcome<()> {
        if content == BAD || (content == LAX && self.settings.strict) {
            return refuse(Reason::ValidationFailed, &[("check", "content".to_owned())]);
        }
        Ok(())
    }

    fn passes(&self, version: i64) -> ModelOutcome<()> {
        let row = self.row(version)?;
        self.content_passes(row.content)?;
        let highest = self.rows.values().filter(|other| other.state == Published).filter_map(|other| other.label).max();
        if row.label.is_some() && row.label <= highest && !self.settings.allow_backport {
            return refuse(Reason::ValidationFailed, &[("check", "label".to_owned())]);
        }
        Ok(())
    }

    fn stage(&mut self, version: Option<i64>, etag: Option<i64>) -> ModelOutcome {
        let version = self.meant(version)?;
        self.fits(version, etag)?;
        self.passes(version)?;
        if self.row(version)?.state == Staged {
            return Ok(ModelAnswer { version: Some(version), ..ModelAnswer::default() });
        }
        self.turn(version, Staged);
        written(version, vec![])
    }

    fn is_what_was_reviewed(&self, version: i64, reviewed: Option<u8>) -> ModelOutcome<()> {
        let content = self.row(version)?.content;
        if reviewed.is_none_or(|reviewed| reviewed == content) {
            return Ok(());
        }
        refuse(Reason::DigestMismatch, &[("digest", Digest::from_sha256(&[content; 32]).to_string())])
    }

    fn approve(&self, version: i64, reviewed: Option<u8>, approver: usize) -> ModelOutcome<()> {
        self.fits(version, None)?;
        if self.row(version)?.state == Draft {
            return refuse(Reason::VersionNotStaged, &[("state", "DRAFT".to_owned())]);
        }
        self.is_what_was_reviewed(version, reviewed)?;
        if self.row(version)?.author == approver {
            return refuse(Reason::SelfApproval, &[]);
        }
        Ok(())
    }

    fn approvals_missing<T>(&self, given: usize) -> ModelOutcome<T> {
        let required = self.settings.required_approvals.to_string();
        refuse(Reason::ApprovalsMissing, &[("required", required), ("given", given.to_string())])
    }

    fn publish(&mut self, asked: &PublishOperation) -> ModelOutcome<(i64, Option<Rests>)> {
        let version = self.meant(asked.version)?;
        self.fits(version, asked.etag)?;
        self.passes(version)?;
        let (approvers, required) = (self.row(version)?.approvers.clone(), self.settings.required_approvals as usize);
        let broke_glass = approvers.len() < required;
        if broke_glass && !asked.break_glass {
            return self.approvals_missing(approvers.len());
        }
        self.turn(version, Published);
        Ok((version, (required > 0).then_some(Rests { approvers, broke_glass })))
    }

    fn expect(&self, expected: Option<i64>) -> ModelOutcome<()> {
        match expected {
            Some(expected) if expected != self.pointer => {
                let details = [("expected_active", expected.to_string()), ("current_active", self.pointer.to_string())];
                refuse(Reason::ExpectedActiveMismatch, &details)
            }
            _ => Ok(()),
        }
    }

    fn is_published(&self, version: i64) -> ModelOutcome<()> {
        let row = self.row(version)?;
        if row.state == Published {
            return Ok(());
        }
        refuse(Reason::VersionNotPublished, &[("state", row.state.as_str().to_owned())])
    }

    fn rollback_target(&self, named: i64, skip_validation: bool, before: Option<i64>) -> ModelOutcome<i64> {
        let version = match (named, before) {
            (0, None) => return refuse(Reason::NoPreviousVersion, &[]),
            (0, Some(before)) => before,
            (named, _) => named,
        };
        self.is_published(version)?;
        if version == self.pointer {
            return refuse(Reason::AlreadyActive, &[("version", version.to_string())]);
        }
        if !skip_validation {
            self.content_passes(self.row(version)?.content)?;
        }
        Ok(version)
    }

    fn copy(&mut self, source: i64) -> ModelOutcome<i64> {
        if self.settings.required_approvals > 0 {
            return self.approvals_missing(0);
        }
        let number = self.next();
        let row = ModelRow { label: None, source, etag: 1, ..self.row(source)?.clone() };
        self.rows.insert(number, row);
        Ok(number)
    }
}
