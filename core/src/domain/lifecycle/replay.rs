//! The rules, replayed over a log: whether each event is one that the decisions of this module would have made.
//!
//! A seal shows that this server wrote an event, not that it was allowed to: a decision may have been made on rows that somebody
//! had edited. Facts are what earlier events of the log say; decisions are the same functions that the server decides by.
//! Labels, checks and etags are in no event, so their rules are not replayed; by which settings they were decided is.
//! Invariant: an event always counts as what it says, so that one that was not allowed is one problem.

mod line;
mod schedules;

use std::collections::BTreeMap;

use self::line::{PolicyReplay, draft_of, settings_of};
use self::schedules::SchedulesReplay;
use super::super::command;
use super::super::error::{Error, Result};
use super::super::event::{EventKind, Payload, PointerChange, VersionChange};
use super::super::name::{PolicyId, VersionName, VersionRef};
use super::super::report::Report;
use super::super::version::{Version, VersionState};
use super::{
    ApproveFacts, DraftDecision, DraftFacts, PublishFacts, Review, StageDecision, abandon, approve, check_copy,
    deactivate, draft, point, publish, reject, reviewed, rollback, stage,
};

/// What the log of a namespace says so far.
#[derive(Debug, Default)]
pub struct Replay {
    lines: BTreeMap<PolicyId, PolicyReplay>,
    /// The last revision that changed a role binding.
    access_revision: i64,
    schedules: SchedulesReplay,
}

/// Returns a rule that an event breaks.
fn broken(message: impl Into<String>) -> Error {
    Error::data_loss(message)
}

/// Returns the words of a refusal. What is not for callers is, in a log that somebody checks, what it is about.
fn words(error: Error) -> String {
    error.internal.unwrap_or(error.message)
}

impl Replay {
    /// Takes the next event in. Answers which rule it breaks, if it breaks one.
    ///
    /// # Errors
    /// The rule in words.
    pub fn event(&mut self, payload: &Payload) -> std::result::Result<(), String> {
        let allowed = self.check(payload).and_then(|()| self.check_settings(payload));
        let allowed = allowed.and_then(|()| self.check_access(payload)).and_then(|()| self.schedules.check(payload));
        self.apply(payload);
        allowed.map_err(words)
    }

    fn line(&self, policy: &PolicyId) -> Result<&PolicyReplay> {
        self.lines.get(policy).ok_or_else(|| broken(format!("it is about the policy {policy}, which no event made")))
    }

    fn version(&self, change: &VersionChange) -> Result<(&PolicyReplay, &Version)> {
        let line = self.line(&change.policy)?;
        let version = line.versions.get(&change.version);
        let version = version.ok_or_else(|| broken(format!("no event drafted {}", name_of(change))))?;
        if version.digest == change.digest {
            return Ok((line, version));
        }
        Err(broken(format!("it changes the content of {}", name_of(change))))
    }

    fn check(&self, payload: &Payload) -> Result<()> {
        use EventKind as K;
        match payload.kind {
            K::CreatePolicy => match payload.policy.as_ref().filter(|policy| !self.lines.contains_key(*policy)) {
                Some(_) => nothing_moves(payload),
                None => Err(broken("it makes a policy that there is")),
            },
            K::UpdatePolicy => {
                self.line(about(payload)?)?;
                nothing_moves(payload)
            }
            K::Draft => self.check_draft(payload),
            K::AbandonDraft => {
                let (change, _) = self.one(payload, VersionState::Abandoned)?;
                abandon(self.version(change)?.1, None)
            }
            K::Stage => {
                let (change, _) = self.one(payload, VersionState::Staged)?;
                let version = self.version(change)?.1;
                match stage(version, None, &passed(version))? {
                    StageDecision::Lock => Ok(()),
                    StageDecision::AlreadyStaged => Err(broken(format!("{} was staged", version.name()))),
                }
            }
            K::ApproveVersion => self.check_approval(payload),
            K::RejectVersion => {
                let (change, _) = self.one(payload, VersionState::Rejected)?;
                let (_, version) = self.version(change)?;
                reject(
                    version,
                    &command::RejectVersion {
                        version: named(version),
                        digest: change.digest.clone(),
                        reason: String::new(),
                    },
                )
            }
            K::Publish | K::BreakGlass => self.check_publication(payload),
            K::Activate if !payload.versions.is_empty() => self.check_publication(payload),
            K::Activate | K::Deactivate | K::Rollback => self.check_moves(payload),
            K::Resign => self.check_resign(payload),
            K::ImportNamespace if payload.changes.is_empty() => Ok(()),
            _ if payload.versions.is_empty() && payload.changes.is_empty() => Ok(()),
            kind => Err(broken(format!("{} changes no version and moves no pointer", kind.as_str()))),
        }
    }

    /// Returns the one version that an event changes.
    fn one<'a>(&self, payload: &'a Payload, state: VersionState) -> Result<(&'a VersionChange, &PolicyReplay)> {
        match payload.versions.as_slice() {
            [change] if change.state == state && payload.policy.as_ref() == Some(&change.policy) => {
                if payload.kind != EventKind::Activate && payload.kind != EventKind::BreakGlass {
                    unmoved(payload)?;
                }
                Ok((change, self.line(&change.policy)?))
            }
            _ => Err(broken(format!("{} makes one version of its policy {}", payload.kind.as_str(), state.as_str()))),
        }
    }

    fn check_draft(&self, payload: &Payload) -> Result<()> {
        unmoved(payload)?;
        let Some((new, ended)) = payload.versions.split_last() else { return Err(broken("it drafts nothing")) };
        let policy = about(payload)?;
        let fresh;
        let line = match self.lines.get(policy) {
            Some(_) if payload.settings.is_some() => return Err(broken("it makes a policy that there is")),
            Some(line) => line,
            None if payload.settings.is_some() => {
                fresh = PolicyReplay::new(payload, policy);
                &fresh
            }
            None => return Err(broken(format!("no event made the policy {policy}"))),
        };
        if !line.is_known {
            return Ok(());
        }
        let open: Vec<Version> = line.versions.values().filter(|version| version.state.is_open()).cloned().collect();
        let facts = DraftFacts {
            policy: &line.policy,
            open: &open,
            label_holder: None,
            base_exists: true,
            stager: "",
            template: None,
        };
        let DraftDecision::New { number, superseded } =
            draft(facts, &draft_of(&line.policy, &payload.reason), &new.digest)?
        else {
            return Err(broken("it drafts what there is"));
        };
        let is_end = |change: &VersionChange| change.policy == *policy && change.state == VersionState::Superseded;
        let said: Vec<i64> = ended.iter().filter(|change| is_end(change)).map(|change| change.version).collect();
        let is_new = new.policy == *policy && new.state == VersionState::Draft && new.version == number;
        if !is_new || said != superseded || said.len() != ended.len() {
            return Err(broken(format!("the next draft of {policy} is {number} and ends {superseded:?}")));
        }
        Ok(())
    }

    fn check_approval(&self, payload: &Payload) -> Result<()> {
        unmoved(payload)?;
        let ([change], [said]) = (payload.versions.as_slice(), payload.approvals.as_slice()) else {
            return Err(broken("it approves one version once"));
        };
        let (line, version) = self.version(change)?;
        if !line.is_known {
            return Ok(());
        }
        let approvals = line.approvals_of(change.version);
        let facts = ApproveFacts {
            policy: &line.policy,
            version,
            approvals: &approvals,
            // The author, as this log knows it.
            importer: None,
            store: &payload.store,
            approver: &payload.actor,
            now: payload.time,
            revision: payload.revision,
        };
        let (digest, reason) = (change.digest.clone(), String::new());
        let given = approve(facts, &command::ApproveVersion { version: named(version), digest, reason })?;
        if given == *said && change.state == version.state {
            return Ok(());
        }
        Err(broken(format!("the approval that it tells of is not the one that {} could give", payload.actor)))
    }

    /// Checks a publication, alone or with its activation: it needs enough approvals under the requirement in force, or break-glass.
    fn check_publication(&self, payload: &Payload) -> Result<()> {
        let (change, line) = self.one(payload, VersionState::Published)?;
        let (_, version) = self.version(change)?;
        let broke_glass = payload.kind == EventKind::BreakGlass;
        if line.is_known {
            let approvals = if line.policy.settings.required_approvals > 0 {
                line.approvals_of(change.version)
            } else {
                Vec::new()
            };
            let facts = PublishFacts { policy: &line.policy, version, approvals: &approvals, now: payload.time };
            let basis = publish(facts, None, &passed(version), broke_glass)?;
            if basis.broke_glass != broke_glass || basis.approvals != payload.approvals {
                return Err(broken(format!("{} did not rest on the approvals that it names", name_of(change))));
            }
        } else {
            stage(version, None, &passed(version))?;
        }
        match payload.changes.as_slice() {
            [] if payload.kind == EventKind::Activate => Err(broken("it activates nothing")),
            [] => Ok(()),
            [moved] => {
                let published = Version { state: VersionState::Published, ..version.clone() };
                is_decided(moved, &point(&line.policy, &published)?)
            }
            _ => Err(broken("it moves more than the pointer of what it publishes")),
        }
    }

    fn check_moves(&self, payload: &Payload) -> Result<()> {
        if payload.changes.is_empty() {
            return Err(broken(format!("{} moves no pointer", payload.kind.as_str())));
        }
        let copy = match payload.versions.as_slice() {
            [] => None,
            [copy] if payload.kind == EventKind::Rollback => Some(self.check_copied(copy)?),
            _ => return Err(broken("it changes versions that it does not publish")),
        };
        let mut rests_on = Vec::new();
        for moved in &payload.changes {
            let line = self.line(&moved.policy)?;
            if moved.version == 0 && payload.kind != EventKind::Rollback {
                is_decided(moved, &deactivate(&line.policy, None)?)?;
                continue;
            }
            let copied = copy.as_ref().filter(|copy| copy.number == moved.version);
            let version = copied.or_else(|| line.versions.get(&moved.version));
            let version =
                version.ok_or_else(|| broken(format!("no event drafted {}@{}", moved.policy, moved.version)))?;
            let decided = match payload.kind {
                EventKind::Activate => point(&line.policy, version)?,
                EventKind::Rollback => rollback(&line.policy, version, None)?,
                _ => return Err(broken("it puts a version in force")),
            };
            is_decided(moved, &decided)?;
            if line.is_known {
                let approvals = line.approvals_of(moved.version);
                let was_active = line.were_active.contains(&moved.version);
                let review = Review { approvals: &approvals, was_active, now: payload.time };
                rests_on.extend(reviewed(&line.policy, version, review)?);
            }
        }
        if rests_on == payload.approvals {
            Ok(())
        } else {
            Err(broken("it does not rest on the approvals that it names"))
        }
    }

    /// Returns a version that a rollback made as a copy, published as it was made.
    fn check_copied(&self, copy: &VersionChange) -> Result<Version> {
        let line = self.line(&copy.policy)?;
        let is_published =
            |version: &&Version| version.state == VersionState::Published && version.digest == copy.digest;
        let source = line.versions.values().find(is_published);
        let source = source.ok_or_else(|| broken(format!("{} is a copy of nothing published", name_of(copy))))?;
        if line.is_known {
            check_copy(&line.policy, source)?;
        }
        if line.is_known && (copy.state, copy.version) != (VersionState::Published, line.policy.latest_version + 1) {
            return Err(broken(format!("{} is not the next version", name_of(copy))));
        }
        Ok(Version { number: copy.version, origin_manifests: Vec::new(), ..source.clone() })
    }

    /// Checks an event that signed statements again: every pointer stays where it was.
    fn check_resign(&self, payload: &Payload) -> Result<()> {
        for change in &payload.versions {
            let (_, version) = self.version(change)?;
            if (version.state, change.state) != (VersionState::Published, VersionState::Published) {
                return Err(broken(format!("it signs {} again, which is not published", name_of(change))));
            }
        }
        for moved in &payload.changes {
            if moved.version != moved.previous || self.line(&moved.policy)?.policy.active_version != moved.version {
                return Err(broken(format!("it moves the pointer of {}", moved.policy)));
            }
        }
        Ok(())
    }

    /// Checks that a decision was made by the settings in force. Schemas, labels and checks are not replayed, but which settings were read is.
    fn check_settings(&self, payload: &Payload) -> Result<()> {
        for read in &payload.settings_read {
            let line = self.lines.get(&read.policy).filter(|line| line.is_known);
            if line.is_some_and(|line| line.policy.edits != read.edits) {
                return Err(broken(format!("it was decided by settings of {} that were not in force", read.policy)));
            }
        }
        Ok(())
    }

    /// Checks that an event names the last revision which changed a role binding: only an event that carries a binding changes one.
    fn check_access(&self, payload: &Payload) -> Result<()> {
        use EventKind::{CreateRoleBinding, DeleteRoleBinding};
        let changes = matches!(payload.kind, CreateRoleBinding | DeleteRoleBinding);
        let expected = if changes { payload.revision } else { self.access_revision };
        if changes == payload.access.is_some() && payload.access_revision == expected {
            return Ok(());
        }
        Err(broken("it says something else of the role bindings than the events before it"))
    }

    /// Takes in what an event says, whether it was allowed or not.
    fn apply(&mut self, payload: &Payload) {
        self.access_revision = payload.access_revision;
        self.schedules.apply(payload);
        if let (Some(policy), Some(_)) = (&payload.policy, &payload.settings) {
            let made = PolicyReplay::new(payload, policy);
            let line = self.lines.entry(policy.clone()).or_insert(made);
            if payload.kind == EventKind::UpdatePolicy {
                line.policy.settings = settings_of(payload);
                line.policy.edits += 1;
            }
        }
        for imported in &payload.imported {
            self.lines.insert(imported.policy.clone(), PolicyReplay::imported(payload, imported));
        }
        if payload.kind == EventKind::ImportNamespace {
            // What an event from before it carried settings brought: the policy is there, and not known.
            for row in payload.rows.iter().filter(|row| row.table == "policies") {
                if let Ok(policy) = PolicyId::parse("policy", &row.key) {
                    self.lines.entry(policy.clone()).or_insert_with(|| PolicyReplay::unknown(payload, &policy));
                }
            }
        }
        for change in &payload.versions {
            let line = self
                .lines
                .entry(change.policy.clone())
                .or_insert_with(|| PolicyReplay::unknown(payload, &change.policy));
            line.change(payload, change);
        }
        for moved in &payload.changes {
            if let Some(line) = self.lines.get_mut(&moved.policy) {
                line.policy.active_version = moved.version;
                line.were_active.insert(moved.version);
            }
        }
    }
}

fn name_of(change: &VersionChange) -> String {
    format!("{}@{}", change.policy, change.version)
}

fn named(version: &Version) -> VersionName {
    VersionName { policy: version.policy.clone(), version: VersionRef::Number(version.number) }
}

fn about(payload: &Payload) -> Result<&PolicyId> {
    payload.policy.as_ref().ok_or_else(|| broken("it names no policy"))
}

/// Returns a report of checks that found nothing: no event carries another.
fn passed(version: &Version) -> Report {
    Report::new(version.digest.clone(), String::new(), Vec::new(), version.create_time)
}

fn unmoved(payload: &Payload) -> Result<()> {
    if payload.changes.is_empty() { Ok(()) } else { Err(broken(format!("{} moves no pointer", payload.kind.as_str()))) }
}

fn nothing_moves(payload: &Payload) -> Result<()> {
    unmoved(payload)?;
    if payload.versions.is_empty() { Ok(()) } else { Err(broken("it changes versions")) }
}

fn is_decided(moved: &PointerChange, decided: &PointerChange) -> Result<()> {
    if moved == decided {
        return Ok(());
    }
    let PointerChange { policy, version, .. } = moved;
    Err(broken(format!("it points {policy} to {version}, which the log does not allow")))
}

#[cfg(test)]
mod tests;
