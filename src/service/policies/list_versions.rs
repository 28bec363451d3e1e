//! ListVersions.

use bytes::Bytes;

use super::use_cases::Policies;
use crate::domain::Result;
use crate::domain::command::{ListPage, PageRequest};
use crate::domain::lifecycle;
use crate::domain::limits::{ITEMS_SCANNED_MAX, MESSAGE_MAX_BYTES};
use crate::domain::listing::VersionFilter;
use crate::domain::name::PolicyName;
use crate::domain::version::{Version, VersionWithContent};
use crate::service::context::Context;
use crate::service::page_reader::PageReader;

impl Policies {
    /// Returns a page of versions.
    ///
    /// # Errors
    /// `POLICY_NOT_FOUND`, `DATA_LOSS`.
    pub async fn list_versions(
        &self,
        context: &Context,
        policy: &PolicyName,
        page: &PageRequest<i64>,
        filter: &VersionFilter,
        full: bool,
    ) -> Result<ListPage<i64, VersionWithContent>> {
        let tx = self.log.store.read().await?;
        let policy = tx.policy(policy).await?;
        let mut reader = PageReader::searching(page, filter.is_search, ITEMS_SCANNED_MAX);
        while let Some(asked) = reader.next() {
            let found = tx.versions(&policy.name, &asked, filter).await?;
            let measure = |version: &Version| (version.number, version.manifest.len());
            reader.add(&asked, found, measure, |version| filter.wanted.keeps(version));
        }
        let ListPage { items: versions, reached, is_last } = reader.done();
        let mut approvals = self.read_approvals_of(&tx, &policy.name.namespace, &versions).await?;
        let (mut listed, mut bytes) = (Vec::new(), 0);
        for version in versions {
            let content = if full { Some(self.log.read_content(&tx, &version).await?) } else { None };
            bytes += content.as_ref().map_or(0, Bytes::len);
            if bytes > MESSAGE_MAX_BYTES && !listed.is_empty() {
                let reached = listed.last().map(|each: &VersionWithContent| each.version.number);
                return Ok(ListPage { items: listed, reached, is_last: false });
            }
            let active = version.number == policy.active_version;
            let given = approvals.remove(&(version.policy.policy.clone(), version.number)).unwrap_or_default();
            let approvals = lifecycle::counting(&policy, &version, &given, context.now);
            listed.push(VersionWithContent { version, content, active, approvals });
        }
        Ok(ListPage { items: listed, reached, is_last })
    }
}
