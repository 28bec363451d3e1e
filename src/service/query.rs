//! What was ever accepted can be asked for: versions, reports, differences.

use bytes::Bytes;

use super::check_slots::off_thread;
use super::page_reader::PageReader;
use super::{Context, Service};
use crate::checks;
use crate::domain::approval::Approval;
use crate::domain::bundle::Bundle;
use crate::domain::command::{ListPage, PageRequest};
use crate::domain::lifecycle;
use crate::domain::limits::{DIFFERENCE_MAX_BYTES, ITEMS_SCANNED_MAX, MESSAGE_MAX_BYTES};
use crate::domain::listing::VersionFilter;
use crate::domain::name::{PolicyName, VersionName, VersionRef};
use crate::domain::policy::{Policy, PolicyKind};
use crate::domain::report::Report;
use crate::domain::version::{Version, VersionState};
use crate::domain::{Error, Result};
use crate::signing::digest_of;
use crate::store::ReadTx;
use crate::watch::Verify as _;

/// A version, with its bytes when they were asked for.
#[derive(Debug, Clone)]
pub struct VersionWithContent {
    /// The version.
    pub version: Version,
    /// Its bytes.
    pub content: Option<Bytes>,
    /// Whether the policy points to it.
    pub active: bool,
    /// The approvals that count now.
    pub approvals: Vec<Approval>,
}

/// What changed between two versions.
#[derive(Debug, Clone)]
pub struct Difference {
    /// The older one.
    pub from: VersionWithContent,
    /// The newer one.
    pub to: VersionWithContent,
    /// Unified diff; empty when it is too large.
    pub unified: String,
    /// JSON Patch, empty when either can't be parsed, or it is too large.
    pub json_patch: String,
    /// Whether one of them is left out since it is above `DIFFERENCE_MAX_BYTES`.
    pub too_large: bool,
}

impl Service {
    /// The version a name means, and its policy.
    pub(super) async fn resolve(&self, tx: &ReadTx, name: &VersionName) -> Result<(Policy, Version)> {
        let policy = tx.policy(&name.policy).await?;
        let version = match &name.version {
            VersionRef::Number(number) => tx.version(&name.policy, *number).await?,
            VersionRef::Label(label) => tx.labelled(&name.policy, label).await?,
            VersionRef::Latest => tx.version(&name.policy, policy.latest_version).await?,
            VersionRef::Active if policy.active_version == 0 => return Err(lifecycle::no_active(&name.policy)),
            VersionRef::Active => tx.version(&name.policy, policy.active_version).await?,
        };
        Ok((policy, version))
    }

    /// The bytes of a version, proven to be those that were accepted.
    pub(super) async fn content_of(&self, tx: &ReadTx, version: &Version) -> Result<Bytes> {
        let content = tx.content(&version.digest).await?;
        if version.state == VersionState::Published {
            self.signer.bundle(version, &content)?;
        } else if digest_of(&content) != version.digest {
            return Err(Error::data_loss(format!("{}: its content is not that of its digest", version.name())));
        }
        Ok(content)
    }

    /// A version.
    ///
    /// # Errors
    /// `VERSION_NOT_FOUND`, `POLICY_NOT_FOUND`, `NO_ACTIVE_VERSION`, `DATA_LOSS`.
    pub async fn get_version(&self, context: &Context, name: &VersionName, full: bool) -> Result<VersionWithContent> {
        let tx = self.store.read().await?;
        let (policy, version) = self.resolve(&tx, name).await?;
        let active = policy.active_version == version.number;
        let content = if full { Some(self.content_of(&tx, &version).await?) } else { None };
        let approvals = self.approvals(&tx, &version).await?;
        let approvals = lifecycle::counting(&policy, &version, &approvals, context.now);
        Ok(VersionWithContent { version, content, active, approvals })
    }

    /// A page of versions.
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
        let tx = self.store.read().await?;
        let policy = tx.policy(policy).await?;
        let mut reader = PageReader::searching(page, filter.is_search, ITEMS_SCANNED_MAX);
        while let Some(asked) = reader.next() {
            let found = tx.versions(&policy.name, &asked, filter).await?;
            let measure = |version: &Version| (version.number, version.manifest.len());
            reader.add(&asked, found, measure, |version| filter.wanted.keeps(version));
        }
        let ListPage { items: versions, reached, is_last } = reader.done();
        let approvals = self.approvals_of(&tx, &policy.name, &versions).await?;
        let (mut listed, mut bytes) = (Vec::new(), 0);
        for version in versions {
            let content = if full { Some(self.content_of(&tx, &version).await?) } else { None };
            bytes += content.as_ref().map_or(0, Bytes::len);
            if bytes > MESSAGE_MAX_BYTES && !listed.is_empty() {
                let reached = listed.last().map(|each: &VersionWithContent| each.version.number);
                return Ok(ListPage { items: listed, reached, is_last: false });
            }
            let active = version.number == policy.active_version;
            let given = approvals.get(&version.number).map_or(&[][..], Vec::as_slice);
            let approvals = lifecycle::counting(&policy, &version, given, context.now);
            listed.push(VersionWithContent { version, content, active, approvals });
        }
        Ok(ListPage { items: listed, reached, is_last })
    }

    /// What changed between two versions of one policy.
    ///
    /// # Errors
    /// As `get_version`; `INVALID_ARGUMENT` for versions of two policies.
    pub async fn diff_versions(&self, from: &VersionName, to: &VersionName) -> Result<Difference> {
        if from.policy != to.policy {
            return Err(Error::invalid("to", "must be a version of the same policy as `from`"));
        }
        let tx = self.store.read().await?;
        let (policy, old) = self.resolve(&tx, from).await?;
        let (_, new) = self.resolve(&tx, to).await?;
        let old = Bundle { content: self.content_of(&tx, &old).await?, version: old };
        let new = Bundle { content: self.content_of(&tx, &new).await?, version: new };
        drop(tx);
        let active_version = policy.active_version;
        let slot = self.check_slots.take(&from.policy.namespace).await?;
        let (_slot, (old, new, unified, json_patch)) = off_thread(slot, move || compare(policy.kind, old, new)).await?;
        let without_content = |side: Bundle| VersionWithContent {
            active: side.version.number == active_version,
            version: side.version,
            content: None,
            approvals: Vec::new(),
        };
        let fits = |text: &String| text.len() <= DIFFERENCE_MAX_BYTES;
        let too_large = !fits(&unified) || !fits(&json_patch);
        let [unified, json_patch] = [unified, json_patch].map(|text| Some(text).filter(fits).unwrap_or_default());
        Ok(Difference { from: without_content(old), to: without_content(new), unified, json_patch, too_large })
    }

    /// What the checks found the last time they ran on a version.
    ///
    /// # Errors
    /// `REPORT_NOT_FOUND`, `VERSION_NOT_FOUND`.
    pub async fn get_report(&self, name: &VersionName) -> Result<(Version, Report)> {
        let tx = self.store.read().await?;
        let (_, version) = self.resolve(&tx, name).await?;
        let report = tx.report(&version.policy, version.number).await?;
        Ok((version, report))
    }
}

/// Compares two versions, apart from the threads that serve.
fn compare(kind: PolicyKind, old: Bundle, new: Bundle) -> (Bundle, Bundle, String, String) {
    let parse = |side: &Bundle| checks::parse(kind, &side.content).ok().flatten();
    let json_patch = match (parse(&old), parse(&new)) {
        (Some(old), Some(new)) => checks::diff::json_patch(&old.value, &new.value),
        _ => String::new(),
    };
    let unified = checks::diff::unified(&old.version.name(), &old.content, &new.version.name(), &new.content);
    (old, new, unified, json_patch)
}
