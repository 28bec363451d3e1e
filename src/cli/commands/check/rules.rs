//! The rules that contents are checked by: those of a file, those of a server, or none.

use std::collections::BTreeMap;
use std::path::Path;

use super::contents::{Checked, Contents};
use super::server_rules::ServerRules;
use crate::checks::OtherPolicy;
use crate::cli::exit_code::UsageError;
use crate::cli::global::Global;
use crate::cli::rules_file::{self, RulesFile};
use crate::cli::session::Session;
use crate::client::PolicyKind;
use crate::client::name::{NamespaceId, PolicyId, PolicyName};
use crate::domain::policy::Policy;
use crate::domain::time::Micros;
use crate::server::local_checks::LocalVersion;

/// Where the rules come from.
#[derive(Debug)]
pub enum Rules {
    /// A file, or none: the text says which.
    Local { namespace: NamespaceId, file: RulesFile, described: String },
    /// A server.
    Server(Box<ServerRules>),
}

impl Rules {
    /// Reads the rules of a file; without one, of the server that flags or environment name.
    ///
    /// # Errors
    /// They can't be read.
    pub async fn of(global: &Global, file: Option<&Path>) -> anyhow::Result<Self> {
        if let Some(file) = file {
            let described = format!("rules of {}", file.display());
            let file = rules_file::read(file).map_err(|error| UsageError(format!("{error:#}")))?;
            return Ok(Self::Local { namespace: global.namespace()?, file, described });
        }
        if global.server.is_some() || global.context.is_some() {
            let global = global.in_context()?;
            let (session, address) = (Session::open(&global).await?, global.server().to_owned());
            return Ok(Self::Server(Box::new(ServerRules::read(session, address).await?)));
        }
        let described = "no guardrails and no schemas: --rules FILE or --server URL has some".to_owned();
        Ok(Self::Local { namespace: global.namespace()?, file: RulesFile::default(), described })
    }

    /// Returns in words where they come from.
    pub fn described(&self) -> String {
        match self {
            Self::Local { described, .. } => described.clone(),
            Self::Server(server) => server.described(),
        }
    }

    /// Returns a content as a version of its policy.
    ///
    /// # Errors
    /// The server can't be asked, or nothing says of which kind the content is.
    pub async fn version(&self, content: &Checked) -> anyhow::Result<LocalVersion> {
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
            is_published: false,
        };
        let of_policy = match self {
            Self::Local { file, .. } => {
                version.guardrails.clone_from(&file.guardrails);
                file.apply(&mut version.policy);
                None
            }
            Self::Server(server) => server.apply(&mut version).await?,
        };
        let kind = of_policy.or(content.kind).ok_or_else(|| {
            UsageError(format!("{}: there is no policy {} to say its kind: add --kind", content.path, content.policy))
        })?;
        version.policy.kind = kind;
        if version.content_type.is_empty() {
            version.content_type = kind.content_type().to_owned();
        }
        Ok(version)
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
                (None, Self::Server(server)) => server.active(&policy).await?,
                (here, _) => here,
            };
            active.insert(policy, found);
        }
        Ok(active)
    }

    fn name(&self, content: &Checked) -> PolicyName {
        let namespace = match self {
            Self::Local { namespace, .. } => namespace,
            Self::Server(server) => &server.session.namespace,
        };
        PolicyName { namespace: namespace.clone(), policy: content.policy.clone() }
    }
}
