//! Draft and AbandonDraft: what a draft stores, what ends it, and how labels and limits apply.

use policyhub::client::pb::PolicyKind::{Json, Opaque, Yaml};
use policyhub::client::pb::VersionState::{Abandoned, Draft, Published, Staged, Superseded};
use policyhub::client::signing::digest_of;
use policyhub::client::{Client, pb};
use tonic::Code;

use crate::harness::calls::{
    NAMESPACE, Revision as _, abandon, active, create, draft, draft_request, events, get, get_version, head, policy,
    publish, publish_request, reason, refused, refused_fields, set, version,
};
use crate::harness::reviews::{approve, person};
use crate::harness::{on_both_databases, watching};

fn limited(max_open_drafts: i32) -> pb::PolicySettings {
    pb::PolicySettings { max_open_drafts, ..Default::default() }
}

fn labelled(id: &str, label: &str, content: &str) -> pb::DraftRequest {
    pb::DraftRequest { label: label.to_owned(), ..draft_request(id, content) }
}

async fn try_label(client: &Client, id: &str, label: &str, content: &str) -> (i64, i64) {
    let answer = client.draft(labelled(id, label, content)).await.expect("a draft");
    (answer.version.expect("a version").version, answer.cursor.revision())
}

on_both_databases! {
    /// Given any bytes, they are stored, hashed and returned unchanged.
    async fn content_is_kept_to_the_byte(hub: Hub) {
        let client = hub.client().await;
        let contents: [&[u8]; 5] =
            [b"\0", b"\xff\xfe\x80", b"a: 1\r\n\r\n  ", "\u{feff}é\u{301}".as_bytes(), &[7; 1 << 20]];
        for (index, content) in contents.into_iter().enumerate() {
            let request = pb::DraftRequest {
                content: content.to_vec().into(),
                content_type: "application/octet-stream".to_owned(),
                change_note: format!("note {index}"),
                ..draft_request("p", "")
            };
            let drafted = client.draft(request).await.expect("a draft").version.expect("a version");
            assert!(drafted.content.is_empty(), "an answer to Draft is without the content");
            let kept = get_version(&client, "p", drafted.version).await;
            assert_eq!(kept.content, content);
            assert_eq!(kept.digest, digest_of(content).to_string());
            assert_eq!(kept.size_bytes, content.len() as i64);
            assert_eq!(kept.change_note, format!("note {index}"));
            assert_eq!((kept.state(), kept.active, kept.manifest.as_str()), (Draft, false, ""));
            assert_eq!((kept.publisher.as_str(), kept.publish_time, kept.stage_time), ("", None, None));
            assert_eq!(pb::Version { content: Default::default(), ..kept }, drafted);
        }
    }

    /// A draft never reaches a runtime: neither GetActive nor the pointer shows it.
    async fn a_draft_is_never_in_force(hub: Hub) {
        let client = hub.client().await;
        draft(&client, "p", "a: 1").await;
        assert_eq!(active(&client, "p").await, 0);
        let one = pb::GetActiveRequest { name: policy("p"), ..Default::default() };
        refused(client.get_active(one).await, Code::FailedPrecondition, "NO_ACTIVE_VERSION");
        assert_eq!(watching::get_set(&client).await.bundles, []);
    }

    /// Given max_open_drafts 1, a new draft replaces the open one, whose row and content are kept.
    async fn one_draft_supersedes_the_other(hub: Hub) {
        let client = hub.client().await;
        create(&client, "p", Yaml, limited(1)).await;
        draft(&client, "p", "a: 1").await;
        let request = pb::StageRequest { name: version("p", 1), ..Default::default() };
        client.stage(request).await.expect("a stage");
        let request = pb::DraftRequest { supersede_staged: true, ..draft_request("p", "a: 2") };
        client.draft(request).await.expect("a draft");
        draft(&client, "p", "a: 3").await;
        for (number, state, content) in [(1, Superseded, "a: 1"), (2, Superseded, "a: 2"), (3, Draft, "a: 3")] {
            let kept = get_version(&client, "p", number).await;
            assert_eq!((kept.state(), &kept.content[..]), (state, content.as_bytes()));
        }
        let log = events(&client, &policy("p"), 0).await;
        let states: Vec<(&str, pb::VersionState)> =
            log[log.len() - 1].versions.iter().map(|each| (each.version_name.as_str(), each.state())).collect();
        let (two, three) = (version("p", 2), version("p", 3));
        assert_eq!(states, [(two.as_str(), Superseded), (three.as_str(), Draft)], "one event says both");

        client.publish(publish_request("p", 3)).await.expect("a publication");
        draft(&client, "p", "a: 4").await;
        assert_eq!(get_version(&client, "p", 3).await.state(), Published, "what is published is not superseded");
    }

    /// Given a staged version, a draft does not end it: the refusal names who staged it, and its approvals stay until somebody abandons it
    /// explicitly.
    async fn a_staged_version_stays_until_somebody_says_so(hub: Hub) {
        let client = hub.client().await;
        let settings = pb::PolicySettings { required_approvals: 1, ..limited(1) };
        create(&client, "p", Yaml, settings).await;
        let first = try_label(&client, "p", "1.0.0", "a: 1").await;
        let staged = client.stage(pb::StageRequest { name: version("p", first.0), ..Default::default() }).await;
        let staged = staged.expect("a stage").version.expect("a version");
        approve(&person(&hub, "rita").await, &staged).await.expect("an approval");
        let at = head(&client).await;
        let renamed = labelled("p", "1.0.0", "a: 2");
        for request in [draft_request("p", "a: 2"), renamed.clone()] {
            let error = refused(client.draft(request).await, Code::FailedPrecondition, "VERSION_STAGED");
            let received = ["version", "staged_by", "stage_time"].map(|key| error.metadata()[key].clone());
            assert_eq!(received[..2], ["1".to_owned(), "local:admin".to_owned()], "{error:?}");
            assert!(received[2].ends_with('Z') && error.message().contains(&received[2]), "{error}");
            assert!(error.message().contains("staged by local:admin") && error.message().contains("supersede_staged"), "{error}");
        }
        assert_eq!(try_label(&client, "p", "1.0.0", "a: 1").await, (1, 0), "the same label and bytes are that version");
        let kept = get_version(&client, "p", 1).await;
        assert_eq!((kept.state(), kept.approvals.len(), head(&client).await), (Staged, 1, at));
        let forced = pb::DraftRequest { supersede_staged: true, ..renamed };
        assert_eq!(client.draft(forced).await.expect("a draft").version.expect("a version").version, 2);
        assert_eq!(get_version(&client, "p", 1).await.state(), Superseded);
        draft(&client, "p", "a: 3").await;
        assert_eq!(get_version(&client, "p", 2).await.state(), Superseded, "a draft that nobody staged gives way");
    }

    /// Given require_change_note, a draft without a note is refused; earlier drafts and the log stay valid.
    async fn a_policy_may_require_a_note(hub: Hub) {
        let client = hub.client().await;
        draft(&client, "p", "a: 1").await;
        set(&client, "p", pb::PolicySettings { require_change_note: true, ..Default::default() }).await;
        let at = head(&client).await;
        let noted = |note: &str| pb::DraftRequest { change_note: note.to_owned(), ..draft_request("p", "a: 2") };
        for note in ["", " \n"] {
            refused_fields(client.draft(noted(note)).await, &["change_note"]);
        }
        assert_eq!(head(&client).await, at);
        client.draft(noted("raise the cap")).await.expect("a draft");
        client.publish(publish_request("p", 1)).await.expect("it was drafted before");
        let log = client.verify_log(pb::VerifyLogRequest { parent: NAMESPACE.to_owned(), after: None }).await;
        assert!(log.expect("a verdict").valid, "the whole log holds");
        set(&client, "p", pb::PolicySettings::default()).await;
        draft(&client, "p", "a: 3").await;
    }

    /// max_open_drafts above 1 refuses; 0 does not limit; ended drafts do not count.
    async fn further_drafts_are_refused_at_the_limit(hub: Hub) {
        let client = hub.client().await;
        create(&client, "p", Yaml, limited(2)).await;
        draft(&client, "p", "a: 1").await;
        draft(&client, "p", "a: 2").await;
        let at = head(&client).await;
        let error =
            refused(client.draft(draft_request("p", "a: 3")).await, Code::ResourceExhausted, "TOO_MANY_OPEN_DRAFTS");
        assert_eq!(error.metadata()["limit"], "2");
        assert_eq!((head(&client).await, get(&client, "p").await.latest_version), (at, 2));
        abandon(&client, "p", 1).await;
        assert_eq!(draft(&client, "p", "a: 3").await.version, 3);
        set(&client, "p", limited(0)).await;
        assert_eq!(draft(&client, "p", "a: 4").await.version, 4);
    }

    /// Rule 6: the same label with the same bytes returns the existing version; with other bytes, the refusal names both digests.
    async fn a_label_belongs_to_one_content(hub: Hub) {
        let client = hub.client().await;
        let first = try_label(&client, "p", "1.5.0", "a: 1").await;
        assert_eq!(first.0, 1);
        assert_eq!(try_label(&client, "p", "v1.5.0", "a: 1").await, (1, 0), "the same label, with its v");
        let error =
            refused(client.draft(labelled("p", "1.5.0", "a: 2")).await, Code::AlreadyExists, "LABEL_CONTENT_CONFLICT");
        assert_eq!(error.metadata()["existing_digest"], digest_of(b"a: 1").to_string());
        assert_eq!(error.metadata()["given_digest"], digest_of(b"a: 2").to_string());
        assert_eq!((error.metadata()["label"].as_str(), error.metadata()["version"].as_str()), ("1.5.0", "1"));
        assert_eq!(head(&client).await, 1, "neither wrote an event");

        client.publish(publish_request("p", 1)).await.expect("a publication");
        assert_eq!(try_label(&client, "p", "1.5.0", "a: 1").await, (1, 0), "also once it is published");
        assert_eq!(reason(client.draft(labelled("p", "1.5.0", "a: 2")).await), "LABEL_CONTENT_CONFLICT");
        assert_eq!(try_label(&client, "q", "1.5.0", "a: 2").await.0, 1, "another policy has labels of its own");
    }

    /// Given an ended version, its label is free; the draft that replaces one by max_open_drafts may use its label.
    async fn an_ended_version_gives_its_label_back(hub: Hub) {
        let client = hub.client().await;
        try_label(&client, "p", "1.0.0", "a: 1").await;
        abandon(&client, "p", 1).await;
        assert_eq!(try_label(&client, "p", "1.0.0", "a: 2").await.0, 2);
        create(&client, "q", Yaml, limited(1)).await;
        try_label(&client, "q", "1.0.0", "a: 1").await;
        assert_eq!(try_label(&client, "q", "1.0.0", "a: 2").await.0, 2);
        assert_eq!(get_version(&client, "q", "v1.0.0").await.version, 2);
        assert_eq!(get_version(&client, "q", 1).await.state(), Superseded);
    }

    /// Given allow_missing, the policy is created in the same event, in the kind of the content type.
    async fn allow_missing_makes_the_policy(hub: Hub) {
        let client = hub.client().await;
        let without = pb::DraftRequest { allow_missing: false, ..draft_request("p", "a: 1") };
        refused(client.draft(without).await, Code::NotFound, "POLICY_NOT_FOUND");
        for (id, content_type, kind, kept) in [
            ("a", "application/yaml", Yaml, "application/yaml"),
            ("b", "application/vnd.x+json; charset=utf-8", Json, "application/vnd.x+json; charset=utf-8"),
            ("c", "text/plain", Opaque, "text/plain"),
        ] {
            let request = pb::DraftRequest { content_type: content_type.to_owned(), ..draft_request(id, "{}") };
            let drafted = client.draft(request).await.expect("a draft").version.expect("a version");
            assert_eq!((get(&client, id).await.kind(), drafted.content_type.as_str()), (kind, kept));
        }
        assert_eq!(head(&client).await, 3);
        create(&client, "json", Json, limited(0)).await;
        let request = pb::DraftRequest { content_type: String::new(), ..draft_request("json", "{}") };
        let drafted = client.draft(request).await.expect("a draft").version.expect("a version");
        assert_eq!(drafted.content_type, "application/json", "the media type of the policy's kind");
    }

    /// Given validate_only, the answer is as without it, and no policy, version or event is written.
    async fn validate_only_writes_nothing(hub: Hub) {
        let client = hub.client().await;
        let request = pb::DraftRequest { validate_only: true, ..draft_request("p", "a: 1") };
        let answer = client.draft(request.clone()).await.expect("an answer");
        assert_eq!((answer.version.expect("a version").version, answer.cursor.revision()), (1, 0));
        let get = pb::GetPolicyRequest { name: policy("p") };
        refused(client.get_policy(get).await, Code::NotFound, "POLICY_NOT_FOUND");
        draft(&client, "p", "a: 1").await;
        let answer = client.draft(request).await.expect("an answer");
        assert_eq!(answer.version.expect("a version").version, 2);
        let request = pb::AbandonDraftRequest { name: version("p", 1), validate_only: true, ..Default::default() };
        let answer = client.abandon_draft(request).await.expect("an answer");
        assert_eq!((answer.version.expect("a version").state(), answer.cursor.revision()), (Abandoned, 0));
        assert_eq!((head(&client).await, get_version(&client, "p", 1).await.state()), (1, Draft));
    }

    /// The base is shown and must exist; an abandoned draft keeps its content and shows why it ended.
    async fn base_and_end_of_a_draft(hub: Hub) {
        let client = hub.client().await;
        publish(&client, "p", "a: 1").await;
        let based = pb::DraftRequest { base_version: 1, ..draft_request("p", "a: 2") };
        assert_eq!(client.draft(based).await.expect("a draft").version.expect("a version").base_version, 1);
        let baseless = pb::DraftRequest { base_version: 9, ..draft_request("p", "a: 2") };
        refused(client.draft(baseless).await, Code::NotFound, "VERSION_NOT_FOUND");

        let drafted = get_version(&client, "p", 2).await;
        let request = pb::AbandonDraftRequest {
            name: drafted.name.clone(),
            etag: drafted.etag.clone(),
            reason: "no more".to_owned(),
            ..Default::default()
        };
        let ended = client.abandon_draft(request.clone()).await.expect("an end");
        assert_eq!(ended.version.expect("a version").state(), Abandoned);
        let log = events(&client, NAMESPACE, ended.cursor.revision() - 1).await;
        assert_eq!((log[0].kind(), log[0].reason.as_str()), (pb::EventKind::AbandonDraft, "no more"));
        assert_eq!(get_version(&client, "p", 2).await.content, drafted.content);
        refused(client.abandon_draft(request).await, Code::Aborted, "ETAG_MISMATCH");
    }
}
