//! Reviews: an author drafts and stages, an approver approves, a publisher publishes and activates; too early, and by the
//! author alone, it is refused.

use policyhub::api::pb;
use policyhub::client::ClientError;
use policyhub::client::signing::digest_of;

use super::{Desk, Told};
use crate::calls::{NAMESPACE, tried};

/// The policy whose versions need an approval.
const POLICY: &str = "reviewed";

/// Reviews one version after the other until the schedule ends.
pub async fn play(mut desk: Desk) {
    if make_policy(&mut desk).await.is_none() {
        return;
    }
    while !desk.recorder.stopped() {
        // None: the schedule ended, or what follows would be refused with reason.
        let _ = review(&mut desk).await;
        desk.pause().await;
    }
}

async fn make_policy(desk: &mut Desk) -> Option<()> {
    let settings = pb::PolicySettings { required_approvals: 1, ..Default::default() };
    let kind = pb::PolicyKind::Yaml.into();
    let policy = pb::Policy { kind, settings: Some(settings), ..Default::default() };
    let request = pb::CreatePolicyRequest {
        parent: NAMESPACE.to_owned(),
        policy_id: POLICY.to_owned(),
        policy: Some(policy),
        request_id: desk.next_id(),
        ..Default::default()
    };
    let made = desk
        .admin(|mut caller| {
            let request = request.clone();
            async move { caller.policy.create_policy(request).await }
        })
        .await?;
    desk.expect("a policy that needs approvals is made", made).map(|_| ())
}

/// One version from draft to activation.
async fn review(desk: &mut Desk) -> Option<()> {
    let content = format!("reviewed: {}\n", desk.next_id());
    let digest = digest_of(content.as_bytes()).to_string();
    let request = pb::DraftRequest {
        parent: format!("{NAMESPACE}/policies/{POLICY}"),
        content: content.into(),
        content_type: "application/yaml".to_owned(),
        request_id: desk.next_id(),
        ..Default::default()
    };
    let drafted = desk
        .person("author", |mut caller| {
            let request = request.clone();
            async move { caller.policy.draft(request).await }
        })
        .await?;
    let name = desk.expect("a draft for review", drafted)?.version?.name;
    let publication = pb::PublishRequest {
        name: name.clone(),
        activate: true,
        reason: "a schedule".to_owned(),
        ..Default::default()
    };
    if desk.dice.chance(40) {
        let request = pb::PublishRequest { request_id: desk.next_id(), ..publication.clone() };
        let early = publish(desk, request).await?;
        desk.expect_refusal(&format!("{name} is published without an approval"), "APPROVALS_MISSING", early);
    }
    let request = pb::StageRequest { name: name.clone(), request_id: desk.next_id(), ..Default::default() };
    let staged = desk
        .person("author", |mut caller| {
            let request = request.clone();
            async move { caller.policy.stage(request).await }
        })
        .await?;
    desk.expect(&format!("{name} is staged"), staged)?;
    if desk.dice.chance(40) {
        let own = approve(desk, "author", &name, &digest).await?;
        desk.expect_refusal(&format!("{name} is approved by its author"), "SELF_APPROVAL", own);
    }
    let approved = approve(desk, "approver", &name, &digest).await?;
    desk.expect(&format!("{name} is approved"), approved)?;
    let request = pb::PublishRequest { request_id: desk.next_id(), ..publication };
    let published = publish(desk, request).await?;
    desk.expect(&format!("{name} is published, approved"), published)?;
    desk.told(Told::new(format!("{name} was approved, and published by another"), move |caller| {
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

async fn publish(desk: &mut Desk, request: pb::PublishRequest) -> Option<Result<pb::PublishResponse, ClientError>> {
    desk.person("publisher", |mut caller| {
        let request = request.clone();
        async move { caller.policy.publish(request).await }
    })
    .await
}

async fn approve(
    desk: &mut Desk,
    who: &str,
    name: &str,
    digest: &str,
) -> Option<Result<pb::ApproveVersionResponse, ClientError>> {
    let request = pb::ApproveVersionRequest {
        name: name.to_owned(),
        digest: digest.to_owned(),
        reason: "read".to_owned(),
        request_id: desk.next_id(),
    };
    desk.person(who, |mut caller| {
        let request = request.clone();
        async move { caller.policy.approve_version(request).await }
    })
    .await
}
