//! Policies and namespaces: created, read, updated by mask, listed by page.

use policyhub::client::pb::PolicyKind::{Json, Opaque, Yaml};
use policyhub::client::pb::activate_target::To;
use policyhub::client::{Client, ClientError, pb};
use prost_types::FieldMask;
use tonic::Code;

use crate::harness::calls::{
    NAMESPACE, Revision as _, create, draft, events, get, head, policy, refused, refused_fields, release, set,
};
use crate::harness::on_both_databases;

fn all_settings() -> pb::PolicySettings {
    pb::PolicySettings {
        max_open_drafts: 3,
        json_schema: r#"{"type":"object"}"#.to_owned(),
        allow_backport: true,
        bump_rule: pb::BumpRule::Next.into(),
        allow_draft_fallback: true,
        required_approvals: 2,
        require_change_note: true,
        require_base_active: true,
        reference_keys: vec!["source_pointer".to_owned(), "see".to_owned()],
    }
}

async fn update(client: &Client, given: pb::Policy, paths: &[&str]) -> Result<pb::UpdatePolicyResponse, ClientError> {
    let paths = paths.iter().map(ToString::to_string).collect();
    let request =
        pb::UpdatePolicyRequest { policy: Some(given), update_mask: Some(FieldMask { paths }), ..Default::default() };
    client.update_policy(request).await
}

async fn namespace(client: &Client, id: &str) -> pb::Namespace {
    let request = pb::GetNamespaceRequest { name: format!("namespaces/{id}") };
    client.get_namespace(request).await.expect("a namespace").namespace.expect("a namespace")
}

async fn create_namespace(client: &Client, id: &str) -> Result<pb::CreateNamespaceResponse, ClientError> {
    let given = pb::Namespace { description: format!("of {id}"), ..Default::default() };
    let request =
        pb::CreateNamespaceRequest { namespace_id: id.to_owned(), namespace: Some(given), ..Default::default() };
    client.create_namespace(request).await
}

on_both_databases! {
    /// The caller's fields are kept; fields that the server sets can't be set by the caller.
    async fn a_policy_is_made_once(hub: Hub) {
        let client = hub.client().await;
        let given = pb::Policy {
            kind: Json.into(),
            description: "who may".to_owned(),
            settings: Some(all_settings()),
            active_version: 7,
            latest_version: 7,
            etag: "99".to_owned(),
            ..Default::default()
        };
        let request = pb::CreatePolicyRequest {
            parent: NAMESPACE.to_owned(),
            policy_id: "p".to_owned(),
            policy: Some(given),
            ..Default::default()
        };
        let rehearsal = pb::CreatePolicyRequest { validate_only: true, ..request.clone() };
        assert_eq!(client.create_policy(rehearsal.clone()).await.expect("a rehearsal").cursor.revision(), 0);
        let answer = client.create_policy(request.clone()).await.expect("a policy");
        let made = answer.policy.expect("a policy");
        assert_eq!((made.name.clone(), made.kind(), made.description.as_str()), (policy("p"), Json, "who may"));
        assert_eq!(made.settings, Some(all_settings()));
        assert_eq!((made.active_version, made.latest_version, answer.cursor.revision()), (0, 0, 1));
        assert_eq!(get(&client, "p").await, made);
        refused(client.create_policy(request).await, Code::AlreadyExists, "POLICY_EXISTS");
        refused(client.create_policy(rehearsal).await, Code::AlreadyExists, "POLICY_EXISTS");
        assert_eq!(head(&client).await, 1);
        let bare = create(&client, "bare", pb::PolicyKind::Unspecified, pb::PolicySettings::default()).await;
        assert_eq!(bare.kind(), Opaque);
    }

    /// Without a mask, fields that are not populated stay unchanged (AIP-134).
    async fn without_a_mask_nothing_is_reset(hub: Hub) {
        let client = hub.client().await;
        create(&client, "p", Yaml, all_settings()).await;
        let given = pb::Policy { name: policy("p"), description: "new".to_owned(), ..Default::default() };
        let now = update(&client, given, &[]).await.expect("an update").policy.expect("a policy");
        assert_eq!((now.description.as_str(), now.settings), ("new", Some(all_settings())));
        let settings = pb::PolicySettings { max_open_drafts: 5, ..Default::default() };
        let given = pb::Policy { name: policy("p"), settings: Some(settings), ..Default::default() };
        let now = update(&client, given, &[]).await.expect("an update").policy.expect("a policy");
        let expected = pb::PolicySettings { max_open_drafts: 5, ..all_settings() };
        assert_eq!((now.description.as_str(), now.settings), ("new", Some(expected)));
        // Send back what was read, without a change.
        let at = get(&client, "p").await;
        let now = update(&client, at.clone(), &[]).await.expect("an update").policy.expect("a policy");
        assert_eq!((now.description, now.settings), (at.description, at.settings));
    }

    /// Only the fields of the mask change; `*` means all; every field has a path.
    async fn a_mask_takes_what_it_names(hub: Hub) {
        let client = hub.client().await;
        let before = create(&client, "p", Yaml, pb::PolicySettings::default()).await;
        let new = || pb::Policy {
            name: policy("p"),
            kind: Json.into(),
            description: "new".to_owned(),
            settings: Some(all_settings()),
            ..Default::default()
        };
        let mut expected = pb::PolicySettings::default();
        for (path, take) in [
            (
                "max_open_drafts",
                (|to, from| to.max_open_drafts = from.max_open_drafts)
                    as fn(&mut pb::PolicySettings, pb::PolicySettings),
            ),
            ("json_schema", |to, from| to.json_schema = from.json_schema),
            ("allow_backport", |to, from| to.allow_backport = from.allow_backport),
            ("bump_rule", |to, from| to.bump_rule = from.bump_rule),
            ("allow_draft_fallback", |to, from| to.allow_draft_fallback = from.allow_draft_fallback),
            ("required_approvals", |to, from| to.required_approvals = from.required_approvals),
            ("require_change_note", |to, from| to.require_change_note = from.require_change_note),
            ("require_base_active", |to, from| to.require_base_active = from.require_base_active),
            ("reference_keys", |to, from| to.reference_keys = from.reference_keys),
        ] {
            take(&mut expected, all_settings());
            let answer = update(&client, new(), &[&format!("settings.{path}")]).await.expect("an update");
            let now = answer.policy.expect("a policy");
            assert_eq!((now.settings, now.description.as_str()), (Some(expected.clone()), ""), "{path}");
            assert_eq!(answer.cursor.revision(), head(&client).await);
        }
        let now = update(&client, new(), &["description"]).await.expect("an update").policy.expect("a policy");
        assert_eq!((now.description.as_str(), now.kind()), ("new", Yaml), "the mask does not name the kind");
        let emptied = pb::Policy { name: policy("p"), ..Default::default() };
        refused_fields(update(&client, emptied.clone(), &[]).await, &["update_mask"]);
        let now = update(&client, emptied, &["*"]).await.expect("an update").policy.expect("a policy");
        assert_eq!((now.description.as_str(), &now.settings), ("", &Some(pb::PolicySettings::default())));
        assert_eq!((now.create_time, get(&client, "p").await), (before.create_time, now));
        let at = head(&client).await;
        for path in ["create_time", "settings.nothing", "name", "", "*"] {
            refused_fields(update(&client, new(), &["description", path]).await, &["update_mask"]);
        }
        assert_eq!((head(&client).await, get(&client, "p").await.description), (at, String::new()));
    }

    /// An etag must be the current one; a pointer that moves does not change it.
    async fn an_etag_guards_a_policy(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        let first = get(&client, "p").await;
        draft(&client, "p", "a: 2").await;
        assert_eq!(get(&client, "p").await.etag, first.etag);
        let change = |etag: &str, text: &str| pb::Policy {
            name: policy("p"),
            etag: etag.to_owned(),
            description: text.to_owned(),
            ..Default::default()
        };
        let second = update(&client, change(&first.etag, "a"), &["description"]).await.expect("an update");
        let second = second.policy.expect("a policy");
        assert_ne!(second.etag, first.etag);
        let error =
            refused(update(&client, change(&first.etag, "b"), &["description"]).await, Code::Aborted, "ETAG_MISMATCH");
        assert_eq!((&error.metadata()["given"], &error.metadata()["current"]), (&first.etag, &second.etag));
        refused_fields(update(&client, change("what is it", "b"), &["description"]).await, &["etag"]);
        update(&client, change("", "c"), &["description"]).await.expect("without one, the last wins");
        let last = get(&client, "p").await;
        assert_eq!((last.description.as_str(), last.active_version), ("c", 1));
    }

    /// A schema is checked when it is set, and a bad one changes nothing.
    async fn a_schema_is_checked_when_it_is_set(hub: Hub) {
        let client = hub.client().await;
        let before = create(&client, "p", Yaml, all_settings()).await;
        let outside = r#"{"$ref":"https://example.com/schema.json"}"#;
        for schema in ["{", "[]", r#"{"type":"nonsense"}"#, outside, &"x".repeat(300 * 1024)] {
            let settings = pb::PolicySettings { json_schema: schema.to_owned(), ..Default::default() };
            let given = pb::Policy { name: policy("p"), settings: Some(settings.clone()), ..Default::default() };
            refused(update(&client, given, &["settings"]).await, Code::InvalidArgument, "INVALID_SCHEMA");
            let request = pb::CreatePolicyRequest {
                parent: NAMESPACE.to_owned(),
                policy_id: "q".to_owned(),
                policy: Some(pb::Policy { kind: Yaml.into(), settings: Some(settings), ..Default::default() }),
                ..Default::default()
            };
            refused(client.create_policy(request).await, Code::InvalidArgument, "INVALID_SCHEMA");
        }
        assert_eq!((get(&client, "p").await, head(&client).await), (before, 1));
        set(&client, "p", pb::PolicySettings::default()).await;
    }

    /// Policies and namespaces are listed in byte order of their names, whatever the pages.
    async fn lists_are_in_order(hub: Hub) {
        let client = hub.client().await;
        let ids = ["a", "a-b", "a0", "aa", "b", "z9"];
        for id in ["b", "aa", "z9", "a-b", "a", "a0"] {
            create(&client, id, Yaml, pb::PolicySettings::default()).await;
            create_namespace(&client, id).await.expect("a namespace");
        }
        let (mut seen, mut request) =
            (Vec::new(), pb::ListPoliciesRequest { parent: NAMESPACE.to_owned(), page_size: 2, ..Default::default() });
        loop {
            let page = client.list_policies(request.clone()).await.expect("a page");
            seen.extend(page.policies.into_iter().map(|each| each.name));
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        assert_eq!(seen, ids.map(policy));
        let (mut seen, mut request) = (Vec::new(), pb::ListNamespacesRequest { page_size: 2, ..Default::default() });
        loop {
            let page = client.list_namespaces(request.clone()).await.expect("a page");
            seen.extend(page.namespaces.into_iter().map(|each| each.name));
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        let mut expected: Vec<String> =
            ids.iter().chain(&["default", "system"]).map(|id| format!("namespaces/{id}")).collect();
        expected.sort_unstable();
        assert_eq!(seen, expected);
    }

    /// Namespaces are created once, changed under their etag, and separate their policies.
    async fn namespaces_part_their_policies(hub: Hub) {
        let client = hub.client().await;
        let made = create_namespace(&client, "team").await.expect("a namespace").namespace.expect("a namespace");
        assert_eq!((made.name.as_str(), made.description.as_str()), ("namespaces/team", "of team"));
        assert_eq!((made.head.expect("a head").revision, &made.head_hash[..]), (0, &[0_u8; 32][..]));
        assert_eq!(namespace(&client, "team").await, made);
        for id in ["team", "default", "system"] {
            refused(create_namespace(&client, id).await, Code::AlreadyExists, "NAMESPACE_EXISTS");
        }
        let change = |etag: &str, path: &str| pb::UpdateNamespaceRequest {
            namespace: Some(pb::Namespace {
                name: "namespaces/team".to_owned(),
                etag: etag.to_owned(),
                description: "ours".to_owned(),
                ..Default::default()
            }),
            update_mask: Some(FieldMask { paths: vec![path.to_owned()] }),
            ..Default::default()
        };
        let changed = client.update_namespace(change(&made.etag, "description")).await.expect("an update");
        assert_eq!(changed.namespace.expect("a namespace").description, "ours");
        let stale = client.update_namespace(change(&made.etag, "description")).await;
        refused(stale, Code::Aborted, "ETAG_MISMATCH");
        refused_fields(client.update_namespace(change("", "head")).await, &["update_mask"]);
        refused_fields(client.update_namespace(pb::UpdateNamespaceRequest::default()).await, &["namespace"]);

        draft(&client, "p", "a: 1").await;
        let there = pb::DraftRequest {
            parent: "namespaces/team/policies/p".to_owned(),
            ..crate::harness::calls::draft_request("p", "b: 1")
        };
        let drafted = client.draft(there).await.expect("a draft");
        assert_eq!((drafted.version.expect("a version").version, drafted.cursor.revision()), (1, 1), "numbers of its own");
        assert_eq!(events(&client, "namespaces/team", 0).await.len(), 1);
        let target = pb::ActivateTarget { policy: policy("p"), to: Some(To::Version(1)), expected_active: None };
        let across = pb::ActivateRequest {
            parent: "namespaces/team".to_owned(),
            targets: vec![target],
            reason: "x".to_owned(),
            ..Default::default()
        };
        refused_fields(client.activate(across).await, &["targets[0].policy"]);
    }
}
