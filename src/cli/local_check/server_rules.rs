//! Reads the rules of a server: the guardrails of a namespace, and the settings of its policies.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use tokio::sync::Mutex;

use crate::checks::{OtherPolicy, needs_active};
use crate::cli::names::{policy_name, version_name};
use crate::cli::pages;
use crate::cli::session::Session;
use crate::client::name::{NamespaceId, PolicyId, VersionRef};
use crate::client::signing::digest_of;
use crate::client::{Client, PolicyKind, pb};
use crate::domain::guardrail::{Guardrail, GuardrailSeverity};
use crate::domain::label::Label;
use crate::domain::policy::{BumpRule, PolicySettings, is_of_several_files};
use crate::server::local_checks::LocalVersion;

/// Published versions of a policy that a label is compared with. A policy with more can't be checked: a label could be taken unseen.
const VERSIONS_READ_MAX: usize = 100_000;

/// What a server has of the policy of a content.
#[derive(Debug, Clone, Copy)]
pub struct OnServer {
    pub kind: PolicyKind,
    /// Whether the content is published there under its label.
    pub is_published: bool,
}

/// The rules of a namespace.
#[derive(Debug)]
pub struct ServerRules {
    client: Client,
    pub namespace: NamespaceId,
    /// Whether each policy takes lower labels, whatever its settings are.
    allow_backport: bool,
    guardrails: Vec<Guardrail>,
    /// What was asked already: a policy with a hundred version folders is asked for once.
    asked: Mutex<Asked>,
}

#[derive(Debug, Default)]
struct Asked {
    policies: BTreeMap<PolicyId, Option<pb::Policy>>,
    published: BTreeMap<PolicyId, Arc<[Published]>>,
}

/// A published version of a policy.
#[derive(Debug)]
struct Published {
    label: Label,
    digest: String,
}

impl ServerRules {
    /// Reads the guardrails that hold in the namespace.
    ///
    /// # Errors
    /// The server can't be asked.
    pub async fn read(session: &Session, allow_backport: bool) -> anyhow::Result<Self> {
        let (client, namespace) = (session.client.clone(), session.namespace.clone());
        let name = format!("{}/guardrails", namespace.name());
        let found = client.get_guardrails(pb::GetGuardrailsRequest { name }).await;
        let found = found.context("failed to read the guardrails")?;
        let sets = [found.store_guardrails, found.guardrails].into_iter().flatten();
        let guardrails = sets.flat_map(|set| set.guardrails).map(guardrail).collect();
        Ok(Self { client, namespace, allow_backport, guardrails, asked: Mutex::default() })
    }

    /// Adds what the server knows of the policy, and returns what is known of it there, if there is one.
    ///
    /// # Errors
    /// The server can't be asked.
    pub async fn apply(&self, version: &mut LocalVersion) -> anyhow::Result<Option<OnServer>> {
        version.guardrails.clone_from(&self.guardrails);
        let name = version.policy.name.clone();
        let Some(found) = self.policy(&name.policy).await? else { return Ok(None) };
        version.policy.description.clone_from(&found.description);
        version.policy.latest_version = found.latest_version;
        version.policy.active_version = found.active_version;
        version.policy.settings = settings(found.settings.clone().unwrap_or_default());
        version.policy.settings.allow_backport |= self.allow_backport;
        let kind = kind(found.kind());
        if let Some(label) = &version.label {
            let published = self.published(&name.policy).await?;
            let digest = digest_of(&version.content);
            if published.iter().any(|each| each.label == *label && each.digest == digest.as_str()) {
                return Ok(Some(OnServer { kind, is_published: true }));
            }
            version.published_labels = published.iter().map(|each| each.label.clone()).collect();
        }
        if found.active_version > 0 && needs_active(&self.guardrails) {
            let active = self.active_of_kind(&name.policy, kind).await?;
            version.active = active.and_then(|active| {
                Some((active.label, content_type(active.kind, active.has_several_files), active.content?))
            });
        }
        Ok(Some(OnServer { kind, is_published: false }))
    }

    /// Reads the active version of a policy.
    ///
    /// # Errors
    /// The server can't be asked.
    pub async fn active(&self, policy: &PolicyId) -> anyhow::Result<Option<OtherPolicy>> {
        match self.policy(policy).await? {
            Some(found) if found.active_version > 0 => self.active_of_kind(policy, kind(found.kind())).await,
            _ => Ok(None),
        }
    }

    async fn active_of_kind(&self, policy: &PolicyId, kind: PolicyKind) -> anyhow::Result<Option<OtherPolicy>> {
        let name = version_name(&self.namespace, policy, &VersionRef::Active);
        let request = pb::GetVersionRequest { name, view: pb::VersionView::Full.into() };
        let version = match self.client.get_version(request).await {
            Ok(found) => found.version.unwrap_or_default(),
            // It was deactivated meanwhile.
            Err(error) if matches!(error.reason(), "NO_ACTIVE_VERSION" | "VERSION_NOT_FOUND") => return Ok(None),
            Err(error) => return Err(error).context(format!("failed to read the active version of {policy}")),
        };
        Ok(Some(OtherPolicy {
            kind,
            has_several_files: is_of_several_files(&version.content_type),
            version: version.version,
            label: Label::parse("label", &version.label).ok(),
            digest: digest_of(&version.content),
            content: Some(version.content),
        }))
    }

    async fn policy(&self, policy: &PolicyId) -> anyhow::Result<Option<pb::Policy>> {
        let mut asked = self.asked.lock().await;
        if let Some(known) = asked.policies.get(policy) {
            return Ok(known.clone());
        }
        let request = pb::GetPolicyRequest { name: policy_name(&self.namespace, policy) };
        let found = match self.client.get_policy(request).await {
            Ok(found) => found.policy,
            Err(error) if error.reason() == "POLICY_NOT_FOUND" => None,
            Err(error) => return Err(error).context(format!("failed to read the policy {policy}")),
        };
        asked.policies.insert(policy.clone(), found.clone());
        Ok(found)
    }

    async fn published(&self, policy: &PolicyId) -> anyhow::Result<Arc<[Published]>> {
        let mut asked = self.asked.lock().await;
        if let Some(known) = asked.published.get(policy) {
            return Ok(Arc::clone(known));
        }
        let parent = policy_name(&self.namespace, policy);
        let read = pages::collect(VERSIONS_READ_MAX, async |page_token, page_size| {
            let filter = "state = PUBLISHED".to_owned();
            let request =
                pb::ListVersionsRequest { parent: parent.clone(), page_token, page_size, filter, ..Default::default() };
            let page = self.client.list_versions(request).await?;
            let published = page.versions.into_iter().filter_map(|version| {
                Some(Published { label: Label::parse("label", &version.label).ok()?, digest: version.digest })
            });
            Ok((published.collect(), page.next_page_token))
        });
        let (published, more) = read.await.with_context(|| format!("failed to list the versions of {policy}"))?;
        if !more.is_empty() {
            bail!("{policy} has more than {VERSIONS_READ_MAX} published versions: their labels can't all be compared");
        }
        let published: Arc<[Published]> = published.into();
        asked.published.insert(policy.clone(), Arc::clone(&published));
        Ok(published)
    }
}

fn guardrail(from: pb::Guardrail) -> Guardrail {
    let severity = match from.severity() {
        pb::GuardrailSeverity::Warn => GuardrailSeverity::Warn,
        _ => GuardrailSeverity::Deny,
    };
    let pb::Guardrail { id, expression, message, for_each, .. } = from;
    Guardrail { id, expression, severity, message, for_each }
}

/// Returns the settings that a check looks at.
fn settings(from: pb::PolicySettings) -> PolicySettings {
    let bump_rule = if from.bump_rule() == pb::BumpRule::Next { BumpRule::Next } else { BumpRule::Any };
    PolicySettings {
        json_schema: from.json_schema,
        allow_backport: from.allow_backport,
        bump_rule,
        required_approvals: u32::try_from(from.required_approvals).unwrap_or_default(),
        reference_keys: from.reference_keys,
        ..PolicySettings::default()
    }
}

fn kind(from: pb::PolicyKind) -> PolicyKind {
    match from {
        pb::PolicyKind::Json => PolicyKind::Json,
        pb::PolicyKind::Yaml => PolicyKind::Yaml,
        pb::PolicyKind::Cedar => PolicyKind::Cedar,
        pb::PolicyKind::Rego => PolicyKind::Rego,
        pb::PolicyKind::Template => PolicyKind::Template,
        _ => PolicyKind::Opaque,
    }
}

fn content_type(kind: PolicyKind, has_several_files: bool) -> String {
    if has_several_files { crate::domain::policy::FILES_CONTENT_TYPE } else { kind.content_type() }.to_owned()
}
