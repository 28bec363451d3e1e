//! Activate: one or many pointers of a namespace, moved or removed in one transaction, one event, one statement, one push.

use std::collections::BTreeMap;

use super::check::{CheckKind, Subject, is_of_today};
use super::write::{Begun, Write};
use super::{Context, Service};
use crate::domain::access::{Permission, Rpc};
use crate::domain::approval::Approval;
use crate::domain::command::{Activate, ActivationTarget, PointerTarget};
use crate::domain::event::{Change, Cursor, EventKind, Fingerprint, Head, PointerChange, Position};
use crate::domain::lifecycle::{self, TargetFacts};
use crate::domain::name::{NamespaceId, PolicyId, PolicyName};
use crate::domain::outcome::Activated;
use crate::domain::policy::Policy;
use crate::domain::report::Report;
use crate::domain::version::Version;
use crate::domain::{Error, Reason, Result};
use crate::store::ReadTx;

/// How often an activation begins: once more after each time that versions had to be checked first, which nobody else waits for.
const TRIES_MAX: usize = 3;

/// Reports by policy and number.
type Reports = BTreeMap<(PolicyId, i64), Report>;

/// Targets under the lock, and where their pointers go.
#[derive(Debug)]
struct Decided {
    policies: Vec<Policy>,
    versions: Vec<Version>,
    pointers: Vec<PointerChange>,
}

impl Service {
    /// Moves and removes pointers, all or none.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`, `POLICY_NOT_FOUND`, `VERSION_NOT_FOUND`, `KEY_STATE_WRONG`, `VALIDATION_FAILED`, `CONCURRENT_CHANGE`, and
    /// those of `lifecycle::check_activate` and `lifecycle::activate`.
    pub async fn activate(&self, context: &Context, request: Activate) -> Result<Activated> {
        if request.skip_validation {
            self.require(context, &request.namespace, Rpc::Activate, Permission::Administer)?;
        }
        lifecycle::check_activate(&request)?;
        let call = self.call(context, "Activate", &request)?;
        let mut checked = Reports::new();
        for _ in 0..TRIES_MAX {
            let write = match call.begin(&request.namespace).await? {
                Begun::Replayed(answer) => return Ok(answer),
                Begun::Fresh(write) => write,
            };
            let decided = self.decide(&write, &request).await?;
            let unchecked = if request.skip_validation {
                Vec::new()
            } else {
                self.unchecked(write.tx.read(), &decided, &checked).await?
            };
            if unchecked.is_empty() {
                return self.put_in_force(write, &request, decided, &checked).await;
            }
            // A check may take seconds: nobody waits for it under the lock.
            drop(write);
            for subject in unchecked {
                let (subject, report) = self.check(subject, CheckKind::Again, context.now).await?;
                let version = subject.bundle.version;
                lifecycle::check_report(&version, &report)?;
                checked.insert((version.policy.policy, version.number), report);
            }
        }
        Err(Error::new(
            Reason::ConcurrentChange,
            "the rules of its policies changed while versions were checked; try again",
        ))
    }

    async fn decide(&self, write: &Write<'_>, request: &Activate) -> Result<Decided> {
        let tx = write.tx.read();
        if let Some(since) = request.unmoved_since {
            check_unmoved(tx, &request.namespace, write.tx.head(), since).await?;
        }
        let (policies, versions) = read_targets(tx, &request.namespace, &request.targets).await?;
        let pointers = lifecycle::activate(&request.targets, &facts(request, &policies, &versions)?);
        match pointers {
            Ok(pointers) => Ok(Decided { policies, versions, pointers }),
            Err(refusal) => Err(self.with_who_moved(tx, &policies, refusal).await),
        }
    }

    /// The versions that no report of today's rules is about, with what their checks need.
    async fn unchecked(&self, tx: &ReadTx, decided: &Decided, checked: &Reports) -> Result<Vec<Subject>> {
        let Some(first) = decided.versions.first() else { return Ok(Vec::new()) };
        let named: Vec<_> = decided.versions.iter().map(|version| (&version.policy.policy, version.number)).collect();
        let kept = tx.reports_named(&first.policy.namespace, &named).await?;
        let mut unchecked = Vec::new();
        for version in &decided.versions {
            let key = (version.policy.policy.clone(), version.number);
            let policy = decided.policies.iter().find(|policy| policy.name == version.policy);
            let policy = policy.ok_or_else(|| Error::internal("a target without its policy"))?;
            let of_today = [checked.get(&key), kept.get(&key)].into_iter().flatten();
            match of_today.into_iter().find(|report| is_of_today(report, policy, version)) {
                Some(report) => lifecycle::check_report(version, report)?,
                None => unchecked.push(self.subject_of(tx, policy.clone(), version.clone()).await?),
            }
        }
        Ok(unchecked)
    }

    async fn put_in_force(
        &self,
        mut write: Box<Write<'_>>,
        request: &Activate,
        decided: Decided,
        checked: &Reports,
    ) -> Result<Activated> {
        let Decided { policies, versions, pointers } = decided;
        for version in &versions {
            // The statement is about to vouch for these rows.
            self.signer.publishable(version)?;
            if let Some(report) = checked.get(&(version.policy.policy.clone(), version.number)) {
                write.tx.put_report(&version.policy, version.number, report).await?;
            }
        }
        let mut approvals: Vec<Approval> = Vec::new();
        // In the order of the targets, in which a check of the log counts them again.
        for TargetFacts { policy, version } in facts(request, &policies, &versions)? {
            if let Some(version) = version.filter(|version| version.is_imported()) {
                approvals.extend(self.reviewed(write.tx.read(), policy, version, write.time()).await?);
            }
        }
        let only = match request.targets.as_slice() {
            [target] => Some(target.policy.clone()),
            _ => None,
        };
        let change = Change {
            reason: request.reason.clone(),
            pointers,
            approvals,
            skipped_validation: request.skip_validation,
            ..Change::new(EventKind::Activate, only.as_ref())
        };
        let (activated, _) = write.record_activation(change).await?;
        write.finish(activated).await
    }
}

/// No pointer of a namespace may have moved after a place at which the caller read it.
///
/// # Errors
/// `EXPECTED_ACTIVE_MISMATCH`, `DATA_LOSS`.
pub(super) async fn check_unmoved(tx: &ReadTx, namespace: &NamespaceId, head: Head, since: Position) -> Result<()> {
    let moved = Cursor { revision: tx.last_move(namespace).await?, ..head.cursor };
    let is_in_log = since.cursor.revision > 0 && since.cursor <= head.cursor;
    let found = match since.event {
        Some(_) if is_in_log => Fingerprint::of(&tx.event(namespace, since.cursor.revision).await?.hash),
        _ => None,
    };
    lifecycle::check_unmoved(since, found, moved, head.cursor)
}

/// All policies and all versions of the targets: three queries at most, however many there are.
async fn read_targets(
    tx: &ReadTx,
    namespace: &NamespaceId,
    targets: &[ActivationTarget],
) -> Result<(Vec<Policy>, Vec<Version>)> {
    let ids: Vec<&PolicyId> = targets.iter().map(|target| &target.policy).collect();
    let (mut numbers, mut labels) = (Vec::new(), Vec::new());
    for ActivationTarget { policy, to, .. } in targets {
        match to {
            PointerTarget::Number(number) => numbers.push((policy, *number)),
            PointerTarget::Label(label) => labels.push((policy, label)),
            PointerTarget::None => {}
        }
    }
    let mut versions = tx.versions_named(namespace, &numbers).await?;
    versions.extend(tx.versions_labelled(namespace, &labels).await?);
    Ok((tx.policies_named(namespace, &ids).await?, versions))
}

fn facts<'a>(request: &Activate, policies: &'a [Policy], versions: &'a [Version]) -> Result<Vec<TargetFacts<'a>>> {
    let find = |target: &ActivationTarget| {
        let name = PolicyName { namespace: request.namespace.clone(), policy: target.policy.clone() };
        let policy = policies
            .iter()
            .find(|policy| policy.name == name)
            .ok_or_else(|| Error::new(Reason::PolicyNotFound, format!("{name} does not exist")).about(&name))?;
        let mut own = versions.iter().filter(|version| version.policy == name);
        let found = match &target.to {
            PointerTarget::None => return Ok(TargetFacts { policy, version: None }),
            PointerTarget::Number(number) => {
                own.find(|version| version.number == *number).ok_or_else(|| name.version_not_found(number))
            }
            PointerTarget::Label(label) => own
                .find(|version| version.label.as_ref() == Some(label))
                .ok_or_else(|| name.version_not_found(format_args!("v{label}"))),
        };
        Ok(TargetFacts { policy, version: Some(found?) })
    };
    request.targets.iter().map(find).collect()
}
