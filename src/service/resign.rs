//! Signing again what a key signed: new manifests beside the old ones, and a new statement for what is in force.
//!
//! Who stole the key may have forged versions with it. Invariant: only what the sealed log says was published is signed
//! again; whatever it does not say stays by the old key, and is an alarm.

use std::collections::BTreeSet;

use super::write::Begun;
use super::{Context, Service};
use crate::domain::command::{PageRequest, RequestOptions};
use crate::domain::event::{Change, EventKind, PointerChange, VersionChange};
use crate::domain::limits::{
    ACTIVATION_CONTENT_MAX_BYTES, PAGE_MAX_ITEMS, RESIGN_BATCH_MAX, RESIGN_CALL_MAX, REVOKED_VERSIONS_NAMED_MAX,
};
use crate::domain::name::{NamespaceId, PolicyId, PolicyName};
use crate::domain::policy::Policy;
use crate::domain::version::{Version, VersionState};
use crate::domain::{Error, Reason, Result};
use crate::signing::{PublicKey, TYP_ACTIVATION, TYP_BUNDLE, jws};
use crate::store::{ReadTx, VERSIONS_PER_SCAN};
use crate::watch::Verify as _;

type Target = (PolicyId, i64);

impl Service {
    /// The versions whose manifest is by a key: names of the first, and how many.
    pub(super) async fn signed_by(&self, key: &PublicKey) -> Result<(Vec<String>, i64)> {
        let (mut names, mut count) = (Vec::new(), 0);
        for namespace in self.all_namespaces().await? {
            let mut after = None;
            while let Some((targets, last)) = self.scan(&namespace, after.as_ref(), key).await? {
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

    async fn resign_in_force(&self, context: &Context, key: &PublicKey, reason: &str) -> Result<()> {
        let (manifest, statement) = (jws::head(TYP_BUNDLE, key)?, jws::head(TYP_ACTIVATION, key)?);
        for namespace in self.all_namespaces().await? {
            // Who signs by the key still holds the lock of a namespace; who takes it from here on signs by another.
            drop(self.store.begin(&namespace).await?);
            let mut after: Option<PolicyId> = None;
            loop {
                let tx = self.store.read().await?;
                let found = tx.active_heads(&namespace, after.as_ref(), manifest.len(), statement.len()).await?;
                drop(tx);
                let Some(last) = found.last() else { break };
                after = Some(last.policy.clone());
                let is_full = found.len() == VERSIONS_PER_SCAN;
                let by_key = found.into_iter().filter(|row| row.manifest == manifest || row.statement == statement);
                let targets: Vec<Target> = by_key.map(|row| (row.policy, row.number)).collect();
                self.resign_targets(context, &namespace, key, &targets, reason).await?;
                if !is_full {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Signs again what a key signed: all that is in force, then of the rest as much as one call does. Answers how many
    /// versions are left.
    pub(super) async fn resign(&self, context: &Context, key: &PublicKey, reason: &str) -> Result<i64> {
        self.resign_in_force(context, key, reason).await?;
        let (mut signed, mut left) = (0, 0);
        for namespace in self.all_namespaces().await? {
            let mut after = None;
            while let Some((targets, last)) = self.scan(&namespace, after.as_ref(), key).await? {
                let mut done = 0;
                if signed < RESIGN_CALL_MAX {
                    done = self.resign_targets(context, &namespace, key, &targets, reason).await?;
                }
                signed += done;
                left += i64::try_from(targets.len() - done.min(targets.len())).unwrap_or(i64::MAX);
                after = Some(last);
            }
        }
        Ok(left)
    }

    async fn all_namespaces(&self) -> Result<Vec<NamespaceId>> {
        let tx = self.store.read().await?;
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

    /// The versions of the next rows whose manifest is by a key, and the last row; none when there are no more rows.
    async fn scan(
        &self,
        namespace: &NamespaceId,
        after: Option<&Target>,
        key: &PublicKey,
    ) -> Result<Option<(Vec<Target>, Target)>> {
        let head = jws::head(TYP_BUNDLE, key)?;
        let rows = self.store.read().await?.manifest_heads(namespace, after, head.len()).await?;
        let Some(last) = rows.last().map(|row| (row.policy.clone(), row.number)) else { return Ok(None) };
        let by_key = rows.into_iter().filter(|row| row.manifest == head).map(|row| (row.policy, row.number));
        Ok(Some((by_key.collect(), last)))
    }

    /// Signs targets again, in batches that subscribers take as one message each; answers how many manifests were.
    async fn resign_targets(
        &self,
        context: &Context,
        namespace: &NamespaceId,
        key: &PublicKey,
        targets: &[Target],
        reason: &str,
    ) -> Result<usize> {
        if targets.is_empty() {
            return Ok(0);
        }
        let sizes = self.store.read().await?.content_sizes(namespace, targets).await?;
        let (mut done, mut batch, mut bytes) = (0, Vec::new(), 0);
        for target in targets {
            let size = sizes.get(target).copied().unwrap_or(0);
            if batch.len() == RESIGN_BATCH_MAX || (bytes + size > ACTIVATION_CONTENT_MAX_BYTES && !batch.is_empty()) {
                done += self.resign_batch(context, namespace, key, &batch, reason).await?;
                (batch, bytes) = (Vec::new(), 0);
            }
            bytes += size;
            batch.push(target.clone());
        }
        Ok(done + self.resign_batch(context, namespace, key, &batch, reason).await?)
    }

    async fn resign_batch(
        &self,
        context: &Context,
        namespace: &NamespaceId,
        key: &PublicKey,
        targets: &[Target],
        reason: &str,
    ) -> Result<usize> {
        if let Err(error) = self.hub.check_thawed(namespace).await {
            if error.reason != Reason::DataLoss {
                return Err(error);
            }
            // One namespace that does not hold keeps no other from being signed by a key that is trusted.
            tracing::error!(%namespace, "not signing again what is in a frozen namespace; thaw it, then revoke the key again");
            return Ok(0);
        }
        // A step of a call: what the whole of it did is kept with the revocation.
        let context = Context { options: RequestOptions::default(), ..context.clone() };
        let call = self.call(&context, "RevokeSigningKey", &())?;
        let Begun::Fresh(mut write) = call.begin::<()>(namespace).await? else { return Ok(0) };
        let batch = self.read_batch(write.tx.read(), namespace, key, targets).await?;
        if batch.change.pointers.is_empty() && batch.signed.is_empty() {
            return Ok(0);
        }
        let by = self.signer.view().active().map(|active| active.key_id().to_owned()).unwrap_or_default();
        let settings = serde_json::json!({"key_id": by, "revoked_key_id": key.key_id()});
        let change = Change { reason: reason.to_owned(), settings: Some(settings), ..batch.change };
        let revision = write.tx.head().next().revision;
        write.tx.insert_manifests(&by, &batch.signed, revision).await?;
        write.record(change).await?;
        write.finish(()).await?;
        Ok(batch.signed.len())
    }

    /// What has to be signed again of a batch, as it is under the lock.
    async fn read_batch(
        &self,
        tx: &ReadTx,
        namespace: &NamespaceId,
        key: &PublicKey,
        targets: &[Target],
    ) -> Result<Batch> {
        let ids: Vec<&PolicyId> =
            targets.iter().map(|(policy, _)| policy).collect::<BTreeSet<_>>().into_iter().collect();
        let policies = tx.policies_named(namespace, &ids).await?;
        let named: Vec<(&PolicyId, i64)> = targets.iter().map(|(policy, number)| (policy, *number)).collect();
        let versions = versions_that_hold(tx, namespace, &named).await?;
        let is_active = |policy: &Policy| versions.iter().any(|version| points_to(policy, version));
        let revisions = policies.iter().filter(|policy| is_active(policy)).map(|policy| policy.active_revision);
        let statements = tx.statements(namespace, revisions).await?;
        let proven = self.proven(tx, namespace, &versions).await?;
        let is_by = |token: &str| jws::named_key(token).is_some_and(|named| named == key.key_id());

        let mut batch = Batch { change: Change::new(EventKind::Resign, None), signed: Vec::new() };
        for version in versions.iter().filter(|version| version.state == VersionState::Published) {
            let target = (version.policy.policy.clone(), version.number);
            let policy = policies.iter().find(|policy| points_to(policy, version));
            let statement =
                policy.and_then(|policy| statements.get(&policy.active_revision)).map(|row| row.statement.as_str());
            let by_key = is_by(&version.manifest);
            if !by_key && !statement.is_some_and(is_by) {
                continue;
            }
            let manifest = self.signer.published(version);
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
                batch.signed.push((target.0.clone(), target.1, self.signer.sign_again(&manifest)?));
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

    /// Those versions of which a sealed event says that this publisher published this digest.
    async fn proven(&self, tx: &ReadTx, namespace: &NamespaceId, versions: &[Version]) -> Result<BTreeSet<Target>> {
        let policies: BTreeSet<&PolicyId> = versions.iter().map(|version| &version.policy.policy).collect();
        let times: BTreeSet<_> = versions.iter().filter_map(|version| version.publish_time).collect();
        let (policies, times): (Vec<_>, Vec<_>) = (policies.into_iter().collect(), times.into_iter().collect());
        let mut proven = BTreeSet::new();
        for event in tx.events_at_times(namespace, &policies, &times).await? {
            let Ok(payload) = self.signer.event(&event) else { continue };
            let published = payload.versions.iter().filter(|change| change.state == VersionState::Published);
            for change in published.filter(|_| payload.kind != EventKind::Resign) {
                let same = |version: &&Version| {
                    version.policy.policy == change.policy
                        && version.number == change.version
                        && version.digest == change.digest
                        && version.publisher == payload.actor
                };
                if versions.iter().any(|version| same(&version)) {
                    proven.insert((change.policy.clone(), change.version));
                }
            }
        }
        if versions.iter().any(|version| !version.origin_manifests.is_empty()) {
            self.add_imported(tx, namespace, versions, &mut proven).await?;
        }
        Ok(proven)
    }

    /// Adds those versions of which a sealed event says that they were imported as published, with this digest.
    async fn add_imported(
        &self,
        tx: &ReadTx,
        namespace: &NamespaceId,
        versions: &[Version],
        proven: &mut BTreeSet<Target>,
    ) -> Result<()> {
        let Some(import) = tx.imports(namespace).await?.into_iter().next() else { return Ok(()) };
        for event in tx.events_of_import(namespace, import.create_time, import.update_time).await? {
            let Ok(payload) = self.signer.event(&event) else { continue };
            let published = payload.versions.iter().filter(|change| change.state == VersionState::Published);
            for change in published.filter(|_| payload.kind == EventKind::ImportNamespace) {
                let same = |version: &Version| {
                    !version.origin_manifests.is_empty()
                        && version.policy.policy == change.policy
                        && version.number == change.version
                        && version.digest == change.digest
                };
                if versions.iter().any(same) {
                    proven.insert((change.policy.clone(), change.version));
                }
            }
        }
        Ok(())
    }
}

/// Versions as they are. One whose row does not verify holds up no other: it is said aloud, and stays as it is.
async fn versions_that_hold(tx: &ReadTx, namespace: &NamespaceId, named: &[(&PolicyId, i64)]) -> Result<Vec<Version>> {
    match tx.versions_named(namespace, named).await {
        Err(error) if error.reason == Reason::DataLoss => {}
        found => return found,
    }
    let mut found = Vec::new();
    for one in named {
        match tx.versions_named(namespace, std::slice::from_ref(one)).await {
            Ok(version) => found.extend(version),
            Err(error) if error.reason == Reason::DataLoss => {
                tracing::error!(%error, detail = error.internal, "not signing a version again");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// What one event signs again.
#[derive(Debug)]
struct Batch {
    change: Change,
    signed: Vec<(PolicyId, i64, String)>,
}

fn points_to(policy: &Policy, version: &Version) -> bool {
    policy.name == version.policy && policy.active_version == version.number
}
