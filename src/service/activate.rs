//! Activate: one or many pointers of a namespace, moved or removed in one transaction, one event, one statement, one push.

use super::write::Begun;
use super::{Context, Service};
use crate::domain::command::{Activate, PointerTarget, Target};
use crate::domain::event::{Change, Cursor, EventKind, Fingerprint, Head, Position};
use crate::domain::lifecycle::{self, TargetFacts};
use crate::domain::name::{NamespaceId, PolicyId, PolicyName};
use crate::domain::outcome::Activated;
use crate::domain::policy::Policy;
use crate::domain::version::Version;
use crate::domain::{Error, Reason, Result};
use crate::store::ReadTx;

impl Service {
    /// Moves and removes pointers, all or none.
    ///
    /// # Errors
    /// `POLICY_NOT_FOUND`, `VERSION_NOT_FOUND`, `KEY_STATE_WRONG`, and those of `lifecycle::check_activate` and `lifecycle::activate`.
    pub async fn activate(&self, context: &Context, request: Activate) -> Result<Activated> {
        lifecycle::check_activate(&request)?;
        let call = self.call(context, "Activate", &request)?;
        let mut write = match call.begin(&request.namespace).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        if let Some(since) = request.unmoved_since {
            check_unmoved(write.tx.read(), &request.namespace, write.tx.head(), since).await?;
        }
        let (policies, versions) = read_targets(write.tx.read(), &request.namespace, &request.targets).await?;
        let facts = facts(&request, &policies, &versions)?;
        let pointers = lifecycle::activate(&request.targets, &facts)?;
        for version in &versions {
            // The statement is about to vouch for these rows.
            self.signer.publishable(version)?;
        }
        let mut approvals = Vec::new();
        // In the order of the targets, in which a check of the log counts them again.
        for TargetFacts { policy, version } in &facts {
            if let Some(version) = version.filter(|version| version.is_imported()) {
                approvals.extend(self.reviewed(write.tx.read(), policy, version, context.now).await?);
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
            ..Change::new(EventKind::Activate, only.as_ref())
        };
        let (activated, _) = write.record_activation(change).await?;
        write.finish(activated).await
    }
}

async fn check_unmoved(tx: &ReadTx, namespace: &NamespaceId, head: Head, since: Position) -> Result<()> {
    let moved = Cursor { revision: tx.last_move(namespace).await?, ..head.cursor };
    let is_in_log = since.cursor.revision > 0 && since.cursor <= head.cursor;
    let found = match since.event {
        Some(_) if is_in_log => Fingerprint::of(&tx.event(namespace, since.cursor.revision).await?.hash),
        _ => None,
    };
    lifecycle::check_unmoved(since, found, moved, head.cursor)
}

/// All policies and all versions of the targets: three queries at most, however many there are.
async fn read_targets(tx: &ReadTx, namespace: &NamespaceId, targets: &[Target]) -> Result<(Vec<Policy>, Vec<Version>)> {
    let ids: Vec<&PolicyId> = targets.iter().map(|target| &target.policy).collect();
    let (mut numbers, mut labels) = (Vec::new(), Vec::new());
    for Target { policy, to, .. } in targets {
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
    let find = |target: &Target| {
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
