//! Asks whether a label may follow the published ones before anything is drafted: a draft that can't be published would use up a number.
//!
//! Boundary: the server owns the rule. When it can't be asked, the draft goes on, and the server decides.

use crate::cli::names::policy_name;
use crate::cli::published_labels::published_labels;
use crate::cli::release::folder::FolderVersion;
use crate::client::name::{NamespaceId, PolicyId};
use crate::client::{Client, ClientError, pb};
use crate::domain::label::Label;

/// Whether the labels of a policy allow one more.
#[derive(Debug, PartialEq, Eq)]
pub enum LabelOrder {
    /// It may follow, as far as is known.
    Free,
    /// It is already published.
    Taken,
    /// It is not higher than this one, and the policy requires it to be.
    Lower(Label),
}

/// The setting that allows lower labels.
const SETTING: &str = "settings.allow_backport";

/// Returns the message for a label that is too low.
pub fn too_low(key: &FolderVersion, highest: &Label) -> String {
    format!("label {} is not higher than {highest}, the highest published label", key.label)
}

/// Returns the command that allows lower labels for a policy.
pub fn allow_command(policy: &PolicyId) -> String {
    format!("`policyhub policy update {policy} --allow-backport true`")
}

/// Returns the message for a release whose label is too low, and what to do.
pub fn remedy(key: &FolderVersion, highest: &Label) -> String {
    let (why, command) = (too_low(key, highest), allow_command(&key.policy));
    format!("{why}: release with --allow-backport, or allow it with {command} (allow_backport)")
}

fn decide(label: &Label, published: &[Label]) -> LabelOrder {
    if published.contains(label) {
        return LabelOrder::Taken;
    }
    match Label::highest(published.iter()) {
        Some(highest) if !label.is_higher_than(highest) => LabelOrder::Lower(highest.clone()),
        _ => LabelOrder::Free,
    }
}

/// Asks how a label compares with those that are published.
pub async fn ask(client: &Client, namespace: &NamespaceId, key: &FolderVersion) -> LabelOrder {
    let Ok(published) = published_labels(client, namespace, &key.policy).await else { return LabelOrder::Free };
    let order = decide(&key.label, &published);
    let LabelOrder::Lower(_) = &order else { return order };
    let name = policy_name(namespace, &key.policy);
    let policy = client.get_policy(pb::GetPolicyRequest { name }).await.ok().and_then(|response| response.policy);
    match policy.and_then(|policy| policy.settings) {
        Some(settings) if !settings.allow_backport => order,
        _ => LabelOrder::Free,
    }
}

/// Allows labels of a policy that are lower than the published ones.
pub async fn allow(
    client: &Client,
    namespace: &NamespaceId,
    key: &FolderVersion,
    request_id: String,
) -> Result<(), ClientError> {
    let settings = pb::PolicySettings { allow_backport: true, ..Default::default() };
    let name = policy_name(namespace, &key.policy);
    let request = pb::UpdatePolicyRequest {
        policy: Some(pb::Policy { name, settings: Some(settings), ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec![SETTING.to_owned()] }),
        request_id,
        validate_only: false,
    };
    client.update_policy(request).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_follows_those_that_are_published_or_not() {
        let label = |text: &str| Label::parse("label", text).expect("a label");
        let published = [label("1.9.0"), label("1.10.0"), label("0.1.0")];
        let lower = || LabelOrder::Lower(label("1.10.0"));
        for (text, order) in [
            ("1.11.0", LabelOrder::Free),
            ("2.0.0-rc.1", LabelOrder::Free),
            ("1.9.0", LabelOrder::Taken),
            ("1.9.1", lower()),
            ("1.10.0-rc.1", lower()),
            ("1.10.0+build", lower()),
        ] {
            assert_eq!(decide(&label(text), &published), order, "{text}");
        }
        assert_eq!(decide(&label("0.0.1"), &[]), LabelOrder::Free);
    }
}
