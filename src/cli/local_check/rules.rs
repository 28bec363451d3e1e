//! The rules that contents are checked by: those of a file, those of a server, or none.

use std::collections::BTreeMap;
use std::path::Path;

use super::contents::{ContentFault, Contents, LocalContent};
use super::server_rules::ServerRules;
use crate::checks::OtherPolicy;
use crate::cli::exit_code::UsageError;
use crate::cli::global::Global;
use crate::cli::rules_file::{self, RulesFile, RulesFileError};
use crate::cli::session::Session;
use crate::client::PolicyKind;
use crate::client::name::{NamespaceId, PolicyId, PolicyName};
use crate::domain::policy::Policy;
use crate::domain::report::PARSE_CHECK;
use crate::domain::time::Micros;
use crate::server::local_checks::{LocalChecks, LocalVersion};

/// What a content is by the rules: a version to check, one that is published, or none.
#[derive(Debug)]
pub enum PreparedContent {
    Version(Box<LocalVersion>),
    /// The server has published it: the same policy, label and digest.
    Published,
    Fault(ContentFault),
}

/// Where the rules come from.
#[derive(Debug)]
pub enum RuleSource {
    /// A file, or none: the text says which.
    Local { namespace: NamespaceId, file: RulesFile, described: String },
    /// A server, at this address.
    Server { rules: Box<ServerRules>, address: String },
}

impl RuleSource {
    /// Reads the rules of a file; without one, of the server that flags or environment name.
    ///
    /// # Errors
    /// They can't be read.
    pub async fn of(global: &Global, file: Option<&Path>) -> anyhow::Result<Self> {
        if let Some(file) = file {
            let described = format!("rules of {}", file.display());
            let namespace = global.namespace()?;
            let file = read_file(&namespace, file).await?;
            return Ok(Self::Local { namespace, file, described });
        }
        if global.server.is_some() || global.context.is_some() {
            let global = global.in_context()?;
            let session = Session::open(&global).await?;
            return Self::of_server(&session, global.server(), false).await;
        }
        let described = "no guardrails and no schemas: --rules FILE or --server URL has some".to_owned();
        Ok(Self::Local { namespace: global.namespace()?, file: RulesFile::default(), described })
    }

    /// Reads the rules of a server. With `allow_backport` each policy takes lower labels, whatever its settings are.
    ///
    /// # Errors
    /// The server can't be asked.
    pub async fn of_server(session: &Session, address: &str, allow_backport: bool) -> anyhow::Result<Self> {
        let rules = Box::new(ServerRules::read(session, allow_backport).await?);
        Ok(Self::Server { rules, address: address.to_owned() })
    }

    /// Returns in words where they come from.
    pub fn described(&self) -> String {
        match self {
            Self::Local { described, .. } => described.clone(),
            Self::Server { rules, address } => format!("rules of {} in {address}", rules.namespace.name()),
        }
    }

    /// Returns a content as a version of its policy. `contents` are all of the call.
    ///
    /// # Errors
    /// The server can't be asked.
    pub async fn version(&self, content: &LocalContent, contents: &Contents) -> anyhow::Result<PreparedContent> {
        let mut version = LocalVersion {
            policy: Policy::new(self.name(content), PolicyKind::Opaque, Micros(0)),
            content: content.content.clone(),
            content_type: content.content_type.clone(),
            label: content.label.clone(),
            annotations: content.annotations.clone(),
            requires: content.requires.clone(),
            guardrails: Vec::new(),
            published_labels: Vec::new(),
            active: None,
        };
        let of_policy = match self {
            Self::Local { file, .. } => {
                version.guardrails.clone_from(&file.guardrails);
                file.apply(&mut version.policy);
                file.kind(&content.policy)
            }
            Self::Server { rules, .. } => match rules.apply(&mut version).await? {
                Some(on_server) if on_server.is_published => return Ok(PreparedContent::Published),
                on_server => on_server.map(|found| found.kind),
            },
        };
        if let Some(label) = &content.label {
            version.published_labels.extend(contents.labels_below(&content.policy, label));
        }
        let kind = match kind(content, of_policy) {
            Ok(kind) => kind,
            Err(fault) => return Ok(PreparedContent::Fault(fault)),
        };
        version.policy.kind = kind;
        if version.content_type.is_empty() {
            version.content_type = kind.content_type().to_owned();
        }
        Ok(PreparedContent::Version(Box::new(version)))
    }

    /// Returns the versions of other policies that are active. Without a server those of this call count, so that policies that belong
    /// together are checked together.
    ///
    /// # Errors
    /// The server can't be asked.
    pub async fn active(
        &self,
        policies: Vec<PolicyId>,
        contents: &Contents,
    ) -> anyhow::Result<BTreeMap<PolicyId, Option<OtherPolicy>>> {
        let mut active = BTreeMap::new();
        for policy in policies {
            let found = match (contents.of_policy(&policy), self) {
                (None, Self::Server { rules, .. }) => rules.active(&policy).await?,
                (here, _) => here,
            };
            active.insert(policy, found);
        }
        Ok(active)
    }

    fn name(&self, content: &LocalContent) -> PolicyName {
        let namespace = match self {
            Self::Local { namespace, .. } => namespace,
            Self::Server { rules, .. } => &rules.namespace,
        };
        PolicyName { namespace: namespace.clone(), policy: content.policy.clone() }
    }
}

/// Reads a file of rules whose schemas and guardrails compile.
///
/// # Errors
/// `RulesFileError`, as a usage error; or no worker can be started.
async fn read_file(namespace: &NamespaceId, path: &Path) -> anyhow::Result<RulesFile> {
    let usage = |error: RulesFileError| {
        let usage = UsageError(error.to_string());
        anyhow::Error::from(error).context(usage)
    };
    let file = rules_file::read(path).map_err(usage)?;
    let checks = LocalChecks::default();
    for (schema_path, schema) in file.schemas() {
        if let Some(why) = checks.schema_problem(namespace, schema).await? {
            return Err(usage(RulesFileError::new(&schema_path, format!("not a usable JSON Schema: {why}"))));
        }
    }
    // Otherwise it would be a finding of every content, as if each of these were wrong.
    if let Some((index, why)) = checks.guardrail_problems(namespace, &file.guardrails).await?.into_iter().next() {
        return Err(usage(file.guardrail_error(path, index, &why)));
    }
    Ok(file)
}

/// Returns the kind of a content: that of its policy, else the one that somebody said, else by its name.
fn kind(content: &LocalContent, of_policy: Option<PolicyKind>) -> Result<PolicyKind, ContentFault> {
    let policy = &content.policy;
    if let (Some(said), Some(kind)) = (content.said_kind, of_policy)
        && said != kind
    {
        let message = format!("policy {policy} is of kind {}, and --kind says {}", kind.as_str(), said.as_str());
        let hint = "leave --kind out, or name another policy by --policy".to_owned();
        return Err(ContentFault { hint, is_usage: true, ..ContentFault::unreadable(message) });
    }
    let Some(kind) = of_policy.or(content.said_kind).or(content.kind) else {
        let message = format!("its name does not say what it holds, and there is no policy {policy} to say its kind");
        let hint = "add --kind yaml, --kind json, --kind cedar, --kind rego or --kind opaque".to_owned();
        return Err(ContentFault { hint, is_usage: true, ..ContentFault::unreadable(message) });
    };
    // A draft of another media type is refused before anything else is checked.
    match kind.check_content_type(&content.content_type) {
        Ok(()) => Ok(kind),
        Err(error) => {
            let why = error.violations.first().map_or(error.message.as_str(), |each| each.description.as_str());
            let message = format!("policy {policy} is of kind {}: {why}", kind.as_str());
            Err(ContentFault { check: PARSE_CHECK, message, ..ContentFault::default() })
        }
    }
}
