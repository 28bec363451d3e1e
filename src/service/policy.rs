//! Policies: made, changed, read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use super::namespace::check_description;
use super::page_reader::PageReader;
use super::write::Begun;
use super::{Context, Service};
use crate::domain::command::{CreatePolicy, ListPage, PageRequest, SettingsPatch, UpdatePolicy};
use crate::domain::event::{Change, EventKind, Position};
use crate::domain::lifecycle::check_etag;
use crate::domain::limits::{POLICIES_PER_NAMESPACE_MAX, POLICIES_SCANNED_MAX};
use crate::domain::listing::{AnnotatedPolicy, PolicyFilter, VersionFilter};
use crate::domain::name::{NamespaceId, PolicyId, PolicyName};
use crate::domain::outcome::PolicyChanged;
use crate::domain::pointed_policy::PointedPolicy;
use crate::domain::policy::{Policy, PolicyKind, PolicySettings};
use crate::domain::version::VersionState;
use crate::domain::{Error, Reason, Result};
use crate::store::{ReadTx, WriteTx};
use crate::watch::Verify as _;

fn change(kind: EventKind, policy: &Policy) -> Result<Change> {
    let settings = serde_json::json!({
        "kind": policy.kind, "description": policy.description, "settings": policy.settings,
    });
    Ok(Change { settings: Some(settings), ..Change::new(kind, Some(&policy.name.policy)) })
}

fn patch(settings: &mut PolicySettings, patch: SettingsPatch) {
    let SettingsPatch {
        max_open_drafts,
        json_schema,
        allow_backport,
        bump_rule,
        allow_draft_fallback,
        required_approvals,
        require_change_note,
    } = patch;
    settings.max_open_drafts = max_open_drafts.unwrap_or(settings.max_open_drafts);
    settings.allow_backport = allow_backport.unwrap_or(settings.allow_backport);
    settings.bump_rule = bump_rule.unwrap_or(settings.bump_rule);
    settings.allow_draft_fallback = allow_draft_fallback.unwrap_or(settings.allow_draft_fallback);
    settings.required_approvals = required_approvals.unwrap_or(settings.required_approvals);
    settings.require_change_note = require_change_note.unwrap_or(settings.require_change_note);
    if let Some(schema) = json_schema {
        settings.json_schema = schema;
    }
}

/// The kind of a policy changes only while nothing of it is published: what was published is of the kind it was checked as.
async fn check_kind_change(tx: &ReadTx, policy: &Policy, kind: PolicyKind) -> Result<()> {
    if kind == policy.kind {
        return Ok(());
    }
    kind.check_has_parser()?;
    let page = PageRequest { size: 1, after: None };
    let filter = VersionFilter::in_state(VersionState::Published);
    let Some(published) = tx.versions(&policy.name, &page, &filter).await?.pop() else { return Ok(()) };
    let message = format!(
        "{} is {} for ever: version {} is published; make another policy of kind {}",
        policy.name,
        policy.kind.as_str(),
        published.number,
        kind.as_str()
    );
    let error = Error::new(Reason::KindFixed, message).with("kind", policy.kind.as_str());
    Err(error.with("version", published.number).about(&policy.name))
}

/// Requirements of approvals that were lowered.
#[derive(Debug, Default)]
pub(super) struct LoweredApprovals(AtomicU64);

impl LoweredApprovals {
    /// Tells people. Called before the commit: one whose end nobody knows must not go unseen.
    fn alarm(&self, context: &Context, policy: &Policy, from: u32) {
        self.0.fetch_add(1, Ordering::Relaxed);
        let (name, to, actor) = (&policy.name, policy.settings.required_approvals, context.actor());
        let (namespace, policy) = (&name.namespace, &name.policy);
        tracing::warn!(%namespace, %policy, from, to, actor, "fewer approvals are required from now on");
    }
}

impl Service {
    /// How often fewer approvals were required than before, since the start.
    #[must_use]
    pub fn lowered_approvals(&self) -> u64 {
        self.lowered_approvals.0.load(Ordering::Relaxed)
    }

    /// Adds a policy, within limit and quota of its namespace.
    pub(super) async fn insert_policy(&self, tx: &mut WriteTx, policy: &Policy) -> Result<()> {
        let namespace = &policy.name.namespace;
        if namespace.is_system() {
            return Err(Error::invalid("parent", "namespaces/system holds no policies"));
        }
        if u64::try_from(tx.usage().policies).is_ok_and(|used| used >= POLICIES_PER_NAMESPACE_MAX) {
            let message = format!("{} has {POLICIES_PER_NAMESPACE_MAX} policies, the most it can", namespace.name());
            return Err(Error::new(Reason::LimitExceeded, message).with("limit", POLICIES_PER_NAMESPACE_MAX));
        }
        self.meters.admit_policy(namespace, tx.quotas()?, tx.usage())?;
        tx.insert_policy(policy).await
    }

    /// Makes a policy.
    ///
    /// # Errors
    /// `UNIMPLEMENTED`, `POLICY_EXISTS`, `NAMESPACE_NOT_FOUND`, `INVALID_SCHEMA`, `CHECKS_UNAVAILABLE`, `LIMIT_EXCEEDED`, `QUOTA_EXCEEDED`, `INVALID_ARGUMENT`.
    pub async fn create_policy(&self, context: &Context, request: CreatePolicy) -> Result<PolicyChanged> {
        check_description(&request.description)?;
        request.kind.check_has_parser()?;
        request.kind.check_json_schema(&request.settings.json_schema)?;
        self.check_schema(&request.policy.namespace, &request.settings.json_schema).await?;
        let call = self.call(context, "CreatePolicy", &request)?;
        let mut write = match call.begin(&request.policy.namespace).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        if write.tx.read().find_policy(&request.policy).await?.is_some() {
            let message = format!("{} exists already", request.policy);
            return Err(Error::new(Reason::PolicyExists, message).about(&request.policy));
        }
        let policy = Policy {
            description: request.description,
            settings: request.settings,
            ..Policy::new(request.policy, request.kind, write.time())
        };
        self.insert_policy(&mut write.tx, &policy).await?;
        let recorded = write.record(change(EventKind::CreatePolicy, &policy)?).await?;
        let policy = PointedPolicy { policy, activation: None };
        write.finish(PolicyChanged { policy, cursor: recorded.cursor }).await
    }

    /// Changes a policy.
    ///
    /// # Errors
    /// `POLICY_NOT_FOUND`, `ETAG_MISMATCH`, `KIND_FIXED`, `UNIMPLEMENTED`, `INVALID_SCHEMA`, `CHECKS_UNAVAILABLE`, `LIMIT_EXCEEDED`, `INVALID_ARGUMENT`.
    pub async fn update_policy(&self, context: &Context, request: UpdatePolicy) -> Result<PolicyChanged> {
        if let Some(schema) = &request.settings.json_schema {
            self.check_schema(&request.policy.namespace, schema).await?;
        }
        let call = self.call(context, "UpdatePolicy", &request)?;
        let mut write = match call.begin(&request.policy.namespace).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        let mut policy = write.tx.read().policy(&request.policy).await?;
        check_etag(request.etag.as_ref(), &policy.etag(), &policy.name.to_string())?;
        if let Some(description) = request.description {
            check_description(&description)?;
            policy.description = description;
        }
        if let Some(kind) = request.kind {
            check_kind_change(write.tx.read(), &policy, kind).await?;
            policy.kind = kind;
        }
        let required_before = policy.settings.required_approvals;
        patch(&mut policy.settings, request.settings);
        policy.kind.check_json_schema(&policy.settings.json_schema)?;
        if policy.settings.required_approvals < required_before && !context.options.validate_only {
            self.lowered_approvals.alarm(context, &policy, required_before);
        }
        policy.edits += 1;
        policy.update_time = write.time();
        write.tx.update_policy(&policy).await?;
        let recorded = write.record(change(EventKind::UpdatePolicy, &policy)?).await?;
        let policy = self.pointed(write.tx.read(), policy).await?;
        write.finish(PolicyChanged { policy, cursor: recorded.cursor }).await
    }

    /// Reads a policy, with the event that moved its pointer last.
    ///
    /// # Errors
    /// `POLICY_NOT_FOUND`, `NAMESPACE_NOT_FOUND`, `DATA_LOSS`.
    pub async fn get_policy(&self, name: &PolicyName) -> Result<PointedPolicy> {
        let tx = self.store.read().await?;
        let policy = tx.policy(name).await?;
        self.pointed(&tx, policy).await
    }

    async fn pointed(&self, tx: &ReadTx, policy: Policy) -> Result<PointedPolicy> {
        let activation = match policy.active_revision {
            0 => None,
            revision => self.positions(tx, &policy.name.namespace, &[revision]).await?.remove(&revision),
        };
        Ok(PointedPolicy { policy, activation })
    }

    /// Reads which events have these revisions, each proven by its seal.
    ///
    /// # Errors
    /// `DATA_LOSS`, also for an event that is not there.
    pub(super) async fn positions(
        &self,
        tx: &ReadTx,
        namespace: &NamespaceId,
        revisions: &[i64],
    ) -> Result<BTreeMap<i64, Position>> {
        let events = tx.events_at(namespace, revisions).await?;
        if let Some(missing) = revisions.iter().find(|revision| !events.contains_key(revision)) {
            return Err(Error::data_loss(format!("{namespace} has no event {missing}")));
        }
        for event in events.values() {
            self.signer.event(event)?;
        }
        Ok(events.into_iter().map(|(revision, event)| (revision, event.head().into())).collect())
    }

    /// A page of policies.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, `DATA_LOSS`.
    pub async fn list_policies(
        &self,
        namespace: &NamespaceId,
        page: &PageRequest<PolicyId>,
        filter: &PolicyFilter,
    ) -> Result<ListPage<PolicyId, PointedPolicy>> {
        let tx = self.store.read().await?;
        tx.namespace(namespace).await?;
        let mut reader = PageReader::searching(page, !filter.wanted.is_empty(), POLICIES_SCANNED_MAX);
        while let Some(asked) = reader.next() {
            let found = tx.policies(namespace, &asked).await?;
            let found = annotated(&tx, namespace, found, filter.needs_annotations()).await?;
            let measure =
                |each: &AnnotatedPolicy| (each.policy.name.policy.clone(), each.policy.settings.json_schema.len());
            reader.add(&asked, found, measure, |each| filter.wanted.keeps(each));
        }
        let ListPage { items, reached, is_last } = reader.done();
        let policies: Vec<Policy> = items.into_iter().map(|each| each.policy).collect();
        let moved: BTreeSet<i64> = policies.iter().map(|policy| policy.active_revision).filter(|at| *at > 0).collect();
        let positions = self.positions(&tx, namespace, &Vec::from_iter(moved)).await?;
        let pointed =
            |policy: Policy| PointedPolicy { activation: positions.get(&policy.active_revision).copied(), policy };
        Ok(ListPage { items: policies.into_iter().map(pointed).collect(), reached, is_last })
    }
}

/// Policies with the annotations of their newest published versions, which are read where they are needed.
async fn annotated(
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
