//! Everything that was accepted can be read: one version, all of them, the difference of two.

use policyhub::client::pb::VersionState::{Abandoned, Draft, Published};
use policyhub::client::{Client, pb};
use tonic::Code;

use crate::harness::calls::{
    abandon, activate, create, draft, draft_request, get_version, policy, publish, publish_request, reason, refused,
    refused_fields, version,
};
use crate::harness::on_both_databases;

/// Returns all pages of a list, with the sizes of the pages.
async fn pages(client: &Client, mut request: pb::ListVersionsRequest) -> (Vec<pb::Version>, Vec<usize>) {
    let (mut versions, mut sizes) = (Vec::new(), Vec::new());
    loop {
        let page = client.list_versions(request.clone()).await.expect("a page");
        sizes.push(page.versions.len());
        versions.extend(page.versions);
        if page.next_page_token.is_empty() {
            return (versions, sizes);
        }
        request.page_token = page.next_page_token;
    }
}

fn numbers(versions: &[pb::Version]) -> Vec<i64> {
    versions.iter().map(|each| each.version).collect()
}

fn list(id: &str, page_size: i32) -> pb::ListVersionsRequest {
    pb::ListVersionsRequest { parent: policy(id), page_size, ..Default::default() }
}

/// Returns the JSON document that a JSON Patch makes.
fn patched(from: &str, patch: &str) -> serde_json::Value {
    let mut document = serde_json::from_str(from).expect("JSON");
    let patch: json_patch::Patch = serde_json::from_str(patch).expect("a patch");
    json_patch::patch(&mut document, &patch).expect("a patch that applies");
    document
}

on_both_databases! {
    /// A version is found by number, label and pointer; the answer always has the number.
    async fn a_version_has_many_names(hub: Hub) {
        let client = hub.client().await;
        for (label, content) in [("1.0.0", "a: 1"), ("1.5.0-rc.1+b.7", "a: 2"), ("", "a: 3")] {
            let request = pb::DraftRequest { label: label.to_owned(), ..draft_request("p", content) };
            client.draft(request).await.expect("a draft");
        }
        client.publish(publish_request("p", 1)).await.expect("a publication");
        let request = pb::GetVersionRequest { name: version("p", "active"), ..Default::default() };
        refused(client.get_version(request).await, Code::FailedPrecondition, "NO_ACTIVE_VERSION");
        activate(&client, "p", 1).await;
        let names = [("1", 1), ("2", 2), ("active", 1), ("latest", 3), ("v1.0.0", 1), ("v1.5.0-rc.1+b.7", 2)];
        for (name, number) in names {
            let found = get_version(&client, "p", name).await;
            assert_eq!((found.version, found.name), (number, version("p", number)), "{name}");
            assert_eq!((found.content, found.active), (format!("a: {number}").into(), number == 1));
        }
        for name in ["4", "v1.5.0", "v1.5.0-rc.1"] {
            let request = pb::GetVersionRequest { name: version("p", name), ..Default::default() };
            refused(client.get_version(request).await, Code::NotFound, "VERSION_NOT_FOUND");
        }
        create(&client, "empty", pb::PolicyKind::Yaml, pb::PolicySettings::default()).await;
        let request = pb::GetVersionRequest { name: version("empty", "latest"), ..Default::default() };
        refused(client.get_version(request).await, Code::NotFound, "VERSION_NOT_FOUND");
        let basic = pb::GetVersionRequest { name: version("p", 2), view: pb::VersionView::Basic.into() };
        let basic = client.get_version(basic).await.expect("a version").version.expect("a version");
        let full = get_version(&client, "p", 2).await;
        assert_eq!(basic, pb::Version { content: Default::default(), ..full });
    }

    /// Newest first, in pages, each version once, also while new ones are added.
    async fn lists_are_paged_newest_first(hub: Hub) {
        let client = hub.client().await;
        for number in 1..=7 {
            draft(&client, "p", &format!("a: {number}")).await;
        }
        draft(&client, "q", "a: 1").await;
        let (all, sizes) = pages(&client, list("p", 2)).await;
        assert_eq!((numbers(&all), sizes), (vec![7, 6, 5, 4, 3, 2, 1], vec![2, 2, 2, 1]));
        assert!(all.iter().all(|each| each.content.is_empty()), "BASIC is the default of lists");
        assert_eq!(pages(&client, list("p", 0)).await.1, [7]);

        let first = client.list_versions(list("p", 3)).await.expect("a page");
        draft(&client, "p", "a: 8").await;
        let rest = pb::ListVersionsRequest { page_token: first.next_page_token, ..list("p", 3) };
        assert_eq!(numbers(&pages(&client, rest).await.0), [4, 3, 2, 1]);

        let full = pb::ListVersionsRequest { view: pb::VersionView::Full.into(), ..list("p", 2) };
        let (all, _) = pages(&client, full).await;
        assert_eq!(all.len(), 8);
        for each in all {
            assert_eq!(each, get_version(&client, "p", each.version).await);
        }
    }

    /// With content, a page ends early, and the next one continues there.
    async fn a_page_with_content_ends_early(hub: Hub) {
        let client = hub.client().await;
        for letter in ["a", "b", "c", "d", "e"] {
            let request = pb::DraftRequest {
                content_type: "text/plain".to_owned(),
                ..draft_request("p", &letter.repeat(900_000))
            };
            client.draft(request).await.expect("a draft");
        }
        let full = pb::ListVersionsRequest { view: pb::VersionView::Full.into(), ..list("p", 10) };
        let (all, sizes) = pages(&client, full).await;
        assert_eq!((numbers(&all), sizes), (vec![5, 4, 3, 2, 1], vec![2, 2, 1]));
        assert!(all.iter().all(|each| each.content.len() == 900_000));
    }

    /// Given a filter by state, only these are listed; a token belongs to its list, and a list's own token always works.
    async fn states_are_filtered(hub: Hub) {
        let client = hub.client().await;
        let longest = "p".repeat(63);
        for (number, state) in (1..=9).zip([Draft, Published, Abandoned].into_iter().cycle()) {
            draft(&client, &longest, &format!("a: {number}")).await;
            match state {
                Published => drop(client.publish(publish_request(&longest, number)).await.expect("a publication")),
                Abandoned => drop(abandon(&client, &longest, number).await),
                _ => {}
            }
        }
        let of = |states: &[pb::VersionState]| pb::ListVersionsRequest {
            filter: states.iter().map(|state| format!("state = {}", state.as_str_name())).collect::<Vec<_>>().join(" OR "),
            ..list(&longest, 2)
        };
        for (states, expected) in [
            (vec![Published], vec![8, 5, 2]),
            (vec![Abandoned, Draft], vec![9, 7, 6, 4, 3, 1]),
            (vec![pb::VersionState::Rejected], vec![]),
            (vec![Published; 40], vec![8, 5, 2]),
        ] {
            assert_eq!(numbers(&pages(&client, of(&states)).await.0), expected, "{states:?}");
        }
        let token = client.list_versions(of(&[Draft])).await.expect("a page").next_page_token;
        let other = pb::ListVersionsRequest { page_token: token, ..of(&[Published]) };
        refused(client.list_versions(other).await, Code::InvalidArgument, "INVALID_PAGE_TOKEN");
        let unknown = pb::ListVersionsRequest { filter: "state = VERSION_STATE_UNSPECIFIED".to_owned(), ..list(&longest, 2) };
        refused_fields(client.list_versions(unknown).await, &["filter"]);
    }

    /// The unified diff is for people; the JSON Patch transforms one document into the other, in both directions.
    async fn differences_make_one_out_of_the_other(hub: Hub) {
        let client = hub.client().await;
        let json = [r#"{"a":[1,2,3],"b/c":{"~":null},"d":"x"}"#, r#"{"a":[1,3],"b/c":{"~":{"e":[]}},"f":true}"#];
        for content in json {
            let request = pb::DraftRequest {
                content_type: "application/json".to_owned(),
                label: String::new(),
                ..draft_request("json", content)
            };
            client.draft(request).await.expect("a draft");
        }
        let diff =
            |id: &str, from: &str, to: &str| pb::DiffVersionsRequest { base: version(id, from), other: version(id, to) };
        for (from, to) in [(0, 1), (1, 0)] {
            let request = diff("json", &(from + 1).to_string(), &(to + 1).to_string());
            let found = client.diff_versions(request).await.expect("a difference");
            let target: serde_json::Value = serde_json::from_str(json[to]).expect("JSON");
            assert_eq!(patched(json[from], &found.json_patch), target);
            assert!(
                found.unified.contains(&format!("-{}", json[from]))
                    && found.unified.contains(&format!("+{}", json[to]))
            );
        }
        publish(&client, "yaml", "x: 1\ny: [a, b]\n").await;
        draft(&client, "yaml", "x: 1\ny: [a]\nz: true\n").await;
        activate(&client, "yaml", 1).await;
        let found = client.diff_versions(diff("yaml", "active", "latest")).await.expect("a difference");
        let (from, to) = (found.base.expect("from"), found.other.expect("to"));
        assert_eq!((from.version, from.active, to.version, to.active), (1, true, 2, false));
        assert!(from.content.is_empty() && to.content.is_empty());
        let expected =
            format!("--- {}\n+++ {}\n@@ -1,2 +1,3 @@\n x: 1\n-y: [a, b]\n+y: [a]\n+z: true\n", from.name, to.name);
        assert_eq!(found.unified, expected);
        let target = serde_json::json!({"x": 1, "y": ["a"], "z": true});
        assert_eq!(patched(r#"{"x": 1, "y": ["a", "b"]}"#, &found.json_patch), target);
        let same = client.diff_versions(diff("yaml", "1", "active")).await.expect("a difference");
        assert_eq!((same.unified.as_str(), same.json_patch.as_str()), ("", "[]"));
        let two = pb::DiffVersionsRequest { base: version("yaml", 1), other: version("json", 1) };
        refused_fields(client.diff_versions(two).await, &["to"]);
        assert_eq!(reason(client.diff_versions(diff("yaml", "1", "9")).await), "VERSION_NOT_FOUND");
    }

    /// Given content that does not parse, there is only a diff of the text.
    async fn unparsable_content_has_no_patch(hub: Hub) {
        let client = hub.client().await;
        draft(&client, "p", "a: 1\n").await;
        draft(&client, "p", "a: [1\n").await;
        let request = pb::DiffVersionsRequest { base: version("p", 1), other: version("p", 2) };
        let found = client.diff_versions(request).await.expect("a difference");
        assert_eq!(found.json_patch, "");
        assert!(found.unified.contains("-a: 1\n+a: [1\n"), "{}", found.unified);
    }

    /// A report belongs to one version and is absent until the checks ran.
    async fn reports_are_kept_per_version(hub: Hub) {
        let client = hub.client().await;
        publish(&client, "p", "a: 1").await;
        draft(&client, "p", "a: 2").await;
        let request = |which: &str| pb::GetValidationReportRequest { name: version("p", which) };
        let found = client.get_validation_report(request("1")).await.expect("a report").report.expect("a report");
        let one = get_version(&client, "p", 1).await;
        assert_eq!((found.version_name, found.digest, found.passed), (one.name, one.digest, true));
        refused(client.get_validation_report(request("latest")).await, Code::NotFound, "REPORT_NOT_FOUND");
        refused(client.get_validation_report(request("3")).await, Code::NotFound, "VERSION_NOT_FOUND");
    }
}
