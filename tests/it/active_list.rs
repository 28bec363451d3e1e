//! The active set in pages: complete, proven, and of one moment whatever is written meanwhile.

use std::collections::BTreeSet;

use policyhub::client::name::PolicyId;
use policyhub::client::signing::{ActiveLeaf, ActiveSetTree, verify_checkpoint, verify_set_proof};
use policyhub::client::{Client, Cursor, pb};
use policyhub::domain::digest::Digest;
use prost::Message as _;
use tonic::Code;

use crate::harness::calls::{NAMESPACE, activate, policy, publish, refused, release};
use crate::harness::{on_both_databases, watching};

const ANSWER_MAX_BYTES: usize = 2 * 1024 * 1024;

/// Returns every page; `between` runs after the first one.
async fn pages(
    client: &Client,
    request: pb::ListActiveRequest,
    between: impl AsyncFn(),
) -> Vec<pb::ListActiveResponse> {
    let (mut pages, mut request) = (Vec::new(), request);
    loop {
        let page = client.list_active(request.clone()).await.expect("a page");
        assert!(page.encoded_len() <= ANSWER_MAX_BYTES, "an answer of {} bytes", page.encoded_len());
        request.page_token.clone_from(&page.next_page_token);
        pages.push(page);
        if request.page_token.is_empty() {
            return pages;
        }
        if pages.len() == 1 {
            between().await;
        }
    }
}

fn request(policies: &[&str], page_size: i32) -> pb::ListActiveRequest {
    let policies = policies.iter().map(ToString::to_string).collect();
    pb::ListActiveRequest { parent: NAMESPACE.to_owned(), policies, page_size, ..Default::default() }
}

fn id(bundle: &pb::Bundle) -> PolicyId {
    PolicyId::parse("policy", bundle.name.split('/').nth(3).expect("a policy")).expect("an id")
}

fn rendered(pages: &[pb::ListActiveResponse]) -> Vec<String> {
    let bundles = pages.iter().flat_map(|page| &page.bundles);
    bundles.map(|bundle| format!("{} {}", id(bundle), bundle.version)).collect()
}

/// Checks that the pages are exactly the set that the checkpoint of the last one signs.
async fn check(client: &Client, pages: &[pb::ListActiveResponse], filter: &[&str]) {
    let last = pages.last().expect("a page");
    for page in pages {
        assert_eq!(page.cursor, last.cursor, "every page is of one cursor");
        let is_last = std::ptr::eq(page, last);
        assert_eq!((page.checkpoint.is_empty(), page.next_page_token.is_empty()), (!is_last, is_last));
        assert!(page.bundles.iter().all(|active| !active.preview));
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let keys = watching::keys(client).await;
    let checkpoint = verify_checkpoint(&last.checkpoint, &keys, now.as_secs().cast_signed()).expect("a checkpoint");
    let at = last.cursor.expect("a cursor");
    assert_eq!((checkpoint.epoch, checkpoint.revision), (at.epoch, at.revision));
    let held: Vec<(PolicyId, i64, Digest, Cursor)> = pages
        .iter()
        .flat_map(|page| &page.bundles)
        .map(|active| {
            let (bundle, at) = (active, active.activation.expect("a cursor"));
            let digest = Digest::parse("digest", &bundle.digest).expect("a digest");
            (id(bundle), bundle.version, digest, Cursor { epoch: at.epoch, revision: at.revision })
        })
        .collect();
    let leaves = || {
        held.iter().map(|(policy, version, digest, at)| ActiveLeaf {
            policy,
            version: *version,
            digest,
            activated_at: *at,
        })
    };
    if filter.is_empty() {
        assert_eq!(leaves().collect::<ActiveSetTree>().root(), checkpoint.active_set_root.0);
        assert!(last.set_proof.is_empty());
    } else {
        let wanted: BTreeSet<PolicyId> =
            filter.iter().map(|id| PolicyId::parse("policy", id).expect("an id")).collect();
        verify_set_proof(&last.set_proof, &checkpoint.active_set_root.0, &wanted, leaves()).expect("a proof");
    }
}

on_both_databases! {
    async fn pages_are_of_one_moment(hub: Hub) {
        let client = hub.client().await;
        for id in ["a", "b", "c", "d", "e"] {
            release(&client, id, "n: 1").await;
        }
        publish(&client, "d", "n: 2").await;
        let all = ["a 1", "b 1", "c 1", "d 1", "e 1"];
        let nothing = async || {};
        let moved = async || {
            let version = client.get_active(pb::GetActiveRequest { name: policy("d"), ..Default::default() }).await;
            let version = version.expect("active").bundle.expect("active").version;
            activate(&client, "d", 3 - version).await;
        };
        for (filter, size, expected) in [
            (&[][..], 0, &all[..]),
            (&[], 2, &all),
            (&["d", "a", "later"], 1, &["a 1", "d 1"]),
            (&["later"], 1, &[]),
        ] {
            let listed = pages(&client, request(filter, size), nothing).await;
            assert_eq!(rendered(&listed), expected);
            check(&client, &listed, filter).await;
            if listed.len() > 1 {
                let listed = pages(&client, request(filter, size), moved).await;
                assert_eq!(rendered(&listed), expected, "what moved after the first page is not in it");
                check(&client, &listed, filter).await;
                moved().await;
            }
        }
        // The past has no checkpoint, since nothing proves it to be the newest.
        let at = Some(pb::list_active_request::At::Cursor(pb::Cursor::of_revision(6)));
        let past = pages(&client, pb::ListActiveRequest { at, ..request(&[], 1) }, moved).await;
        assert_eq!(rendered(&past), ["a 1", "b 1"]);
        assert!(past.iter().all(|page| page.checkpoint.is_empty() && page.cursor.expect("a cursor").revision == 6));
    }

    async fn pages_end_before_they_are_too_large(hub: Hub) {
        let client = hub.client().await;
        for id in ["a", "b", "c", "d"] {
            release(&client, id, &format!("text: {}", id.repeat(1000 * 1024))).await;
        }
        let listed = pages(&client, request(&[], 0), async || {}).await;
        assert_eq!(listed.len(), 2, "two contents of 1,000 KiB fit");
        check(&client, &listed, &[]).await;
        let bare = pages(&client, pb::ListActiveRequest { metadata_only: true, ..request(&[], 0) }, async || {}).await;
        assert_eq!(bare.len(), 1);
        check(&client, &bare, &[]).await;
    }

    async fn a_token_belongs_to_its_list(hub: Hub) {
        let client = hub.client().await;
        for id in ["a", "b"] {
            release(&client, id, "n: 1").await;
        }
        let token = client.list_active(request(&[], 1)).await.expect("a page").next_page_token;
        let again = |change: fn(&mut pb::ListActiveRequest)| {
            let mut request = pb::ListActiveRequest { page_token: token.clone(), ..request(&[], 1) };
            change(&mut request);
            client.list_active(request)
        };
        assert!(again(|_| {}).await.is_ok());
        for change in [
            (|request| request.page_token.insert(0, 'A')) as fn(&mut pb::ListActiveRequest),
            |request| request.metadata_only = true,
            |request| request.policies.push("a".to_owned()),
            |request| request.policies.push("b".to_owned()),
            |request| request.at = Some(pb::list_active_request::At::Cursor(pb::Cursor::of_revision(1))),
        ] {
            refused(again(change).await, Code::InvalidArgument, "INVALID_PAGE_TOKEN");
        }
        // A filter is bound by its names, not by their number.
        let filtered = client.list_active(request(&["a", "b"], 1)).await.expect("a page").next_page_token;
        for (policies, is_taken) in [(["a", "b"], true), (["b", "a"], true), (["a", "c"], false)] {
            let again = pb::ListActiveRequest { page_token: filtered.clone(), ..request(&policies, 1) };
            assert_eq!(client.list_active(again).await.is_ok(), is_taken, "{policies:?}");
        }
        let elsewhere = pb::ListActiveRequest { parent: "namespaces/elsewhere".to_owned(), ..request(&[], 1) };
        refused(client.list_active(elsewhere).await, Code::NotFound, "NAMESPACE_NOT_FOUND");
    }
}
