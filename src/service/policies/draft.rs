//! Draft: creates the next version of a policy.

use super::use_cases::Policies;
use super::version_change::describe_version;
use crate::checks::check_has_parser;
use crate::domain::access::{Permission, Rpc};
use crate::domain::command::{Draft, PageRequest};
use crate::domain::digest::Digest;
use crate::domain::event::{Change, EventKind, VersionChange};
use crate::domain::label::Label;
use crate::domain::lifecycle;
use crate::domain::lifecycle::{DraftDecision, DraftFacts};
use crate::domain::limits::CONTENT_TYPE_MAX_CHARS;
use crate::domain::listing::EventFilter;
use crate::domain::name::PolicyName;
use crate::domain::outcome::VersionChanged;
use crate::domain::policy::{Policy, PolicyKind};
use crate::domain::template::TemplateSource;
use crate::domain::version::{Version, VersionState};
use crate::domain::{Error, Reason, Result};
use crate::service::context::Context;
use crate::service::log::{IdempotentCall, Write};
use crate::signing::digest_of;
use crate::store::{ReadTx, VersionList};
use crate::watch::Verify as _;

/// Number of events of a policy that are searched, newest first, for who staged a version. More: a refusal takes longer under the lock.
const STAGE_EVENTS_READ_MAX: u32 = 100;

/// Returns the live version that holds a label, among those in the list.
async fn find_label_holder(
    tx: &ReadTx,
    policy: &PolicyName,
    list: &VersionList,
    label: &Label,
) -> Result<Option<Version>> {
    let found = tx.find_labelled(policy, label).await?;
    let is_open = list.open.iter().any(|version| version.label.as_ref() == Some(label));
    if found.is_none() && (is_open || list.published_labels.contains(label)) {
        return Err(Error::data_loss(format!("{policy}: the version with label {label} is not found by it")));
    }
    Ok(found)
}

impl Policies {
    /// Creates the next version of a policy, as a draft.
    ///
    /// # Errors
    /// Those of `make_draft`, `PERMISSION_DENIED`, `CONTENT_EMPTY`, `CONTENT_TOO_LARGE`, `POLICY_NOT_FOUND`, `LIMIT_EXCEEDED`, `QUOTA_EXCEEDED`, and those of
    /// `lifecycle::draft` and `lifecycle::check_base_is_active`.
    pub async fn draft(&self, context: &Context, request: Draft) -> Result<VersionChanged> {
        if let Some(adopted) = &request.adopted {
            // Only an administrator of the namespace may name another author.
            self.denials.require(context, &request.policy.namespace, Rpc::Draft, Permission::Administer)?;
            adopted.check_is_past(context.now)?;
        }
        let call = self.writer.call(context, "Draft", &(&request, &digest_of(&request.content)))?;
        let (request, template) = match request.from_template.clone() {
            None => (request, None),
            Some(from) => {
                let tx = self.log.store.read().await?;
                if let Some(answer) = call.replayed(&tx).await? {
                    return Ok(answer);
                }
                let (request, source) = self.make_draft(tx, &from, request).await?;
                (request, Some(source))
            }
        };
        self.check_content(&request)?;
        self.write_draft(context, &call, request, template).await
    }

    /// Writes a draft whose content is there.
    async fn write_draft(
        &self,
        context: &Context,
        call: &IdempotentCall<'_>,
        request: Draft,
        template: Option<TemplateSource>,
    ) -> Result<VersionChanged> {
        let digest = digest_of(&request.content);
        let namespace = request.policy.namespace.clone();
        call.mutate(&namespace, async |write| {
            if let Some((from, source)) = request.from_template.as_ref().zip(template.as_ref()) {
                self.check_template(write, from, source).await?;
            }
            let (policy, made) = self.find_or_create_policy(write, &request).await?;
            let tx = write.tx.read();
            let list = tx.version_list(&policy).await?;
            let label_holder = match &request.label {
                Some(label) => find_label_holder(tx, &policy.name, &list, label).await?,
                None => None,
            };
            let open = list.open;
            let base_exists =
                request.base_version <= 0 || tx.find_version(&policy.name, request.base_version).await?.is_some();
            let stager = match DraftFacts::staged(&policy, &open, &request).and_then(|index| open.get(index)) {
                Some(staged) => self.find_stager(tx, staged).await?,
                None => String::new(),
            };
            let facts = DraftFacts {
                policy: &policy,
                open: &open,
                label_holder: label_holder.as_ref(),
                base_exists,
                stager: &stager,
                template: template.as_ref(),
            };
            let decision = lifecycle::draft(facts, &request, &digest)?;
            let (number, superseded) = match (decision, label_holder) {
                (DraftDecision::Existing, Some(version)) => {
                    // Nothing changes, so there is no event. The answer is stored, so that another request can't use its request id.
                    let active = version.number == policy.active_version;
                    return Ok(VersionChanged { version, active, cursor: None });
                }
                (DraftDecision::Existing, None) => {
                    return Err(Error::internal("an existing version that is not there"));
                }
                (DraftDecision::New { number, superseded }, _) => (number, superseded),
            };
            lifecycle::check_base_is_active(&policy, request.base_version)?;
            let mut change = Change::new(EventKind::Draft, Some(&policy.name.policy));
            if made {
                change.settings = Some(serde_json::json!({"kind": policy.kind}));
            }
            for version in open.into_iter().filter(|version| superseded.contains(&version.number)) {
                let ended = Version { state: VersionState::Superseded, edits: version.edits + 1, ..version };
                write.tx.update_version(&ended).await?;
                change.versions.push(describe_version(&ended));
            }
            let version = self.insert_new_version(context, &policy, (request, template, digest), number, write).await?;
            change.versions.push(VersionChange { adopted: version.adopted.clone(), ..describe_version(&version) });
            change.reason.clone_from(&version.change_note);
            let recorded = write.record(change).await?;
            Ok(VersionChanged { version, active: false, cursor: recorded.cursor })
        })
        .await
    }

    fn check_content(&self, request: &Draft) -> Result<()> {
        if request.content.is_empty() {
            return Err(Error::new(Reason::ContentEmpty, "content is empty"));
        }
        if request.content.len() > self.content_max_bytes {
            let (size, limit) = (request.content.len(), self.content_max_bytes);
            return Err(Error::new(Reason::ContentTooLarge, format!("content has {size} bytes, over {limit}"))
                .with("size_bytes", size)
                .with("limit_bytes", limit));
        }
        if request.content_type.len() > CONTENT_TYPE_MAX_CHARS
            || !request.content_type.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        {
            let rule = format!("must be at most {CONTENT_TYPE_MAX_CHARS} printable ASCII characters");
            return Err(Error::invalid("content_type", rule));
        }
        Ok(())
    }

    /// Returns who staged a version, by the newest events of its policy; empty when that is too long ago.
    async fn find_stager(&self, tx: &ReadTx, staged: &Version) -> Result<String> {
        let policy = &staged.policy;
        let filter = EventFilter { policy: Some(policy.policy.clone()), newest_first: true, ..EventFilter::default() };
        let page = PageRequest { size: STAGE_EVENTS_READ_MAX, after: None };
        for event in tx.events(&policy.namespace, &page, &filter).await? {
            let payload = self.log.signer.event(&event)?;
            let is_of_it = |change: &VersionChange| change.version == staged.number && change.policy == policy.policy;
            if payload.kind == EventKind::Stage && payload.versions.iter().any(is_of_it) {
                return Ok(payload.actor);
            }
        }
        Ok(String::new())
    }

    /// Returns the policy of a draft, and whether it was created for it: if it does not exist and the request allows it.
    async fn find_or_create_policy(&self, write: &mut Write<'_>, request: &Draft) -> Result<(Policy, bool)> {
        match write.tx.read().policy(&request.policy).await {
            Err(error) if error.reason == Reason::PolicyNotFound && request.allow_missing => {
                let kind = PolicyKind::of_draft(request.kind, &request.content_type)?;
                check_has_parser(kind)?;
                let policy = Policy::new(request.policy.clone(), kind, write.time());
                self.meters.insert_policy(&mut write.tx, &policy).await?;
                Ok((policy, true))
            }
            found => found.map(|policy| (policy, false)),
        }
    }

    async fn insert_new_version(
        &self,
        context: &Context,
        policy: &Policy,
        (request, template, digest): (Draft, Option<TemplateSource>, Digest),
        number: i64,
        write: &mut Write<'_>,
    ) -> Result<Version> {
        let content_type =
            if request.content_type.is_empty() { policy.kind.content_type().to_owned() } else { request.content_type };
        let version = Version {
            policy: policy.name.clone(),
            number,
            state: VersionState::Draft,
            label: request.label,
            digest,
            size_bytes: i64::try_from(request.content.len()).unwrap_or(i64::MAX),
            content_type,
            change_note: request.change_note,
            requires: request.requires,
            base_version: request.base_version,
            source_version: 0,
            author: context.actor(),
            publisher: String::new(),
            manifest: String::new(),
            edits: 1,
            create_time: write.time(),
            stage_time: None,
            publish_time: None,
            origin_manifests: Vec::new(),
            annotations: request.annotations,
            adopted: request.adopted,
            template,
        };
        self.meters.admit_new_version(&write.tx, &version)?;
        write.tx.insert_content(&version.digest, &request.content).await?;
        write.tx.insert_version(&version).await?;
        write.tx.set_latest_version(&policy.name, number).await?;
        Ok(version)
    }
}
