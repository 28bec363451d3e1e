//! Long reads: a caller who makes many of them does not delay anybody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use policyhub::client::{Client, pb};
use tokio::task::JoinSet;

use crate::harness::callers::{caller, grant};
use crate::harness::calls::{NAMESPACE, draft, policy, release};
use crate::harness::on_both_databases;

/// Number of events in the log that is searched.
const EVENTS: usize = 300;
/// Concurrent searches: several for each connection to the database.
const SEARCHES: usize = 96;
/// Number of reads of the other caller, one after the other.
const READS: usize = 20;

/// Searches the whole log for an actor without events.
async fn search(client: &Client) {
    let filter = "actor = \"local:nobody\"".to_owned();
    let request = pb::ListEventsRequest { parent: NAMESPACE.to_owned(), filter, ..Default::default() };
    // The search may be refused or answered: the test measures the other caller.
    let _ = client.list_events(request).await;
}

on_both_databases! {
    async fn one_callers_searches_keep_no_other_waiting(hub: Hub) {
        let admin = hub.client().await;
        release(&admin, "p", "a: 1").await;
        for number in 0..EVENTS {
            draft(&admin, "p", &format!("a: {number}")).await;
        }
        grant(&admin, "noisy", pb::Role::Viewer, NAMESPACE).await;
        let noisy = caller(&hub, "noisy").await;
        let ends = Arc::new(AtomicBool::new(false));
        let searched = Arc::new(AtomicUsize::new(0));
        let mut searches = JoinSet::new();
        for _ in 0..SEARCHES {
            let (noisy, ends, searched) = (noisy.clone(), Arc::clone(&ends), Arc::clone(&searched));
            searches.spawn(async move {
                while !ends.load(Ordering::Relaxed) {
                    search(&noisy).await;
                    searched.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while searched.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        let before = searched.load(Ordering::Relaxed);
        for _ in 0..READS {
            admin.get_policy(pb::GetPolicyRequest { name: policy("p") }).await.expect("the neighbour's read");
        }
        let meanwhile = searched.load(Ordering::Relaxed) - before;
        ends.store(true, Ordering::Relaxed);
        searches.join_all().await;
        // If reads queued behind all searches, a dozen or so searches would end per read.
        assert!(meanwhile < READS * 5, "{meanwhile} searches ended while {READS} reads were made");
    }
}
