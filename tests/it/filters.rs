//! `filter` and `order_by` of every list: exactly the matching items, page by page, whatever an attacker writes there.

use std::collections::BTreeSet;

use policyhub::client::{Client, ClientError, pb};
use prost_types::FieldMask;
use tonic::Code;

use crate::harness::callers::{caller, grant, namespace};
use crate::harness::calls::{
    NAMESPACE, create, draft, head, policy, publish_request, refused, refused_fields, release, try_activate,
};
use crate::harness::on_both_databases;
use crate::harness::runs::{record, run_request};
use crate::harness::subscribing::{applied, rejected};

/// Every list that takes a filter.
const LISTS: [&str; 9] =
    ["policies", "versions", "events", "subscribers", "runs", "namespaces", "role bindings", "denials", "signing keys"];

/// The request for a list.
#[derive(Debug, Clone, Default)]
struct FilterCase {
    filter: String,
    order_by: String,
    page_size: i32,
    page_token: String,
}

fn by(filter: &str) -> FilterCase {
    FilterCase { filter: filter.to_owned(), ..FilterCase::default() }
}

/// Returns the last part of a name.
fn id(name: &str) -> String {
    name.rsplit('/').next().unwrap_or_default().to_owned()
}

/// Returns a page of a list: the ids of its items and the next page token.
async fn page(client: &Client, list: &str, asked: FilterCase) -> Result<(Vec<String>, String), ClientError> {
    let FilterCase { filter, order_by, page_size, page_token } = asked;
    let parent = NAMESPACE.to_owned();
    macro_rules! read {
        ($method:ident($request:ident { $($field:ident $(: $value:expr)?),* }) . $items:ident, $id:expr) => {{
            let answer = client.$method(pb::$request { filter, order_by, page_size, page_token, $($field $(: $value)?),* }).await?;
            (answer.$items.iter().map($id).collect(), answer.next_page_token)
        }};
    }
    Ok(match list {
        "policies" => read!(list_policies(ListPoliciesRequest { parent }).policies, |each| id(&each.name)),
        "versions" => {
            let parent = policy("p");
            read!(list_versions(ListVersionsRequest { parent, view: 0 }).versions, |each| each.version.to_string())
        }
        "events" => {
            read!(list_events(ListEventsRequest { parent, after: None, import_position: 0 }).events, |each| each
                .cursor
                .unwrap_or_default()
                .revision
                .to_string())
        }
        "subscribers" => read!(list_subscribers(ListSubscribersRequest { parent }).subscribers, |each| id(&each.name)),
        "runs" => read!(list_runs(ListRunsRequest { parent }).runs, |each| id(&each.name)),
        "namespaces" => read!(list_namespaces(ListNamespacesRequest {}).namespaces, |each| id(&each.name)),
        "role bindings" => {
            read!(list_role_bindings(ListRoleBindingsRequest { parent }).role_bindings, |each| each.member.clone())
        }
        "denials" => read!(list_denials(ListDenialsRequest { parent }).denials, |each| each.principal.clone()),
        "signing keys" => {
            let answer = client.list_signing_keys(pb::ListSigningKeysRequest { filter, order_by }).await?;
            (answer.keys.iter().map(|key| key.purpose().as_str_name().to_owned()).collect(), String::new())
        }
        other => panic!("{other}"),
    })
}

/// Returns the ids of a whole list, read in pages of this size.
async fn listed(client: &Client, list: &str, asked: &FilterCase) -> Vec<String> {
    let (mut found, mut page_token) = (Vec::new(), String::new());
    loop {
        let asked = FilterCase { page_token, ..asked.clone() };
        let (items, next) = page(client, list, asked).await.unwrap_or_else(|error| panic!("{list}: {error:?}"));
        found.extend(items);
        if next.is_empty() {
            return found;
        }
        page_token = next;
    }
}

/// Creates something for each list: p with versions 1 to 4, of which 4 is a draft, q and r; two subscribers, two runs, two roles, and a
/// caller who was refused twice.
async fn fill(hub: &crate::harness::Hub) -> Client {
    let client = hub.client().await;
    for number in 1..=3 {
        let request = pb::DraftRequest {
            annotations: [("owner".to_owned(), format!("team-{number}, eu"))].into(),
            change_note: format!("change {number}; it's \"good\""),
            ..crate::harness::calls::draft_request("p", &format!("a: {number}"))
        };
        client.draft(request).await.expect("a draft");
        client.publish(publish_request("p", number)).await.expect("a publication");
    }
    draft(&client, "p", "a: 4").await;
    release(&client, "q", "a: 1").await;
    create(&client, "r", pb::PolicyKind::Json, pb::PolicySettings::default()).await;
    let at = head(&client).await - 1;
    client.report_status(applied(&client, "s1", at).await).await.expect("a report");
    client.report_status(rejected(&client, "s2", at, "too large").await).await.expect("a report");
    record(&client, run_request("r1", &["q"], None)).await.expect("a run");
    record(&client, run_request("r2", &[], None)).await.expect("a run");
    for id in ["team-a", "team-b"] {
        namespace(&client, id).await;
    }
    grant(&client, "ann", pb::Role::Viewer, NAMESPACE).await;
    grant(&client, "bob", pb::Role::Author, NAMESPACE).await;
    for who in ["ann", "bob"] {
        let denied = try_activate(&caller(hub, who).await, "p", 1, None).await;
        refused(denied, Code::PermissionDenied, "PERMISSION_DENIED");
    }
    client
}

on_both_databases! {
    /// Each list is filtered by fields of each type that it has: pages of every size have the same items in the same order.
    async fn each_list_is_filtered(hub: Hub) {
        let client = fill(&hub).await;
        for (list, filter, expected) in [
            ("policies", "kind = JSON", &["r"][..]),
            ("policies", "kind != JSON AND active_version = 0", &["p"]),
            ("policies", "latest_version >= 1 AND latest_version < 4", &["q"]),
            ("policies", r#"annotations.owner : "team-3""#, &["p"]),
            ("policies", r#"annotations.owner : "team-2" OR name : "policies/r""#, &["r"]),
            ("policies", "annotations:owner", &["p"]),
            ("policies", r#"annotations.owner = "eu""#, &[]),
            ("policies", r#"update_time >= "2026-01-01T00:00:00Z""#, &["p", "q", "r"]),
            ("versions", "state = DRAFT", &["4"]),
            ("versions", "state != DRAFT AND version > 1", &["3", "2"]),
            ("versions", "version = 1 OR version = 3", &["3", "1"]),
            ("versions", r#"NOT publish_time:* OR annotations.owner = "team-1, eu""#, &["4", "1"]),
            ("versions", r#"change_note = "change 2; it's \"good\"""#, &["2"]),
            ("versions", r#"change_note : 'it\'s "good"' AND NOT (version = 2 OR label:*)"#, &["3", "1"]),
            ("versions", r#"publisher = "local:admin" AND author : "admin" AND publish_time > "2026-01-01T00:00:00Z""#, &["3", "2", "1"]),
            ("events", r#"kind = PUBLISH AND policy = p AND revision > 2"#, &["4", "6"]),
            ("events", "policy = q", &["8", "9", "10"]),
            ("subscribers", r#"reason : "large""#, &["s2"]),
            ("subscribers", "applied.revision > 0 AND rejected.revision != 0", &["s1"]),
            ("subscribers", "online = false AND diverged = false", &["s1", "s2"]),
            ("runs", "policy = q AND whole_set = false", &["r1"]),
            ("runs", r#"name : "r2" OR whole_set = false"#, &["r2", "r1"]),
            ("namespaces", r#"name : "team-""#, &["team-a", "team-b"]),
            ("namespaces", r#"description:* AND NOT name : "system""#, &["default"]),
            ("role bindings", "role = VIEWER", &["local:ann"]),
            ("role bindings", r#"member = "local:bob" AND creator = "local:admin""#, &["local:bob"]),
            ("denials", r#"principal = "local:bob""#, &["local:bob"]),
            ("denials", r#"principal != "local:bob" AND method : "Activate" AND count = 1"#, &["local:ann"]),
            ("denials", r#"last_time < "2026-01-01T00:00:00Z""#, &[]),
            ("signing keys", "purpose = SEAL", &["KEY_PURPOSE_SEAL"]),
            ("signing keys", "prepare_time:* AND state = ACTIVE", &["KEY_PURPOSE_BUNDLE"]),
        ] {
            for page_size in [0, 1, 2] {
                let asked = FilterCase { page_size, ..by(filter) };
                assert_eq!(listed(&client, list, &asked).await, expected, "{list} by {page_size}: {filter}");
            }
        }
        // A caller who may not read the whole list gets only their own items.
        let ann = caller(&hub, "ann").await;
        assert_eq!(listed(&ann, "namespaces", &by(r#"name : "e""#)).await, ["default"]);
        assert_eq!(listed(&ann, "namespaces", &by(r#"name : "team-""#)).await, Vec::<String>::new());
    }

    /// Each list accepts the orders that an index supports, and no other.
    async fn each_list_has_its_orders(hub: Hub) {
        let client = fill(&hub).await;
        for (list, orders) in [
            ("policies", &["name"][..]),
            ("versions", &["version desc", "version"]),
            ("events", &["revision", "revision desc"]),
            ("subscribers", &["name"]),
            ("runs", &["create_time desc"]),
            ("namespaces", &["name"]),
            ("role bindings", &["name"]),
            ("denials", &[]),
            ("signing keys", &[]),
        ] {
            let whole = listed(&client, list, &FilterCase::default()).await;
            assert!(whole.len() > 1, "{list}: {whole:?}");
            for (at, order_by) in orders.iter().enumerate() {
                for (filter, page_size) in [("", 0), ("", 1), (r#"NOT name = "x""#, 1)] {
                    let filter = if ["events", "versions"].contains(&list) { "" } else { filter };
                    let asked = FilterCase { order_by: format!(" {order_by} "), page_size, ..by(filter) };
                    let mut found = listed(&client, list, &asked).await;
                    if at > 0 {
                        found.reverse();
                    }
                    assert_eq!(found, whole, "{list} by {order_by:?}");
                }
            }
            for order_by in ["create_time", "etag", "name desc desc", "name,version", "revision; DROP TABLE events"] {
                let asked = FilterCase { order_by: order_by.to_owned(), ..FilterCase::default() };
                refused_fields(page(&client, list, asked).await, &["order_by"]);
            }
        }
        let newest = FilterCase { order_by: "version".to_owned(), page_size: 1, ..by("state = PUBLISHED AND NOT label:*") };
        assert_eq!(listed(&client, "versions", &newest).await, ["1", "2", "3"]);
    }

    /// A page token belongs to one filter and one order. The same filter written differently is accepted.
    async fn a_page_belongs_to_its_filter(hub: Hub) {
        let client = fill(&hub).await;
        for list in LISTS.into_iter().filter(|list| *list != "signing keys") {
            let first = FilterCase { page_size: 1, ..FilterCase::default() };
            let (_, page_token) = page(&client, list, first.clone()).await.expect("a page");
            assert!(!page_token.is_empty(), "{list}");
            let time = if list == "events" { "time" } else if list == "denials" { "last_time" } else if list == "subscribers" { "last_seen_time" } else { "create_time" };
            let filter = format!("{time} > \"2026-01-01T00:00:00Z\"");
            let other = FilterCase { page_token: page_token.clone(), ..by(&filter) };
            refused(page(&client, list, other).await, Code::InvalidArgument, "INVALID_PAGE_TOKEN");
            let (one, page_token) = page(&client, list, FilterCase { page_size: 1, ..by(&filter) }).await.expect("a page");
            let same = FilterCase { page_token: page_token.clone(), ..by(&format!("({time}>2026-01-01T01:00:00+01:00)")) };
            let (rest, _) = page(&client, list, same).await.unwrap_or_else(|error| panic!("{list}: {error:?}"));
            assert_eq!([one, rest].concat(), listed(&client, list, &FilterCase::default()).await, "{list}");
            refused(page(&client, list, FilterCase { page_token, ..first }).await, Code::InvalidArgument, "INVALID_PAGE_TOKEN");
        }
        let first = FilterCase { page_size: 1, ..FilterCase::default() };
        let (_, page_token) = page(&client, "versions", first.clone()).await.expect("a page");
        let other = FilterCase { order_by: "version".to_owned(), page_token, ..first };
        refused(page(&client, "versions", other).await, Code::InvalidArgument, "INVALID_PAGE_TOKEN");
    }

    /// Given an invalid filter, it is refused with the column and the permitted values; nothing of it reaches the database.
    async fn what_is_no_filter_is_refused(hub: Hub) {
        let client = fill(&hub).await;
        let deep = format!("{}{}", "(".repeat(2_000), ")".repeat(2_000));
        let many = vec!["x = 1"; 700].join(" OR ");
        let longest = format!("x = \"{}\"", "é".repeat(2_048));
        for list in LISTS {
            for filter in [
                "x = 1", "'; DROP TABLE events; --", "1 = 1", "x = 1 OR 1=1", "\"", "'", "\\", "((", "))", "NOT", "-", "=", "*",
                "name = \"\u{0}\"", "name = \"\u{1b}[31m\"", "\u{202e}", "name = \"a\" name = \"b\"", "name.", ".name",
                "f(name)", &deep, &many, &longest, &"NOT ".repeat(1_000), &"-".repeat(4_000), &"\"\\".repeat(2_000),
            ] {
                let error = refused(page(&client, list, by(filter)).await, Code::InvalidArgument, "INVALID_ARGUMENT");
                let [violation] = error.violations() else { panic!("{list} {filter}: {error:?}") };
                assert_eq!(violation.field, "filter", "{list} {filter}");
                let text = &violation.description;
                assert!(text.starts_with("column ") || text.contains("bytes long"), "{list} {filter}: {text}");
                assert!(text.chars().all(|letter| !letter.is_control()), "{list}: {text:?}");
            }
            let unknown = page(&client, list, by("x = 1")).await.expect_err("no such field").message().to_owned();
            assert!(unknown.contains("\"x\" is no field of this list, which takes ") && unknown.contains("; = !="), "{unknown}");
        }
        // Special characters in a value have no effect.
        for value in ["' OR '1'='1", "x\"; DELETE FROM versions; --", "%", "_", "p' --", "\\", "\n", "') UNION SELECT 1"] {
            let value = policyhub::client::quoted(value);
            for (list, field) in [
                ("denials", "principal"), ("role bindings", "member"), ("versions", "author"), ("policies", "description"),
                ("runs", "recorder"), ("subscribers", "principal"), ("events", "actor"), ("policies", "annotations.owner"),
            ] {
                assert_eq!(listed(&client, list, &by(&format!("{field} = {value}"))).await, Vec::<String>::new(), "{list} {value}");
            }
        }
        assert_eq!(listed(&client, "versions", &FilterCase::default()).await, ["4", "3", "2", "1"], "it is all there");
    }

    /// Given a filter without an index, each page searches a bounded number of items: pages are short, and together complete.
    async fn a_search_goes_on_where_it_ended(hub: Hub) {
        let client = hub.client().await;
        for number in 1..=12 {
            release(&client, &format!("p{number:02}"), "a: 1").await;
        }
        for (list, filter, count) in [
            ("policies", "active_version = 1 AND NOT (name : p03 OR name : p07)", 10),
            ("events", r#"actor = "local:admin" AND kind = ACTIVATE AND NOT policy = p05"#, 11),
        ] {
            let whole = listed(&client, list, &by(filter)).await;
            assert_eq!(whole.len(), count, "{list}: {whole:?}");
            assert_eq!(whole.iter().collect::<BTreeSet<_>>().len(), count, "each once");
            for page_size in 1..=4 {
                assert_eq!(listed(&client, list, &FilterCase { page_size, ..by(filter) }).await, whole, "{list} by {page_size}");
            }
        }
    }

    /// A false, a 0 or an empty text is set when the mask names it, and ignored without a mask.
    async fn a_false_is_taken_by_a_mask_alone(hub: Hub) {
        let client = hub.client().await;
        let settings = pb::PolicySettings { allow_backport: true, max_open_drafts: 3, ..Default::default() };
        create(&client, "p", pb::PolicyKind::Yaml, settings.clone()).await;
        let update = async |description: &str, sent: pb::PolicySettings, paths: &[&str]| {
            let policy = pb::Policy {
                name: policy("p"), description: description.to_owned(), settings: Some(sent), ..Default::default()
            };
            let update_mask = Some(FieldMask { paths: paths.iter().map(ToString::to_string).collect() });
            let answer = client.update_policy(pb::UpdatePolicyRequest { policy: Some(policy), update_mask, ..Default::default() }).await;
            answer.map(|answer| answer.policy.and_then(|policy| policy.settings).expect("settings"))
        };
        let empty = pb::PolicySettings::default();
        assert_eq!(update("new", empty.clone(), &[]).await.expect("an update"), settings, "nothing of it was sent");
        let expected = pb::PolicySettings { allow_backport: false, ..settings };
        assert_eq!(update("", empty.clone(), &["settings.allow_backport"]).await.expect("an update"), expected);
        assert_eq!(update("", empty.clone(), &["settings"]).await.expect("an update"), empty);
        for paths in [&["*", "description"][..], &["description", "settings.*"], &["settings."], &["Settings"], &["policy.description"]] {
            let error = refused(update("x", empty.clone(), paths).await, Code::InvalidArgument, "INVALID_ARGUMENT");
            assert!(error.message().contains("\"settings.allow_backport\""), "{paths:?} is told the paths: {error}");
        }
    }

    /// The list commands accept a filter beside their flags.
    async fn commands_take_a_filter(hub: Hub) {
        fill(&hub).await;
        let rows = |arguments: &[&str]| -> Vec<String> {
            let output = hub.cli().args(arguments).output().expect("the binary runs");
            assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
            let text = String::from_utf8(output.stdout).expect("UTF-8");
            text.lines().skip(1).map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")).collect()
        };
        for (arguments, expected) in [
            (&["policy", "list", "--filter", "kind = JSON"][..], &["r JSON"][..]),
            (&["policy", "list", "--annotation", "owner=team-3", "--filter", "kind = JSON OR name : policies"], &["p YAML"]),
            (&["namespace", "list", "--filter", "name : team-b"], &["team-b 0"]),
            (&["role", "list", "--filter", "role = AUTHOR"], &["AUTHOR local:bob"]),
            (&["subscribers", "--filter", "rejected.revision > 0"], &["s2 no"]),
            (&["run", "list", "q", "--outcome", "open", "--filter", "whole_set = true"], &["r2 OPEN", "", "not counted:"]),
        ] {
            let found = rows(arguments);
            let begins = |(row, expected): (&String, &&str)| row.starts_with(expected.split(' ').next().unwrap_or_default());
            assert!(found.len() == expected.len() && found.iter().zip(expected).all(begins), "{arguments:?}: {found:?}");
        }
        let output = hub.cli().args(["history", "p", "--filter", "size = 1"]).output().expect("the binary runs");
        let received = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && received.contains("\"size\" is no field of this list, which takes version"), "{received}");
    }
}
