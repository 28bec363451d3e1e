//! Which of the policies that were asked for do not exist: a watch names them all the same, since they may be made later.
//!
//! Boundary: makes only calls that a subscriber may make, so nothing is disclosed that the server would not disclose.

use std::time::Duration;

use super::channel::RpcClient;
use policyhub_core::api::pb;
use policyhub_core::domain::Reason;
use policyhub_core::domain::name::{NamespaceId, PolicyId, PolicyName};

/// Most policies that are asked about. More: a list with many names that are not active yet takes long.
const ASKED_MAX: usize = 100;
/// Sets how long all answers may take together.
const ANSWERS_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns those of `policies` that the server says do not exist. Of the others it says that they do, nothing to this caller, or nothing
/// in time: at most 100 are asked about, for at most 5 s.
pub async fn missing_policies(
    client: &RpcClient,
    namespace: &NamespaceId,
    policies: impl IntoIterator<Item = PolicyId>,
) -> Vec<PolicyId> {
    let mut missing = Vec::new();
    let asking = async {
        for policy in policies.into_iter().take(ASKED_MAX) {
            let name = PolicyName { namespace: namespace.clone(), policy: policy.clone() }.to_string();
            let request = pb::GetActiveRequest { name, metadata_only: true, ..Default::default() };
            let answer = client.get_active(request).await;
            if answer.is_err_and(|error| error.reason == Reason::PolicyNotFound.as_str()) {
                missing.push(policy);
            }
        }
    };
    // Report what was found so far.
    let _ = tokio::time::timeout(ANSWERS_TIMEOUT, asking).await;
    missing
}
