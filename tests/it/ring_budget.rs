//! One budget for what all namespaces keep in memory for watches: a noisy one pays for itself, and no subscriber loses a change.

use policyhub::client::name::NamespaceId;
use policyhub::client::pb::activate_target::To;
use policyhub::client::pb::watch_active_response::Message;
use policyhub::client::{ActiveSetOptions, Client, Cursor, Watch, WatchOptions, pb, watch};

use crate::harness::calls::{Revision as _, draft_request};
use crate::harness::watching::{self, LIVELY, everything, read_to};
use crate::harness::{Hub, callers, http, on_both_databases};

/// The smallest budget, 1 MiB: three of the large contents exceed it.
const SMALLEST_BUDGET: &[&str] = &[LIVELY[0], LIVELY[1], LIVELY[2], LIVELY[3], "--max-watch-ring-bytes", "1048576"];
const LARGE_CONTENT_BYTES: usize = 100_000;
/// Activations of large contents: together several times the budget.
const LARGE_ACTIVATIONS: usize = 20;

fn counted(hub: &Hub, name: &str) -> u64 {
    http::metric(&hub.http, name).unwrap_or_else(|| panic!("no metric {name}")) as u64
}

/// A namespace with two versions of a policy, both published.
struct Tenant<'a> {
    client: &'a Client,
    id: &'a str,
    /// The revisions of its activations.
    activated: Vec<i64>,
}

impl<'a> Tenant<'a> {
    async fn new(client: &'a Client, id: &'a str, content_bytes: usize) -> Self {
        callers::namespace(client, id).await;
        let parent = format!("namespaces/{id}/policies/p");
        for letter in ["a", "b"] {
            let content = format!("{letter}: {}", "x".repeat(content_bytes));
            let request = pb::DraftRequest { parent: parent.clone(), ..draft_request("p", &content) };
            let drafted = client.draft(request).await.expect("a draft").version.expect("a version");
            let request = pb::PublishRequest { name: drafted.name, etag: drafted.etag, ..Default::default() };
            client.publish(request).await.expect("a publication");
        }
        Self { client, id, activated: Vec::new() }
    }

    /// Activates both versions in turn.
    async fn activate(&mut self, times: usize) {
        for _ in 0..times {
            let version = 1 + i64::try_from(self.activated.len() % 2).expect("small");
            let policy = format!("namespaces/{}/policies/p", self.id);
            let target = pb::ActivateTarget { policy, to: Some(To::Version(version)), expected_active: None };
            let request = pb::ActivateRequest {
                parent: format!("namespaces/{}", self.id),
                targets: vec![target],
                reason: "a test".to_owned(),
                ..Default::default()
            };
            self.activated.push(self.client.activate(request).await.expect("an activation").cursor.revision());
        }
    }

    fn head(&self) -> i64 {
        *self.activated.last().expect("an activation")
    }

    async fn watch(&self, revision: Option<i64>, latest: bool) -> Watch {
        let options = WatchOptions {
            namespace: NamespaceId::parse("namespace", self.id).expect("an id"),
            set: ActiveSetOptions { latest, ..Default::default() },
            resume: revision.map(|revision| Cursor { epoch: 1, revision }),
            ..everything(self.client).await
        };
        watch(self.client, options).await.expect("a watch")
    }

    /// Resumes before the activation of this number, and returns how many pages of the log the server read to send the rest.
    async fn pages_to_resume(&self, hub: &Hub, first: usize) -> u64 {
        let before = counted(hub, "policyhub_watch_pages_read_total");
        let mut resumed = self.watch(Some(self.activated[first] - 1), false).await;
        assert_eq!(read_to(&mut resumed, self.head()).await, self.activated[first..], "{}", self.id);
        counted(hub, "policyhub_watch_pages_read_total") - before
    }
}

on_both_databases! {
    with SMALLEST_BUDGET;

    /// Given a namespace whose activations exceed the budget many times, subscribers of a quiet one resume from memory, and its own from
    /// the log or with a snapshot: all get exactly what they lack.
    async fn a_noisy_namespace_pays_for_itself(hub: Hub) {
        let client = hub.client().await;
        let mut quiet = Tenant::new(&client, "quiet", 10).await;
        let mut noisy = Tenant::new(&client, "noisy", LARGE_CONTENT_BYTES).await;
        let mut followed = [quiet.watch(None, false).await, noisy.watch(None, false).await];
        for stream in &mut followed {
            watching::change(stream).await;
        }
        quiet.activate(5).await;
        noisy.activate(LARGE_ACTIVATIONS).await;
        // The budget is exceeded by now: what the quiet one adds is no reason to release its own.
        quiet.activate(5).await;
        noisy.activate(2).await;
        let [of_quiet, of_noisy] = &mut followed;
        assert_eq!(read_to(of_quiet, quiet.head()).await, quiet.activated);
        assert_eq!(read_to(of_noisy, noisy.head()).await, noisy.activated);

        let released = counted(&hub, "policyhub_watch_ring_releases_total");
        assert!(released as usize >= LARGE_ACTIVATIONS - 4, "{released} released");
        assert_eq!(quiet.pages_to_resume(&hub, 0).await, 0, "all of the quiet one is in memory");
        assert!(noisy.pages_to_resume(&hub, 0).await > 0, "the first of the noisy one are not");
        assert_eq!(noisy.pages_to_resume(&hub, noisy.activated.len() - 1).await, 0, "its newest one is");

        let mut latest = noisy.watch(Some(noisy.activated[0]), true).await;
        let (message, _) = watching::next(&mut latest).await;
        assert!(matches!(message.message, Some(Message::Snapshot(_))), "not the newest state: {message:?}");
        read_to(&mut latest, noisy.head()).await;
        assert_eq!(watching::held(&latest), watching::held(of_noisy));
    }
}
