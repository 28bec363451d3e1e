//! A tenant at its quota: what fits is accepted, the rest is refused with exactly the expected reason, and no try that was lost on the way
//! counts twice.

use policyhub::api::pb;
use policyhub::client::ClientError;

use super::{Promised, WorkloadContext};
use crate::calls::tried;

/// Number of versions that a tenant may have, and how many more it requests.
const VERSIONS_MAX: i64 = 4;
const TOO_MANY: i64 = 2;

/// Fills one tenant after the other until the schedule ends.
pub async fn run(mut context: WorkloadContext) {
    while !context.recorder.stopped() {
        let _ = fill(&mut context).await;
        context.pause().await;
    }
}

async fn fill(context: &mut WorkloadContext) -> Option<()> {
    let request_id = context.next_id();
    let quotas = pb::NamespaceQuotas { max_versions: VERSIONS_MAX, ..Default::default() };
    let request = pb::CreateNamespaceRequest {
        namespace_id: format!("small-{}", context.count),
        namespace: Some(pb::Namespace { quotas: Some(quotas), ..Default::default() }),
        request_id,
        ..Default::default()
    };
    let made = context
        .admin(|mut caller| {
            let request = request.clone();
            async move { caller.admin.create_namespace(request).await }
        })
        .await?;
    let namespace = context.expect("a namespace with quotas is made", made)?.namespace?.name;
    let mut digests = Vec::new();
    for number in 0..VERSIONS_MAX + TOO_MANY {
        let what = format!("version {} of {VERSIONS_MAX} in {namespace}", number + 1);
        let answer = draft(context, &namespace, number).await?;
        if number < VERSIONS_MAX {
            digests.push(context.expect(&what, answer)?.version?.digest);
        } else {
            context.expect_refusal(&what, "QUOTA_EXCEEDED", answer);
        }
    }
    context.promised(Promised::new(format!("{namespace} is full, and has what was acknowledged"), move |caller| {
        let (parent, digests) = (format!("{namespace}/policies/p"), digests.clone());
        async move {
            let request = pb::ListVersionsRequest { parent, ..Default::default() };
            let listed = tried(caller.policy.clone().list_versions(request)).await?.into_inner().versions;
            let found: Vec<_> = listed.iter().map(|version| &version.digest).collect();
            Ok(found.len() == digests.len() && digests.iter().all(|digest| found.contains(&digest)))
        }
    }));
    Some(())
}

async fn draft(
    context: &mut WorkloadContext,
    namespace: &str,
    number: i64,
) -> Option<Result<pb::DraftResponse, ClientError>> {
    let request = pb::DraftRequest {
        parent: format!("{namespace}/policies/p"),
        content: format!("number: {number}\n").into(),
        content_type: "application/yaml".to_owned(),
        allow_missing: true,
        request_id: context.next_id(),
        ..Default::default()
    };
    context
        .admin(|mut caller| {
            let request = request.clone();
            async move { caller.policy.draft(request).await }
        })
        .await
}
