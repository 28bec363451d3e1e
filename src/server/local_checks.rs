//! Runs the checks of versions in this process and its workers, without a store, for `policyhub check` and `policyhub guardrail test`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::clock::now;
use crate::api::pb;
use crate::api::response::found_report;
use crate::checks::{OtherPolicies, OtherPolicy, TaskOutcome};
use crate::domain::Result;
use crate::domain::annotations::Annotations;
use crate::domain::bundle::Bundle;
use crate::domain::guardrail::Guardrail;
use crate::domain::label::Label;
use crate::domain::name::{NamespaceId, PolicyId};
use crate::domain::policy::Policy;
use crate::domain::time::Micros;
use crate::domain::version::{Requirement, Version, VersionState};
use crate::service::{CheckInput, CheckKind, ContentChecks, NAMESPACE_CHECKS_MAX, ParsedCheck, SlotUse};
use crate::signing::digest_of;

/// Number of checks that run at once.
pub const LOCAL_CHECKS_AT_ONCE_MAX: usize = NAMESPACE_CHECKS_MAX;

/// A version that no store has, and what the checks know besides.
#[derive(Debug, Clone)]
pub struct LocalVersion {
    /// Its policy. Its number is the next one after `latest_version`.
    pub policy: Policy,
    /// The exact content.
    pub content: Bytes,
    /// Media type of the content.
    pub content_type: String,
    /// Label of the version.
    pub label: Option<Label>,
    /// Annotations of the version.
    pub annotations: Annotations,
    /// What the version requires of other policies.
    pub requires: Vec<Requirement>,
    /// The guardrails that hold, in order.
    pub guardrails: Vec<Guardrail>,
    /// Labels of the published versions of the policy.
    pub published_labels: Vec<Label>,
    /// The active version of the policy, if there is one: label, media type and content.
    pub active: Option<(Option<Label>, String, Bytes)>,
}

/// Runs the checks of versions that no store has, a few at a time.
#[derive(Debug, Default)]
pub struct LocalChecks(ContentChecks);

/// A version whose content is parsed.
#[derive(Debug)]
pub struct ParsedVersion(ParsedCheck);

impl LocalChecks {
    /// Runs the checks that need only the content.
    ///
    /// # Errors
    /// `LIMIT_EXCEEDED` when too many checks run.
    pub async fn parse(&self, version: LocalVersion) -> Result<ParsedVersion> {
        self.0.parse(SlotUse::Check, version.into(), CheckKind::BeforePublish).await.map(ParsedVersion)
    }

    /// Runs the other checks. `active` has the active versions of the policies that `ParsedVersion::other_policies` names.
    ///
    /// # Errors
    /// `CHECKS_UNAVAILABLE` when no worker can be started.
    pub async fn finish(
        &self,
        parsed: ParsedVersion,
        active: BTreeMap<PolicyId, Option<OtherPolicy>>,
    ) -> Result<pb::ValidationReport> {
        let version = &parsed.0.input.bundle.version;
        let others = OtherPolicies {
            own: Some(version.policy.policy.clone()),
            requires: version.requires.clone(),
            referenced_bytes: parsed.referenced_bytes(&active),
            active,
            is_to_be_active: false,
        };
        let (input, report) = self.0.finish(parsed.0, others, now()).await?;
        Ok(found_report(&input.bundle.version, report).report.unwrap_or_default())
    }

    /// Returns why a text is no usable JSON Schema; `None` for one that is.
    ///
    /// # Errors
    /// `LIMIT_EXCEEDED` when too many checks run, `CHECKS_UNAVAILABLE` when no worker can be started.
    pub async fn schema_problem(&self, namespace: &NamespaceId, schema: &str) -> Result<Option<String>> {
        self.0.schema_problem(namespace, schema).await
    }

    /// Returns the guardrails that do not compile, each by its index, and why.
    ///
    /// # Errors
    /// `LIMIT_EXCEEDED` when too many checks run, `CHECKS_UNAVAILABLE` when no worker can be started.
    pub async fn guardrail_problems(
        &self,
        namespace: &NamespaceId,
        guardrails: &[Guardrail],
    ) -> Result<Vec<(usize, String)>> {
        self.0.guardrail_problems(namespace, guardrails).await
    }

    /// Evaluates the guardrails alone. Returns the outcomes in their order.
    ///
    /// # Errors
    /// `LIMIT_EXCEEDED` when too many checks run, `CHECKS_UNAVAILABLE` when no worker can be started.
    pub async fn try_guardrails(&self, version: LocalVersion) -> Result<Vec<TaskOutcome>> {
        self.0.try_guardrails(version.into()).await
    }
}

impl ParsedVersion {
    /// Returns the size of the active contents that the version refers to. What it only requires is not read by a check.
    fn referenced_bytes(&self, active: &BTreeMap<PolicyId, Option<OtherPolicy>>) -> i64 {
        let referenced = self.0.parsed.referenced_policies();
        let contents = active.iter().filter(|(policy, _)| referenced.contains(policy));
        let sizes = contents.filter_map(|(_, other)| Some(other.as_ref()?.content.as_ref()?.len()));
        i64::try_from(sizes.sum::<usize>()).unwrap_or(i64::MAX)
    }

    /// Returns the other policies that the version refers to or requires.
    #[must_use]
    pub fn other_policies(&self) -> Vec<PolicyId> {
        let own = &self.0.input.policy.name.policy;
        let required = self.0.input.bundle.version.requires.iter().map(|requirement| &requirement.policy);
        let mut named: Vec<PolicyId> = self
            .0
            .parsed
            .referenced_policies()
            .into_iter()
            .chain(required)
            .filter(|each| *each != own)
            .cloned()
            .collect();
        named.sort_unstable();
        named.dedup();
        named
    }
}

impl From<LocalVersion> for CheckInput {
    fn from(version: LocalVersion) -> Self {
        let LocalVersion { mut policy, content, content_type, label, annotations, requires, guardrails, .. } = version;
        let active = version.active.map(|(label, content_type, content)| {
            policy.active_version = policy.active_version.max(1);
            let number = policy.active_version;
            Bundle { version: Version { label, ..unpublished(&policy, number, &content, content_type) }, content }
        });
        let number = policy.latest_version + 1;
        let version_of_it = unpublished(&policy, number, &content, content_type);
        let bundle = Bundle { version: Version { label, annotations, requires, ..version_of_it }, content };
        let published_labels = version.published_labels;
        Self { policy, bundle, published_labels, guardrails, active, moved: Arc::default() }
    }
}

fn unpublished(policy: &Policy, number: i64, content: &[u8], content_type: String) -> Version {
    Version {
        policy: policy.name.clone(),
        number,
        state: VersionState::Draft,
        label: None,
        digest: digest_of(content),
        size_bytes: i64::try_from(content.len()).unwrap_or(i64::MAX),
        content_type,
        change_note: String::new(),
        requires: Vec::new(),
        base_version: 0,
        source_version: 0,
        author: String::new(),
        publisher: String::new(),
        manifest: String::new(),
        edits: 1,
        create_time: Micros(0),
        stage_time: None,
        publish_time: None,
        origin_manifests: Vec::new(),
        annotations: Annotations::default(),
        adopted: None,
        template: None,
    }
}
