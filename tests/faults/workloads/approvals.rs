//! Reviews: an author drafts and stages, an approver approves, a publisher publishes and activates; publishing too early, or with the
//! author's own approval, is refused.

use policyhub::api::pb;
use policyhub::client::ClientError;
use policyhub::client::signing::digest_of;

use super::{Promised, WorkloadContext};
use crate::calls::{NAMESPACE, tried};

/// The policy whose versions need an approval.
const POLICY: &str = "reviewed";

/// Reviews one version after the other until the schedule ends.
pub async fn run(mut context: WorkloadContext) {
    if make_policy(&mut context).await.is_none() {
        return;
    }
    while !context.recorder.stopped() {
        // `None`: the schedule ended, or the following calls would rightly be refused.
        let _ = review(&mut context).await;
        context.pause().await;
    }
}

async fn make_policy(context: &mut WorkloadContext) -> Option<()> {
    let settings = pb::PolicySettings { required_approvals: 1, ..Default::default() };
    let kind = pb::PolicyKind::Yaml.into();
    let policy = pb::Policy { kind, settings: Some(settings), ..Default::default() };
    let request = pb::CreatePolicyRequest {
        parent: NAMESPACE.to_owned(),
        policy_id: POLICY.to_owned(),
        policy: Some(policy),
        request_id: context.next_id(),
        ..Default::default()
    };
    let made = context
        .admin(|mut caller| {
            let request = request.clone();
            async move { caller.policy.create_policy(request).await }
        })
        .await?;
    context.expect("a policy that needs approvals is made", made).map(|_| ())
}

/// Reviews one version from draft to activation.
async fn review(context: &mut WorkloadContext) -> Option<()> {
    let content = format!("reviewed: {}\n", context.next_id());
    let digest = digest_of(content.as_bytes()).to_string();
    let request = pb::DraftRequest {
        parent: format!("{NAMESPACE}/policies/{POLICY}"),
        content: content.into(),
        content_type: "application/yaml".to_owned(),
        request_id: context.next_id(),
        ..Default::default()
    };
    let drafted = context
        .person("author", |mut caller| {
            let request = request.clone();
            async move { caller.policy.draft(request).await }
        })
        .await?;
    let name = context.expect("a draft for review", drafted)?.version?.name;
    let publication = pb::PublishRequest {
        name: name.clone(),
        activate: true,
        reason: "a schedule".to_owned(),
        ..Default::default()
    };
    if context.rng.chance(40) {
        let request = pb::PublishRequest { request_id: context.next_id(), ..publication.clone() };
        let early = publish(context, request).await?;
        context.expect_refusal(&format!("{name} is published without an approval"), "APPROVALS_MISSING", early);
    }
    let request = pb::StageRequest { name: name.clone(), request_id: context.next_id(), ..Default::default() };
    let staged = context
        .person("author", |mut caller| {
            let request = request.clone();
            async move { caller.policy.stage(request).await }
        })
        .await?;
    context.expect(&format!("{name} is staged"), staged)?;
    if context.rng.chance(40) {
        let own = approve(context, "author", &name, &digest).await?;
        context.expect_refusal(&format!("{name} is approved by its author"), "SELF_APPROVAL", own);
    }
    let approved = approve(context, "approver", &name, &digest).await?;
    context.expect(&format!("{name} is approved"), approved)?;
    let request = pb::PublishRequest { request_id: context.next_id(), ..publication };
    let published = publish(context, request).await?;
    context.expect(&format!("{name} is published, approved"), published)?;
    context.promised(Promised::new(format!("{name} was approved, and published by another"), move |caller| {
        let (name, digest) = (name.clone(), digest.clone());
        async move {
            let request = pb::GetVersionRequest { name, ..Default::default() };
            let found = tried(caller.policy.clone().get_version(request)).await?.into_inner().version;
            Ok(found.is_some_and(|found| {
                let people = (found.author.as_str(), found.publisher.as_str());
                found.state() == pb::VersionState::Published
                    && found.digest == digest
                    && people == ("local:author", "local:publisher")
            }))
        }
    }));
    Some(())
}

async fn publish(
    context: &mut WorkloadContext,
    request: pb::PublishRequest,
) -> Option<Result<pb::PublishResponse, ClientError>> {
    context
        .person("publisher", |mut caller| {
            let request = request.clone();
            async move { caller.policy.publish(request).await }
        })
        .await
}

async fn approve(
    context: &mut WorkloadContext,
    who: &str,
    name: &str,
    digest: &str,
) -> Option<Result<pb::ApproveVersionResponse, ClientError>> {
    let request = pb::ApproveVersionRequest {
        name: name.to_owned(),
        digest: digest.to_owned(),
        reason: "read".to_owned(),
        request_id: context.next_id(),
    };
    context
        .person(who, |mut caller| {
            let request = request.clone();
            async move { caller.policy.approve_version(request).await }
        })
        .await
}
