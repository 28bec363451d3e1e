//! The calls about one namespace.

use std::time::Duration;

use super::client::Client;
use super::error::ClientError;
use super::model::{ConvergenceInfo, FindingInfo, PolicyInfo, VersionInfo, findings};
use super::pages::Pages;
use super::retry::Repeat;
use super::watcher::WatcherBuilder;
use policyhub_core::api::pb;
use policyhub_core::domain::event::Position;
use policyhub_core::domain::limits::CONVERGENCE_WAIT_MAX_SECONDS;
use policyhub_core::domain::name::{NamespaceId, PolicyId, VersionRef};

/// A namespace, asked by a [`Client`]. It is cheap to clone.
#[derive(Debug, Clone)]
pub struct NamespaceClient {
    client: Client,
    id: NamespaceId,
}

/// Says which items of a list, and in which order.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct ListOptions {
    filter: String,
    order_by: String,
}

impl ListOptions {
    /// Takes all of them, in the order of the server.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes only those that a filter says (AIP-160), such as `state = PUBLISHED`. The contract says which fields each list takes. A text
    /// from elsewhere stands in it as [`crate::quoted`] writes it.
    pub fn filter(self, filter: impl Into<String>) -> Self {
        Self { filter: filter.into(), ..self }
    }

    /// Takes them in this order (AIP-132), such as `version desc`.
    pub fn order_by(self, order_by: impl Into<String>) -> Self {
        Self { order_by: order_by.into(), ..self }
    }
}

impl Client {
    /// Returns the calls about one namespace.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for what is no id of a namespace.
    pub fn namespace(&self, id: &str) -> Result<NamespaceClient, ClientError> {
        let id = NamespaceId::parse("namespace", id).map_err(|error| ClientError::invalid(&error))?;
        Ok(NamespaceClient { client: self.clone(), id })
    }
}

impl NamespaceClient {
    /// Returns its id.
    #[must_use]
    pub fn id(&self) -> &NamespaceId {
        &self.id
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Begins a watcher of its active policies, over the connections of the client.
    pub fn watcher(&self) -> WatcherBuilder {
        WatcherBuilder::over(self.client.pool().clone(), self.id.clone())
    }

    /// Returns the name of a policy of it.
    pub(crate) fn policy_name(&self, policy: &str) -> Result<String, ClientError> {
        let policy = PolicyId::parse("policy", policy).map_err(|error| ClientError::invalid(&error))?;
        Ok(format!("{}/policies/{policy}", self.id.name()))
    }

    /// Returns the name of a version: `7`, `active`, `latest`, or `v` and a label.
    fn version_name(&self, policy: &str, version: &str) -> Result<String, ClientError> {
        VersionRef::parse("version", version).map_err(|error| ClientError::invalid(&error))?;
        Ok(format!("{}/versions/{version}", self.policy_name(policy)?))
    }

    /// Reads a policy.
    ///
    /// # Errors
    /// The error of the call; INVALID_ARGUMENT for an id that is none.
    pub async fn policy(&self, policy: &str) -> Result<PolicyInfo, ClientError> {
        let request = pb::GetPolicyRequest { name: self.policy_name(policy)? };
        let call = self
            .client
            .read("GetPolicy", request, |mut rpc, request| async move { rpc.policy.get_policy(request).await });
        PolicyInfo::read(call.await?.policy)
    }

    /// Lists its policies.
    pub fn policies(&self, options: ListOptions) -> Pages<PolicyInfo> {
        let namespace = self.clone();
        Pages::new(move |page_token| {
            let (namespace, ListOptions { filter, order_by }) = (namespace.clone(), options.clone());
            async move {
                let parent = namespace.id.name();
                let request = pb::ListPoliciesRequest { parent, page_token, filter, order_by, ..Default::default() };
                let call = namespace.client.read("ListPolicies", request, |mut rpc, request| async move {
                    rpc.policy.list_policies(request).await
                });
                let answer = call.await?;
                let policies = answer.policies.into_iter().map(|policy| PolicyInfo::read(Some(policy)));
                Ok((policies.collect::<Result<_, _>>()?, answer.next_page_token))
            }
        })
    }

    /// Reads a version with its content: `7`, `active`, `latest`, or `v` and a label.
    ///
    /// # Errors
    /// The error of the call; INVALID_ARGUMENT for an id or a version that is none.
    pub async fn version(&self, policy: &str, version: &str) -> Result<VersionInfo, ClientError> {
        let view = pb::VersionView::Full.into();
        let request = pb::GetVersionRequest { name: self.version_name(policy, version)?, view };
        let call = self
            .client
            .read("GetVersion", request, |mut rpc, request| async move { rpc.policy.get_version(request).await });
        VersionInfo::read(call.await?.version)
    }

    /// Lists the versions of a policy, without their contents.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for an id that is none; the errors of calls come with the items.
    pub fn versions(&self, policy: &str, options: ListOptions) -> Result<Pages<VersionInfo>, ClientError> {
        let (namespace, parent) = (self.clone(), self.policy_name(policy)?);
        Ok(Pages::new(move |page_token| {
            let (namespace, parent) = (namespace.clone(), parent.clone());
            let ListOptions { filter, order_by } = options.clone();
            async move {
                let view = pb::VersionView::Basic.into();
                let page_size = 0;
                let request = pb::ListVersionsRequest { parent, page_size, page_token, view, filter, order_by };
                let call = namespace.client.read("ListVersions", request, |mut rpc, request| async move {
                    rpc.policy.list_versions(request).await
                });
                let answer = call.await?;
                let versions = answer.versions.into_iter().map(|version| VersionInfo::read(Some(version)));
                Ok((versions.collect::<Result<_, _>>()?, answer.next_page_token))
            }
        }))
    }

    /// Reads what the checks found the last time they ran on a version.
    ///
    /// # Errors
    /// The error of the call; INVALID_ARGUMENT for an id or a version that is none.
    pub async fn findings(&self, policy: &str, version: &str) -> Result<Vec<FindingInfo>, ClientError> {
        let request = pb::GetValidationReportRequest { name: self.version_name(policy, version)? };
        let call = self.client.read("GetValidationReport", request, |mut rpc, request| async move {
            rpc.policy.get_validation_report(request).await
        });
        Ok(findings(call.await?.report))
    }

    /// Reads how far an activation has come. It waits until each runtime has said what it did, or as long as is given: at most 60 s.
    ///
    /// # Errors
    /// The error of the call.
    pub async fn convergence(&self, at: Position, wait: Duration) -> Result<ConvergenceInfo, ClientError> {
        let longest = Duration::from_secs(CONVERGENCE_WAIT_MAX_SECONDS);
        let wait = wait.min(longest);
        let (parent, cursor) = (self.id.name(), Some(at.into()));
        let request = pb::GetConvergenceRequest { parent, cursor, wait: prost_types::Duration::try_from(wait).ok() };
        let timeout = self.client.call_timeout().saturating_add(wait);
        let call = self.client.call("GetConvergence", Repeat::Read, timeout, request, |mut rpc, request| async move {
            rpc.sync.get_convergence(request).await
        });
        Ok(ConvergenceInfo::read(call.await?))
    }
}
