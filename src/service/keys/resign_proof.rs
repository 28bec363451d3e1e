//! The proof that versions were published: only those that the log names are signed again.

use std::collections::BTreeSet;

use super::use_cases::SigningKeys;
use crate::domain::event::EventKind;
use crate::domain::name::{NamespaceId, PolicyId};
use crate::domain::version::{Version, VersionState};
use crate::domain::{Reason, Result};
use crate::store::ReadTx;
use crate::watch::Verify as _;

/// A version that may have to be signed again: its policy and number.
pub(super) type ResignTarget = (PolicyId, i64);

impl SigningKeys {
    /// Returns the versions for which a signed event records that this publisher published this digest.
    pub(super) async fn published_targets(
        &self,
        tx: &ReadTx,
        namespace: &NamespaceId,
        versions: &[Version],
    ) -> Result<BTreeSet<ResignTarget>> {
        let policies: BTreeSet<&PolicyId> = versions.iter().map(|version| &version.policy.policy).collect();
        let times: BTreeSet<_> = versions.iter().filter_map(|version| version.publish_time).collect();
        let (policies, times): (Vec<_>, Vec<_>) = (policies.into_iter().collect(), times.into_iter().collect());
        let mut proven = BTreeSet::new();
        for event in tx.events_at_times(namespace, &policies, &times).await? {
            let Ok(payload) = self.log.signer.event(&event) else { continue };
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

    /// Adds the versions for which a signed event records that they were imported as published, with this digest.
    async fn add_imported(
        &self,
        tx: &ReadTx,
        namespace: &NamespaceId,
        versions: &[Version],
        proven: &mut BTreeSet<ResignTarget>,
    ) -> Result<()> {
        let Some(import) = tx.imports(namespace).await?.into_iter().next() else { return Ok(()) };
        for event in tx.events_of_import(namespace, import.create_time, import.update_time).await? {
            let Ok(payload) = self.log.signer.event(&event) else { continue };
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

/// Reads versions. One whose row does not verify is logged and skipped, so that it does not block the others.
pub(super) async fn read_valid_versions(
    tx: &ReadTx,
    namespace: &NamespaceId,
    named: &[(&PolicyId, i64)],
) -> Result<Vec<Version>> {
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
