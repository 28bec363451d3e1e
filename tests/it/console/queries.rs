//! What a page asks the database does not grow with what is in the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use policyhub::client::{Client, pb};
use policyhub::http::console::{Handler, ROUTES};

use super::access::path_of;
use super::browser::Browser;
use crate::harness::Hub;
use crate::harness::calls::{draft, head, release};
use crate::harness::postgres::Cluster;

/// How often each page is read: pollers of the server ask something too now and then, and the least count is without them.
const READS: usize = 8;
/// Statements of pollers that may be among the least count of a page, since a slow read is never without them. A statement for each row would
/// be `MORE_ROWS` more.
const POLLED_MAX: u64 = 5;
/// How many policies, versions and events there are at first.
const FIRST_ROWS: usize = 12;
/// How many more policies, versions and events there are in the end.
const MORE_ROWS: usize = 28;
const _: () = assert!(MORE_ROWS as u64 > 4 * POLLED_MAX);
/// Searches of names and active contents: one that finds everything, and one that goes through everything.
const SEARCHES: [&str; 2] = ["/namespaces/default?q=a%3A", "/namespaces/default?q=nowhere"];

/// Given three times as many policies, versions and staged versions, each page makes no more database statements than before.
#[tokio::test]
async fn a_page_makes_as_many_statements_however_much_there_is() {
    let cluster = Cluster::start(&[("shared_preload_libraries", "pg_stat_statements")]);
    cluster.psql("postgres", "CREATE EXTENSION pg_stat_statements");
    let dir = Arc::new(tempfile::tempdir().expect("a temporary directory"));
    let hub = Hub::start_on(dir, cluster.create_database(), &[]).await;
    let client = hub.client().await;
    release(&client, "shop", "a: 1\n").await;
    let revision = head(&client).await;
    // More events than a page of the log has.
    fill(&client, 0..FIRST_ROWS).await;
    let browser = Browser::signed_in(&hub, &hub.token());
    let before = statements(&cluster, &browser, revision);
    // Nobody answered the pings of the first connection while pages were read.
    fill(&hub.client().await, FIRST_ROWS..FIRST_ROWS + MORE_ROWS).await;
    let after = statements(&cluster, &browser, revision);
    let grown: Vec<_> = before.iter().filter(|(page, count)| after[*page] > **count + POLLED_MAX).collect();
    assert!(grown.is_empty(), "{grown:?} are {after:?} now");
}

/// Makes policies, each with a version that is active and one that is staged.
async fn fill(client: &Client, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let id = format!("other-{number}");
        release(client, &id, "a: 1\n").await;
        let version = draft(client, &id, "a: 2\n").await;
        let request = pb::StageRequest { name: version.name, ..Default::default() };
        client.stage(request).await.expect("staged");
        let version = draft(client, "shop", &format!("a: {number}\n")).await;
        let request = pb::PublishRequest { name: version.name, ..Default::default() };
        client.publish(request).await.expect("published");
    }
}

/// Returns how many statements each page makes.
fn statements(cluster: &Cluster, browser: &Browser, revision: i64) -> BTreeMap<&'static str, u64> {
    let count = || -> u64 {
        let sql = "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE query NOT LIKE '%pg_stat_statements%'";
        cluster.psql("postgres", sql).parse().expect("a count")
    };
    let of_page = |path: &str| {
        let read = || {
            let before = count();
            assert_eq!(browser.get(path).status, 200, "{path}");
            count() - before
        };
        (0..READS).map(|_| read()).min().unwrap_or_default()
    };
    // A download is all there is.
    let pages = ROUTES.iter().filter(|route| matches!(route.handler, Handler::Page(_)) && route.name != "archive");
    let pages = pages.map(|route| (route.name, of_page(&path_of(route.path, "default", revision))));
    let searches = SEARCHES.iter().map(|path| (*path, of_page(path)));
    pages.chain(searches).collect()
}
