//! Signs again everything that a key signed: new manifests beside the old ones, and a new statement for the active set.
//!
//! An attacker who stole the key may have forged versions with it. Invariant: only versions that the signed log records as published are
//! signed again; the rest keeps the old key's signature, and is logged as an error.

use std::collections::BTreeSet;

use super::resign_proof::{ResignTarget, read_valid_versions};
use super::use_cases::SigningKeys;
use crate::domain::command::{PageRequest, RequestOptions};
use crate::domain::event::{Change, EventKind, PointerChange, VersionChange};
use crate::domain::limits::{
    ACTIVATION_CONTENT_MAX_BYTES, PAGE_MAX_ITEMS, RESIGN_BATCH_MAX, RESIGN_CALL_MAX, REVOKED_VERSIONS_NAMED_MAX,
};
use crate::domain::name::{NamespaceId, PolicyId, PolicyName};
use crate::domain::policy::Policy;
use crate::domain::version::{Version, VersionState};
use crate::domain::{Error, Reason, Result};
use crate::service::context::Context;
use crate::service::log::Conclusion;
use crate::signing::{PublicKey, TYP_ACTIVATION, TYP_BUNDLE, jws};
use crate::store::{ReadTx, VERSIONS_PER_SCAN};

/// A call that signs again everything that `key` signed.
#[derive(Debug, Clone, Copy)]
struct ResignCall<'a> {
    context: &'a Context,
    key: &'a PublicKey,
    reason: &'a str,
}

impl SigningKeys {
    /// Returns the versions whose manifest is signed by a key: the first names, and their number.
    pub(super) async fn signed_by(&self, key: &PublicKey) -> Result<(Vec<String>, i64)> {
        let (mut names, mut count) = (Vec::new(), 0);
        for namespace in self.read_all_namespaces().await? {
            let mut after = None;
            while let Some((targets, last)) = self.next_signed_by(&namespace, after.as_ref(), key).await? {
                count += i64::try_from(targets.len()).unwrap_or(i64::MAX);
                let room = REVOKED_VERSIONS_NAMED_MAX.saturating_sub(names.len());
                names.extend(
                    targets
                        .into_iter()
                        .take(room)
                        .map(|(policy, number)| PolicyName { namespace: namespace.clone(), policy }.version(number)),
                );
                after = Some(last);
            }
        }
        Ok((names, count))
    }

    async fn resign_in_force(&self, call: ResignCall<'_>) -> Result<()> {
        let (manifest, statement) = (jws::head(TYP_BUNDLE, call.key)?, jws::head(TYP_ACTIVATION, call.key)?);
        for namespace in self.read_all_namespaces().await? {
            // A write that signs with this key still holds the lock of its namespace; a write that begins after this line signs with
            // another key.
            drop(self.log.store.begin(&namespace).await?);
            let mut after: Option<PolicyId> = None;
            loop {
                let tx = self.log.store.read().await?;
                let found = tx.active_heads(&namespace, after.as_ref(), manifest.len(), statement.len()).await?;
                drop(tx);
                let Some(last) = found.last() else { break };
                after = Some(last.policy.clone());
                let is_full = found.len() == VERSIONS_PER_SCAN;
                let by_key = found.into_iter().filter(|row| row.manifest == manifest || row.statement == statement);
                let targets: Vec<ResignTarget> = by_key.map(|row| (row.policy, row.number)).collect();
                self.resign_targets(call, &namespace, &targets).await?;
                if !is_full {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Signs again: all active versions, then as many of the other versions as fit into one call. Returns how many versions are left.
    pub(super) async fn resign(&self, context: &Context, key: &PublicKey, reason: &str) -> Result<i64> {
        let call = ResignCall { context, key, reason };
        self.resign_in_force(call).await?;
        let (mut signed, mut left) = (0, 0);
        for namespace in self.read_all_namespaces().await? {
            let mut after = None;
            while let Some((targets, last)) = self.next_signed_by(&namespace, after.as_ref(), key).await? {
                let mut done = 0;
                if signed < RESIGN_CALL_MAX {
                    done = self.resign_targets(call, &namespace, &targets).await?;
                }
                signed += done;
                left += i64::try_from(targets.len() - done.min(targets.len())).unwrap_or(i64::MAX);
                after = Some(last);
            }
        }
        Ok(left)
    }

    async fn read_all_namespaces(&self) -> Result<Vec<NamespaceId>> {
        let tx = self.log.store.read().await?;
        let mut all = Vec::new();
        loop {
            let page = PageRequest { size: PAGE_MAX_ITEMS, after: all.last().cloned() };
            let found = tx.namespaces(&page).await?;
            let is_full = found.len() == page.size as usize;
            all.extend(found.into_iter().map(|namespace| namespace.id));
            if !is_full {
                return Ok(all);
            }
        }
    }

    /// Returns the versions whose manifest is signed by a key among the next rows, and the last row; none at the end.
    async fn next_signed_by(
        &self,
        namespace: &NamespaceId,
        after: Option<&ResignTarget>,
        key: &PublicKey,
    ) -> Result<Option<(Vec<ResignTarget>, ResignTarget)>> {
        let head = jws::head(TYP_BUNDLE, key)?;
        let rows = self.log.store.read().await?.manifest_heads(namespace, after, head.len()).await?;
        let Some(last) = rows.last().map(|row| (row.policy.clone(), row.number)) else { return Ok(None) };
        let by_key = rows.into_iter().filter(|row| row.manifest == head).map(|row| (row.policy, row.number));
        Ok(Some((by_key.collect(), last)))
    }

    /// Signs targets again, in batches that each reach subscribers as one message. Returns how many manifests were signed.
    async fn resign_targets(
        &self,
        call: ResignCall<'_>,
        namespace: &NamespaceId,
        targets: &[ResignTarget],
    ) -> Result<usize> {
        if targets.is_empty() {
            return Ok(0);
        }
        let sizes = self.log.store.read().await?.content_sizes(namespace, targets).await?;
        let (mut done, mut batch, mut bytes) = (0, Vec::new(), 0);
        for target in targets {
            let size = sizes.get(target).copied().unwrap_or(0);
            if batch.len() == RESIGN_BATCH_MAX || (bytes + size > ACTIVATION_CONTENT_MAX_BYTES && !batch.is_empty()) {
                done += self.resign_batch(call, namespace, &batch).await?;
                (batch, bytes) = (Vec::new(), 0);
            }
            bytes += size;
            batch.push(target.clone());
        }
        Ok(done + self.resign_batch(call, namespace, &batch).await?)
    }

    async fn resign_batch(
        &self,
        call: ResignCall<'_>,
        namespace: &NamespaceId,
        targets: &[ResignTarget],
    ) -> Result<usize> {
        let ResignCall { context, key, reason } = call;
        if let Err(error) = self.log.hub.check_thawed(namespace).await {
            if error.reason != Reason::DataLoss {
                return Err(error);
            }
            // A frozen namespace must not prevent the others from being signed again with a trusted key.
            tracing::error!(%namespace, "not signing again what is in a frozen namespace; thaw it, then revoke the key again");
            return Ok(0);
        }
        // This is a step of a call, whose answer is stored with the revocation: the step stores none.
        let context = Context { options: RequestOptions::default(), ..context.clone() };
        let step = self.writer.call(&context, "RevokeSigningKey", &())?;
        let signed = step.try_mutate(namespace, async |write| {
            let batch = self.read_batch(write.tx.read(), namespace, key, targets).await?;
            if batch.change.pointers.is_empty() && batch.signed.is_empty() {
                return Ok(Conclusion::RollBack(()));
            }
            let by = self.log.signer.view().active().map(|active| active.key_id().to_owned()).unwrap_or_default();
            let settings = serde_json::json!({"key_id": by, "revoked_key_id": key.key_id()});
            let change = Change { reason: reason.to_owned(), settings: Some(settings), ..batch.change };
            let revision = write.tx.head().next().revision;
            write.tx.insert_manifests(&by, &batch.signed, revision).await?;
            write.record(change).await?;
            Ok(Conclusion::Commit(batch.signed.len()))
        });
        match signed.await? {
            Conclusion::Commit(count) => Ok(count),
            Conclusion::RollBack(()) => Ok(0),
        }
    }

    /// Returns the versions of a batch that have to be signed again, read under the lock.
    async fn read_batch(
        &self,
        tx: &ReadTx,
        namespace: &NamespaceId,
        key: &PublicKey,
        targets: &[ResignTarget],
    ) -> Result<ResignBatch> {
        let ids: Vec<&PolicyId> =
            targets.iter().map(|(policy, _)| policy).collect::<BTreeSet<_>>().into_iter().collect();
        let policies = tx.policies_named(namespace, &ids).await?;
        let named: Vec<(&PolicyId, i64)> = targets.iter().map(|(policy, number)| (policy, *number)).collect();
        let versions = read_valid_versions(tx, namespace, &named).await?;
        let is_active = |policy: &Policy| versions.iter().any(|version| points_to(policy, version));
        let revisions = policies.iter().filter(|policy| is_active(policy)).map(|policy| policy.active_revision);
        let statements = tx.statements(namespace, revisions).await?;
        let proven = self.published_targets(tx, namespace, &versions).await?;
        let is_by = |token: &str| jws::named_key(token).is_some_and(|named| named == key.key_id());

        let mut batch = ResignBatch { change: Change::new(EventKind::Resign, None), signed: Vec::new() };
        for version in versions.iter().filter(|version| version.state == VersionState::Published) {
            let target = (version.policy.policy.clone(), version.number);
            let policy = policies.iter().find(|policy| points_to(policy, version));
            let statement =
                policy.and_then(|policy| statements.get(&policy.active_revision)).map(|row| &*row.statement);
            let by_key = is_by(&version.manifest);
            if !by_key && !statement.is_some_and(is_by) {
                continue;
            }
            let manifest = self.log.signer.published(version);
            let manifest = match manifest {
                Ok(manifest) if proven.contains(&target) => manifest,
                _ => {
                    let error =
                        Error::data_loss(format!("{}: the log does not say that it was published", version.name()));
                    tracing::error!(%error, detail = error.internal, "not signing a version again");
                    continue;
                }
            };
            if by_key {
                batch.signed.push((target.0.clone(), target.1, self.log.signer.sign_again(&manifest)?));
                batch.change.versions.push(VersionChange {
                    policy: target.0.clone(),
                    version: target.1,
                    state: version.state,
                    digest: version.digest.clone(),
                    adopted: None,
                });
            }
            if policy.is_some() {
                let (policy, version, previous) = (target.0, target.1, target.1);
                let digest = Some(manifest.digest);
                batch.change.pointers.push(PointerChange { policy, version, digest, previous });
            }
        }
        Ok(batch)
    }
}

/// The versions that one event signs again.
#[derive(Debug)]
struct ResignBatch {
    change: Change,
    signed: Vec<(PolicyId, i64, String)>,
}

fn points_to(policy: &Policy, version: &Version) -> bool {
    policy.name == version.policy && policy.active_version == version.number
}
