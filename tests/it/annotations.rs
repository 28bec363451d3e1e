//! Annotations: stored with the version, signed in its manifest, shown, compared, searched for, and never changed.

use std::collections::HashMap;
use std::process::{Command, Stdio};

use policyhub::client::signing::verify_bundle;
use policyhub::client::{Client, pb};
use tonic::Code;

use crate::harness::calls::{
    NAMESPACE, Revision as _, activate, draft, draft_request, get_version, policy, publish_request, refused,
    refused_fields, release, rollback_request, trust,
};
use crate::harness::on_both_databases;

type Map = HashMap<String, String>;

fn map(entries: &[(&str, &str)]) -> Map {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn request(id: &str, content: &str, annotations: &[(&str, &str)]) -> pb::DraftRequest {
    pb::DraftRequest { annotations: map(annotations), ..draft_request(id, content) }
}

async fn published(client: &Client, id: &str, content: &str, annotations: &[(&str, &str)]) -> pb::Version {
    let drafted = client.draft(request(id, content, annotations)).await.expect("a draft").version.expect("a version");
    let done = client.publish(publish_request(id, drafted.version)).await.expect("a publication");
    done.version.expect("a version")
}

/// Returns the annotations in the verified manifest of a version.
async fn signed(client: &Client, version: &pb::Version) -> Map {
    let keys = trust(client).await.keys;
    let manifest = verify_bundle(&version.manifest, &version.content, &keys).expect("a manifest");
    manifest.annotations.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Returns the ids of the policies that have these annotations, from all pages.
async fn having(client: &Client, annotations: &[(&str, &str)], page_size: i32) -> Vec<String> {
    let mut wanted = policyhub::client::Conditions::default();
    annotations.iter().for_each(|(key, value)| wanted.add_text(&format!("annotations.{key}"), ":", value));
    let mut request = pb::ListPoliciesRequest {
        parent: NAMESPACE.to_owned(),
        page_size,
        filter: wanted.to_string(),
        ..Default::default()
    };
    let mut ids = Vec::new();
    loop {
        let page = client.list_policies(request.clone()).await.expect("a page");
        ids.extend(page.policies.iter().map(|found| found.name.rsplit('/').next().unwrap_or_default().to_owned()));
        if page.next_page_token.is_empty() {
            return ids;
        }
        request.page_token = page.next_page_token;
    }
}

fn run(mut command: Command, arguments: &[&str]) -> (i32, String, String) {
    let output = command.args(arguments).stdin(Stdio::null()).output().expect("the binary runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("a code"), text(output.stdout), text(output.stderr))
}

on_both_databases! {
    /// From the draft to the signature, and in a copy too, the annotations are the same.
    async fn annotations_travel_with_the_version(hub: Hub) {
        let client = hub.client().await;
        let given = [("owner", "team-a"), ("x/display_name", "zo\u{eb} \"z\"\n\tof"), ("Empty", "")];
        let drafted = client.draft(request("p", "a: 1", &given)).await.expect("a draft").version.expect("a version");
        assert_eq!(drafted.annotations, map(&given));
        activate(&client, "p", published(&client, "p", "a: 2", &given).await.version).await;
        let kept = get_version(&client, "p", 2).await;
        assert_eq!((&kept.annotations, signed(&client, &kept).await), (&map(&given), map(&given)));
        let list = pb::ListVersionsRequest { parent: policy("p"), ..Default::default() };
        let listed = client.list_versions(list).await.expect("versions").versions;
        assert!(listed.len() == 2 && listed.iter().all(|each| each.annotations == map(&given)), "{listed:?}");

        release(&client, "p", "a: 3").await;
        let plain = get_version(&client, "p", 3).await;
        assert_eq!((&plain.annotations, signed(&client, &plain).await), (&Map::new(), Map::new()));
        let copy = pb::RollbackRequest { mode: pb::RollbackMode::CopyForward.into(), ..rollback_request("p", 2) };
        client.rollback(copy).await.expect("a copy");
        let copy = get_version(&client, "p", 4).await;
        assert_eq!((&copy.annotations, signed(&client, &copy).await), (&map(&given), map(&given)));
    }

    /// Given a published version, the database refuses to change its annotations; given a draft, an edit is detected.
    async fn annotations_never_change(hub: Hub) {
        let client = hub.client().await;
        published(&client, "p", "a: 1", &[("owner", "team-a")]).await;
        client.draft(request("p", "a: 2", &[("owner", "team-a")])).await.expect("a draft");
        let change = |number: i64, to: &str| format!("UPDATE versions SET annotations = {to} WHERE number = {number}");
        let error = hub.try_tamper(&change(1, "NULL")).expect_err("a published row");
        assert!(error.contains("are immutable"), "{error}");
        for to in ["NULL", "'{\"owner\":\"team-b\"}'"] {
            hub.tamper(&change(2, to));
            refused(client.publish(publish_request("p", 2)).await, Code::DataLoss, "DATA_LOSS");
        }
    }

    /// A label stands for its content and its annotations; a caller that sends no annotations gets the existing version.
    async fn a_label_is_not_taken_twice_with_other_annotations(hub: Hub) {
        let client = hub.client().await;
        let labelled = |annotations: &[(&str, &str)]| pb::DraftRequest {
            label: "1.0.0".to_owned(),
            ..request("p", "a: 1", annotations)
        };
        client.draft(labelled(&[("owner", "a")])).await.expect("a draft");
        for same in [&[("owner", "a")][..], &[]] {
            let answer = client.draft(labelled(same)).await.expect("the one that is there");
            assert_eq!((answer.cursor.revision(), answer.version.expect("a version").annotations), (0, map(&[("owner", "a")])));
        }
        let error = refused(
            client.draft(labelled(&[("owner", "b")])).await,
            Code::AlreadyExists,
            "LABEL_CONTENT_CONFLICT",
        );
        assert!(error.message().contains("other annotations"), "{error}");
    }

    /// Annotations above a limit or with other characters are refused, and nothing is drafted.
    async fn annotations_are_bounded(hub: Hub) {
        let client = hub.client().await;
        let (key, value) = ("k".repeat(65), "v".repeat(2_049));
        for (entries, field) in [
            (vec![("an owner", "a")], "annotations"),
            (vec![("", "a")], "annotations"),
            (vec![(key.as_str(), "a")], "annotations"),
            (vec![("owner", value.as_str())], "annotations.owner"),
            (vec![("owner", "\u{1b}[2J")], "annotations.owner"),
            (vec![("a", &value[..2_048]), ("b", &value[..2_047])], "annotations"),
        ] {
            refused_fields(client.draft(request("p", "a: 1", &entries)).await, &[field]);
        }
        let many = (0..65).map(|index| (index.to_string(), String::new())).collect();
        let many = pb::DraftRequest { annotations: many, ..draft_request("p", "a: 1") };
        refused_fields(client.draft(many).await, &["annotations"]);
        let get = pb::GetPolicyRequest { name: policy("p") };
        refused(client.get_policy(get).await, Code::NotFound, "POLICY_NOT_FOUND");
    }

    /// A search uses the newest published version, not an older one and not a draft.
    async fn policies_are_found_by_their_annotations(hub: Hub) {
        let client = hub.client().await;
        for (id, owner) in [("a", "team-a"), ("b", "team-b"), ("c", "team-a"), ("d", "team-a")] {
            published(&client, id, "a: 1", &[("owner", owner), ("categories", "pricing, eu")]).await;
        }
        published(&client, "c", "a: 2", &[("owner", "team-c")]).await;
        client.draft(request("b", "a: 2", &[("owner", "team-a")])).await.expect("a draft");
        draft(&client, "e", "a: 1").await;
        for page_size in [0, 1] {
            assert_eq!(having(&client, &[("owner", "team-a")], page_size).await, ["a", "d"]);
            assert_eq!(having(&client, &[("owner", "team-b"), ("categories", "eu")], page_size).await, ["b"]);
            assert_eq!(having(&client, &[("categories", "pricing")], page_size).await, ["a", "b", "d"]);
            assert_eq!(having(&client, &[("categories", "pric")], page_size).await, Vec::<String>::new());
            assert_eq!(having(&client, &[("owner", "team-a"), ("owner", "team-b")], page_size).await, Vec::<String>::new());
            assert_eq!(having(&client, &[], page_size).await, ["a", "b", "c", "d", "e"]);
        }
        let first = pb::ListPoliciesRequest { parent: NAMESPACE.to_owned(), page_size: 1, ..Default::default() };
        let page_token = client.list_policies(first.clone()).await.expect("a page").next_page_token;
        let other = pb::ListPoliciesRequest { page_token, filter: "annotations.owner = \"team-a\"".to_owned(), ..first };
        refused(client.list_policies(other).await, Code::InvalidArgument, "INVALID_PAGE_TOKEN");
    }

    /// The options that people type and the output that they see.
    async fn annotations_on_the_command_line(hub: Hub) {
        let client = hub.client().await;
        let file = hub.dir.path().join("p.yaml");
        std::fs::write(&file, "a: 1\n").expect("written");
        let file = file.display().to_string();
        let with = ["draft", "p", &file, "--create", "--annotation", "owner=team-a", "--annotation", "tier=1"];
        let (code, _, errors) = run(hub.cli(), &with);
        assert_eq!(code, 0, "{errors}");
        let (code, _, errors) = run(hub.cli(), &["draft", "p", &file, "--annotation", "owner=team-b"]);
        assert_eq!(code, 0, "{errors}");
        client.publish(publish_request("p", 1)).await.expect("a publication");
        let (_, content, about) = run(hub.cli(), &["show", "p@1"]);
        assert!(content == "a: 1\n" && about.contains("\nowner: team-a\ntier: 1\n"), "{content}{about}");
        let (_, text, _) = run(hub.cli(), &["history", "p"]);
        assert!(text.contains("ANNOTATIONS") && text.contains("owner=team-a, tier=1"), "{text}");
        let (_, text, about) = run(hub.cli(), &["diff", "p", "1", "2"]);
        assert_eq!((text.as_str(), about.as_str()), ("", "annotations: owner team-a -> team-b, tier 1 -> none\n"));
        let (_, json, _) = run(hub.cli(), &["history", "p", "--output", "json"]);
        let document: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(document["versions"][1]["annotations"]["owner"], "team-a");
        for (annotation, found) in [("owner=team-a", true), ("owner=team-b", false)] {
            let (code, text, errors) = run(hub.cli(), &["policy", "list", "--annotation", annotation]);
            assert!(code == 0 && text.contains("\np  ") == found, "{annotation}: {text}{errors}");
        }
        let twice = ["policy", "list", "--annotation", "a=1", "--annotation", "a=2"];
        assert_eq!(run(hub.cli(), &twice).0, 2);
    }
}
