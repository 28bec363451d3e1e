//! Reads the labels that a policy has published.

use crate::cli::names::policy_name;
use crate::cli::pages;
use crate::client::name::{NamespaceId, PolicyId};
use crate::client::{Client, ClientError, pb};
use crate::domain::label::Label;

/// Returns the labels of all published versions of a policy, in no particular order.
///
/// # Errors
/// The policy does not exist, or the server can't be asked.
pub async fn published_labels(
    client: &Client,
    namespace: &NamespaceId,
    policy: &PolicyId,
) -> Result<Vec<Label>, ClientError> {
    let parent = policy_name(namespace, policy);
    let (labels, _) = pages::collect(usize::MAX, async |page_token, page_size| {
        let (parent, filter) = (parent.clone(), "state = PUBLISHED".to_owned());
        let request = pb::ListVersionsRequest { parent, page_size, page_token, filter, ..Default::default() };
        let page = client.list_versions(request).await?;
        // Keep only the labels: the length of the list is bounded by the server alone.
        let labels = page.versions.iter().map(|version| Label::parse("label", &version.label).ok());
        Ok((labels.collect(), page.next_page_token))
    })
    .await?;
    Ok(labels.into_iter().flatten().collect())
}
