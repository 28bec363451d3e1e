//! Draft and AbandonDraft.

use super::write::{Begun, Write};
use super::{Context, Service};
use crate::domain::access::{Permission, Rpc};
use crate::domain::command::{AbandonDraft, Draft, PageRequest};
use crate::domain::digest::Digest;
use crate::domain::event::{Change, EventKind, VersionChange};
use crate::domain::label::Label;
use crate::domain::lifecycle::{self, DraftDecision, DraftFacts};
use crate::domain::limits::CONTENT_TYPE_MAX_CHARS;
use crate::domain::listing::EventFilter;
use crate::domain::name::PolicyName;
use crate::domain::outcome::VersionChanged;
use crate::domain::policy::{Policy, PolicyKind};
use crate::domain::version::{Version, VersionState};
use crate::domain::{Error, Reason, Result};
use crate::signing::digest_of;
use crate::store::{ReadTx, VersionList};
use crate::watch::Verify as _;

/// Events of a policy that are looked through, newest first, for who staged a version. More: a refusal takes longer under the lock.
const STAGE_EVENTS_READ_MAX: u32 = 100;

/// What an event says of a version that changed its state.
pub(super) fn state_change(version: &Version) -> VersionChange {
    VersionChange {
        policy: version.policy.policy.clone(),
        version: version.number,
        state: version.state,
        digest: version.digest.clone(),
        adopted: None,
    }
}

/// The live version that holds a label, among those that are listed.
async fn label_holder(tx: &ReadTx, policy: &PolicyName, list: &VersionList, label: &Label) -> Result<Option<Version>> {
    let found = tx.find_labelled(policy, label).await?;
    let is_open = list.open.iter().any(|version| version.label.as_ref() == Some(label));
    if found.is_none() && (is_open || list.published_labels.contains(label)) {
        return Err(Error::data_loss(format!("{policy}: the version with label {label} is not found by it")));
    }
    Ok(found)
}

impl Service {
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
        if !request.requires.is_empty() {
            // Kept for nothing is worse than refused: nothing enforces them yet.
            return Err(Error::new(Reason::Unimplemented, "requirements between policies are not enforced yet"));
        }
        Ok(())
    }

    /// Writes the next version of a policy, as a draft.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`, `CONTENT_EMPTY`, `CONTENT_TOO_LARGE`, `POLICY_NOT_FOUND`, `LIMIT_EXCEEDED`, `QUOTA_EXCEEDED`, and those of `lifecycle::draft`.
    pub async fn draft(&self, context: &Context, request: Draft) -> Result<VersionChanged> {
        self.check_content(&request)?;
        if let Some(adopted) = &request.adopted {
            // Who wrote a policy is believed of those alone who answer for the namespace.
            self.require(context, &request.policy.namespace, Rpc::Draft, Permission::Administer)?;
            adopted.check_is_past(context.now)?;
        }
        let digest = digest_of(&request.content);
        let call = self.call(context, "Draft", &(&request, &digest))?;
        let mut write = match call.begin(&request.policy.namespace).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        let (policy, made) = self.policy_for(&mut write, &request).await?;
        let tx = write.tx.read();
        let list = tx.version_list(&policy).await?;
        let label_holder = match &request.label {
            Some(label) => label_holder(tx, &policy.name, &list, label).await?,
            None => None,
        };
        let open = list.open;
        let base_exists =
            request.base_version <= 0 || tx.find_version(&policy.name, request.base_version).await?.is_some();
        let stager = match DraftFacts::staged(&policy, &open, &request).and_then(|index| open.get(index)) {
            Some(staged) => self.stager_of(tx, staged).await?,
            None => String::new(),
        };
        let facts = DraftFacts {
            policy: &policy,
            open: &open,
            label_holder: label_holder.as_ref(),
            base_exists,
            stager: &stager,
        };
        let decision = lifecycle::draft(facts, &request, &digest)?;
        let (number, superseded) = match (decision, label_holder) {
            (DraftDecision::Existing, Some(version)) => {
                // Nothing changes: no event. The answer is kept, so that its request id stays its own.
                let active = version.number == policy.active_version;
                return write.finish(VersionChanged { version, active, cursor: None }).await;
            }
            (DraftDecision::Existing, None) => return Err(Error::internal("an existing version that is not there")),
            (DraftDecision::New { number, superseded }, _) => (number, superseded),
        };
        let mut change = Change::new(EventKind::Draft, Some(&policy.name.policy));
        if made {
            change.settings = Some(serde_json::json!({"kind": policy.kind}));
        }
        for version in open.into_iter().filter(|version| superseded.contains(&version.number)) {
            let ended = Version { state: VersionState::Superseded, edits: version.edits + 1, ..version };
            write.tx.update_version(&ended).await?;
            change.versions.push(state_change(&ended));
        }
        let version = self.new_version(context, &policy, request, digest, number, &mut write).await?;
        change.versions.push(VersionChange { adopted: version.adopted.clone(), ..state_change(&version) });
        change.reason.clone_from(&version.change_note);
        let recorded = write.record(change).await?;
        write.finish(VersionChanged { version, active: false, cursor: recorded.cursor }).await
    }

    /// Who staged a version, as the newest events of its policy tell it; empty when it is longer ago than those.
    async fn stager_of(&self, tx: &ReadTx, staged: &Version) -> Result<String> {
        let policy = &staged.policy;
        let filter = EventFilter { policy: Some(policy.policy.clone()), newest_first: true, ..EventFilter::default() };
        let page = PageRequest { size: STAGE_EVENTS_READ_MAX, after: None };
        for event in tx.events(&policy.namespace, &page, &filter).await? {
            let payload = self.signer.event(&event)?;
            let is_of_it = |change: &VersionChange| change.version == staged.number && change.policy == policy.policy;
            if payload.kind == EventKind::Stage && payload.versions.iter().any(is_of_it) {
                return Ok(payload.actor);
            }
        }
        Ok(String::new())
    }

    /// Ends a draft.
    ///
    /// # Errors
    /// `VERSION_NOT_FOUND`, `VERSION_NOT_OPEN`, `ETAG_MISMATCH`.
    pub async fn abandon_draft(&self, context: &Context, request: AbandonDraft) -> Result<VersionChanged> {
        lifecycle::check_note("reason", &request.reason)?;
        let call = self.call(context, "AbandonDraft", &request)?;
        let name = &request.version.policy;
        let mut write = match call.begin(&name.namespace).await? {
            Begun::Replayed(answer) => return Ok(answer),
            Begun::Fresh(write) => write,
        };
        let (_, version) = self.resolve(write.tx.read(), &request.version).await?;
        lifecycle::abandon(&version, request.etag.as_ref())?;
        let version = Version { state: VersionState::Abandoned, edits: version.edits + 1, ..version };
        write.tx.update_version(&version).await?;
        let change = Change {
            reason: request.reason,
            versions: vec![state_change(&version)],
            ..Change::new(EventKind::AbandonDraft, Some(&name.policy))
        };
        let recorded = write.record(change).await?;
        write.finish(VersionChanged { version, active: false, cursor: recorded.cursor }).await
    }

    /// The policy of a draft, and whether it was made for it: when it is absent and the request allows it.
    async fn policy_for(&self, write: &mut Write<'_>, request: &Draft) -> Result<(Policy, bool)> {
        match write.tx.read().policy(&request.policy).await {
            Err(error) if error.reason == Reason::PolicyNotFound && request.allow_missing => {
                let kind = PolicyKind::of_draft(request.kind, &request.content_type)?;
                let policy = Policy::new(request.policy.clone(), kind, write.time());
                self.insert_policy(&mut write.tx, &policy).await?;
                Ok((policy, true))
            }
            found => found.map(|policy| (policy, false)),
        }
    }

    async fn new_version(
        &self,
        context: &Context,
        policy: &Policy,
        request: Draft,
        digest: Digest,
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
        };
        self.admit_version(&write.tx, &version)?;
        write.tx.insert_content(&version.digest, &request.content).await?;
        write.tx.insert_version(&version).await?;
        write.tx.set_latest_version(&policy.name, number).await?;
        Ok(version)
    }
}
