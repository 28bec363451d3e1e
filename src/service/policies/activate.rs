//! Activate: one or many pointers of a namespace are moved or removed in one transaction, with one event and one statement.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::pointer_checks::check_unmoved;
use super::schedules::DueRun;
use super::use_cases::Policies;
use crate::domain::access::{Permission, Rpc};
use crate::domain::approval::Approval;
use crate::domain::command::{Activate, ActivationTarget, PointerTarget};
use crate::domain::event::{Change, EventKind, PointerChange};
use crate::domain::lifecycle;
use crate::domain::lifecycle::TargetFacts;
use crate::domain::name::{NamespaceId, PolicyId, PolicyName};
use crate::domain::outcome::Activated;
use crate::domain::policy::Policy;
use crate::domain::report::Report;
use crate::domain::version::Version;
use crate::domain::{Error, Reason, Result};
use crate::service::checking::{CheckInput, guardrails_in_force, is_of_today};
use crate::service::context::Context;
use crate::service::log::{Conclusion, IdempotentCall, Write};
use crate::store::ReadTx;

/// Number of tries: one more after each time that versions had to be checked without the lock.
const TRIES_MAX: usize = 3;

/// Reports by policy and version number.
type ReportsByVersion = BTreeMap<(PolicyId, i64), Report>;

/// The targets as read under the lock, and the moves of their pointers.
#[derive(Debug)]
struct ActivationPlan {
    policies: Vec<Policy>,
    versions: Vec<Version>,
    pointers: Vec<PointerChange>,
}

impl Policies {
    /// Moves and removes pointers, all or none.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`, `POLICY_NOT_FOUND`, `VERSION_NOT_FOUND`, `KEY_STATE_WRONG`, `VALIDATION_FAILED`, `REQUIREMENT_BROKEN`,
    /// `CONCURRENT_CHANGE`, and those of `lifecycle::check_activate` and `lifecycle::activate`.
    pub async fn activate(&self, context: &Context, request: Activate) -> Result<Activated> {
        if request.skip_validation {
            self.denials.require(context, &request.namespace, Rpc::Activate, Permission::Administer)?;
        }
        lifecycle::check_activate(&request)?;
        let call = self.writer.call(context, "Activate", &request)?;
        self.run_activation(&call, &request, None).await
    }

    /// Moves and removes pointers for a caller, or for a schedule that is due.
    ///
    /// # Errors
    /// Those of `activate`; for a schedule also those of `begin_run`.
    pub(super) async fn run_activation(
        &self,
        call: &IdempotentCall<'_>,
        request: &Activate,
        due: Option<&DueRun>,
    ) -> Result<Activated> {
        let mut checked = ReportsByVersion::new();
        for _ in 0..TRIES_MAX {
            let tried = call.try_mutate(&request.namespace, async |write| {
                if let Some(due) = due {
                    self.begin_run(write, due).await?;
                }
                let plan = self.plan(write, request).await?;
                let to_check = if request.skip_validation {
                    Vec::new()
                } else {
                    self.versions_to_check(write, &plan, &checked).await?
                };
                if to_check.is_empty() {
                    let activated = self.write_activation(write, request, due, plan, &checked).await?;
                    return Ok(Conclusion::Commit(activated));
                }
                Ok(Conclusion::RollBack(to_check))
            });
            let to_check = match tried.await? {
                Conclusion::Commit(activated) => return Ok(activated),
                Conclusion::RollBack(to_check) => to_check,
            };
            // A check may take seconds, so it runs without the lock. All run before a refusal, which then names every version at fault.
            let mut done = Vec::with_capacity(to_check.len());
            for input in to_check {
                let (input, report) = self.checks.check_before_move(input, call.context().now).await?;
                done.push((input.bundle.version, report));
            }
            lifecycle::check_reports(done.iter().map(|(version, report)| (version, report)))?;
            let of_version = |(version, report): (Version, Report)| ((version.policy.policy, version.number), report);
            checked.extend(done.into_iter().map(of_version));
        }
        Err(Error::new(
            Reason::ConcurrentChange,
            "the rules of its policies, or what is active of others that they name, changed while versions were checked; try again",
        ))
    }

    async fn plan(&self, write: &Write<'_>, request: &Activate) -> Result<ActivationPlan> {
        let tx = write.tx.read();
        if let Some(since) = request.unmoved_since {
            check_unmoved(tx, &request.namespace, write.tx.head(), since).await?;
        }
        let (policies, versions) = read_targets(tx, &request.namespace, &request.targets).await?;
        let pointers = lifecycle::activate(&request.targets, &collect_facts(request, &policies, &versions)?);
        match pointers {
            Ok(pointers) => Ok(ActivationPlan { policies, versions, pointers }),
            Err(refusal) => Err(self.add_who_moved(tx, &policies, refusal).await),
        }
    }

    /// Returns the versions without a report of today's rules, with the input of their checks.
    async fn versions_to_check(
        &self,
        write: &mut Write<'_>,
        plan: &ActivationPlan,
        checked: &ReportsByVersion,
    ) -> Result<Vec<CheckInput>> {
        if plan.versions.is_empty() {
            return Ok(Vec::new());
        }
        let named: Vec<_> = plan.versions.iter().map(|version| (&version.policy.policy, version.number)).collect();
        let kept = write.tx.read().reports_named(write.namespace(), &named).await?;
        let moved: Arc<[PointerChange]> = plan.pointers.clone().into();
        let guardrails = guardrails_in_force(write.tx.read(), write.namespace()).await?;
        let mut to_check = Vec::new();
        for version in &plan.versions {
            let key = (version.policy.policy.clone(), version.number);
            let policy = plan.policies.iter().find(|policy| policy.name == version.policy);
            let policy = policy.ok_or_else(|| Error::internal("a target without its policy"))?;
            let found = [checked.get(&key), kept.get(&key)].into_iter().flatten();
            let is_usable = |report: &&Report| report.passed() && is_of_today(report, policy, version, &guardrails);
            match found.into_iter().find(is_usable) {
                Some(report) if self.is_still_active(write, report, &moved).await? => {}
                _ => {
                    let input = self.check_input_of(write.tx.read(), policy.clone(), version.clone()).await?;
                    to_check.push(CheckInput { moved: Arc::clone(&moved), ..input });
                }
            }
        }
        Ok(to_check)
    }

    async fn write_activation(
        &self,
        write: &mut Write<'_>,
        request: &Activate,
        due: Option<&DueRun>,
        plan: ActivationPlan,
        checked: &ReportsByVersion,
    ) -> Result<Activated> {
        let ActivationPlan { policies, versions, pointers } = plan;
        if !request.skip_validation {
            self.check_dependents(write, &collect_facts(request, &policies, &versions)?).await?;
        }
        for version in &versions {
            // The statement will certify these rows.
            self.log.signer.publishable(version)?;
            if let Some(report) = checked.get(&(version.policy.policy.clone(), version.number)) {
                write.tx.put_report(&version.policy, version.number, report).await?;
            }
        }
        let mut approvals: Vec<Approval> = Vec::new();
        // In the order of the targets, which a check of the log uses to count the approvals again.
        for TargetFacts { policy, version } in collect_facts(request, &policies, &versions)? {
            if let Some(version) = version.filter(|version| version.is_imported()) {
                approvals.extend(self.approvals_for_activation(write.tx.read(), policy, version, write.time()).await?);
            }
        }
        let only = match request.targets.as_slice() {
            [target] => Some(target.policy.clone()),
            _ => None,
        };
        let schedule = match due {
            Some(due) => Some(due.end_run(write).await?),
            None => None,
        };
        let change = Change {
            reason: request.reason.clone(),
            pointers,
            approvals,
            skipped_validation: request.skip_validation,
            schedule,
            ..Change::new(EventKind::Activate, only.as_ref())
        };
        write.record_activation(change).await.map(|(activated, _)| activated)
    }
}

/// Reads all policies and all versions of the targets: at most three queries, however many there are.
pub(super) async fn read_targets(
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

pub(super) fn collect_facts<'a>(
    request: &Activate,
    policies: &'a [Policy],
    versions: &'a [Version],
) -> Result<Vec<TargetFacts<'a>>> {
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
