//! ListPolicies.

use std::collections::{BTreeMap, BTreeSet};

use super::use_cases::Policies;
use crate::domain::Result;
use crate::domain::command::{ListPage, PageRequest};
use crate::domain::limits::POLICIES_SCANNED_MAX;
use crate::domain::listing::{AnnotatedPolicy, PolicyFilter};
use crate::domain::name::{NamespaceId, PolicyId};
use crate::domain::pointed_policy::PointedPolicy;
use crate::domain::policy::Policy;
use crate::service::page_reader::PageReader;
use crate::store::ReadTx;

impl Policies {
    /// Returns a page of policies.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, `DATA_LOSS`.
    pub async fn list_policies(
        &self,
        namespace: &NamespaceId,
        page: &PageRequest<PolicyId>,
        filter: &PolicyFilter,
    ) -> Result<ListPage<PolicyId, PointedPolicy>> {
        let tx = self.log.store.read().await?;
        tx.namespace(namespace).await?;
        let mut reader = PageReader::searching(page, !filter.wanted.is_empty(), POLICIES_SCANNED_MAX);
        while let Some(asked) = reader.next() {
            let found = tx.policies(namespace, &asked).await?;
            let found = add_annotations(&tx, namespace, found, filter.needs_annotations()).await?;
            let measure =
                |each: &AnnotatedPolicy| (each.policy.name.policy.clone(), each.policy.settings.json_schema.len());
            reader.add(&asked, found, measure, |each| filter.wanted.keeps(each));
        }
        let ListPage { items, reached, is_last } = reader.done();
        let policies: Vec<Policy> = items.into_iter().map(|each| each.policy).collect();
        let moved: BTreeSet<i64> = policies.iter().map(|policy| policy.active_revision).filter(|at| *at > 0).collect();
        let positions = self.log.read_positions(&tx, namespace, &Vec::from_iter(moved)).await?;
        let pointed =
            |policy: Policy| PointedPolicy { activation: positions.get(&policy.active_revision).copied(), policy };
        Ok(ListPage { items: policies.into_iter().map(pointed).collect(), reached, is_last })
    }
}

/// Adds the annotations of the newest published versions, if they are needed.
async fn add_annotations(
    tx: &ReadTx,
    namespace: &NamespaceId,
    policies: Vec<Policy>,
    are_needed: bool,
) -> Result<Vec<AnnotatedPolicy>> {
    let mut annotations = BTreeMap::new();
    if are_needed {
        let ids: Vec<&PolicyId> = policies.iter().map(|policy| &policy.name.policy).collect();
        let newest = tx.newest_published(namespace, &ids).await?.into_iter();
        annotations.extend(newest.map(|version| (version.policy.policy, version.annotations)));
    }
    let with = |policy: Policy| AnnotatedPolicy {
        annotations: annotations.remove(&policy.name.policy).unwrap_or_default(),
        policy,
    };
    Ok(policies.into_iter().map(with).collect())
}
