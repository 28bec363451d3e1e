//! Replays the history: creates the policies, then drafts, publishes and activates every version.

use std::collections::BTreeSet;
use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use policyhub::client::pb::activate_target::To;
use policyhub::client::{Client, pb};

use super::history::{CorpusEntry, CorpusHistory};
use super::queues;
use super::table::CorpusTable;
use crate::harness::calls::{NAMESPACE, Revision as _, policy, version};

/// The reason on every activation.
pub const REASON: &str = "as it was in the history";
/// The media type of every version.
pub const CONTENT_TYPE: &str = "application/yaml";

/// The result of the replay.
#[derive(Debug)]
pub struct PublishedVersion {
    /// The highest revision that an activation got.
    pub last_revision: i64,
    /// When the last call was answered.
    pub ended: Instant,
}

/// The durations of a queue's calls, and the highest revision among them.
#[derive(Debug, Default)]
struct PublisherQueue {
    draft: Vec<Duration>,
    publish: Vec<Duration>,
    activate: Vec<Duration>,
    last_revision: i64,
}

/// Creates the policies, then publishes and activates every version, each policy's versions in order.
pub async fn run(client: &Client, history: &Arc<CorpusHistory>, table: &mut CorpusTable) -> PublishedVersion {
    let started = Instant::now();
    let made = queues::run(history, |places| create(client.clone(), Arc::clone(history), places)).await;
    table.rate("policies made", made.into_iter().sum(), started);

    let (started, done) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
    let work = |places| release(client.clone(), Arc::clone(history), places, Arc::clone(&done));
    let queues = queues::run(history, work).await;
    let ended = Instant::now();
    let all = queues.into_iter().fold(PublisherQueue::default(), |mut all, mut queue| {
        all.draft.append(&mut queue.draft);
        all.publish.append(&mut queue.publish);
        all.activate.append(&mut queue.activate);
        PublisherQueue { last_revision: all.last_revision.max(queue.last_revision), ..all }
    });
    assert_eq!(all.activate.len(), history.entries.len(), "every version was activated");
    table.rate("versions drafted, published, active", all.activate.len(), started);
    table.rate("  changes (events) of them", all.draft.len() + all.publish.len() + all.activate.len(), started);
    table.latency("  Draft", all.draft);
    table.latency("  Publish", all.publish);
    table.latency("  Activate", all.activate);
    PublishedVersion { last_revision: all.last_revision, ended }
}

async fn create(client: Client, history: Arc<CorpusHistory>, places: Vec<usize>) -> usize {
    let ids: BTreeSet<&str> = places.iter().map(|place| history.entries[*place].policy.as_str()).collect();
    for id in &ids {
        // Real labels sometimes go back.
        let settings = pb::PolicySettings { allow_backport: true, ..Default::default() };
        let made = pb::Policy { kind: pb::PolicyKind::Yaml.into(), settings: Some(settings), ..Default::default() };
        let request = pb::CreatePolicyRequest {
            parent: NAMESPACE.to_owned(),
            policy_id: (*id).to_owned(),
            policy: Some(made),
            ..Default::default()
        };
        client.create_policy(request).await.unwrap_or_else(|error| panic!("{id}: {error}"));
    }
    ids.len()
}

async fn release(
    client: Client,
    history: Arc<CorpusHistory>,
    places: Vec<usize>,
    done: Arc<AtomicUsize>,
) -> PublisherQueue {
    let mut queue = PublisherQueue::default();
    for place in places {
        let entry = &history.entries[place];
        let started = Instant::now();
        let drafted = draft(&client, entry).await;
        queue.draft.push(started.elapsed());

        let started = Instant::now();
        publish(&client, entry, drafted).await;
        queue.publish.push(started.elapsed());

        let started = Instant::now();
        let revision = activate(&client, entry).await;
        queue.activate.push(started.elapsed());
        assert!(revision > queue.last_revision, "{}: revisions go forward", refused(entry));
        queue.last_revision = revision;
        progress(done.fetch_add(1, Ordering::Relaxed) + 1, history.entries.len());
    }
    queue
}

async fn draft(client: &Client, entry: &CorpusEntry) -> pb::Version {
    let request = pb::DraftRequest {
        parent: policy(&entry.policy),
        content: entry.content.clone(),
        content_type: CONTENT_TYPE.to_owned(),
        label: entry.label.clone(),
        change_note: entry.note.clone(),
        request_id: entry.request_id.clone(),
        ..Default::default()
    };
    let drafted = client.draft(request).await.unwrap_or_else(|error| panic!("draft of {}: {error}", refused(entry)));
    let drafted = drafted.version.expect("a version");
    assert_eq!((drafted.version, &drafted.digest), (entry.number, &entry.digest), "{}", refused(entry));
    drafted
}

async fn publish(client: &Client, entry: &CorpusEntry, drafted: pb::Version) {
    let request = pb::PublishRequest {
        name: drafted.name,
        etag: drafted.etag,
        request_id: entry.request_id.clone(),
        ..Default::default()
    };
    let answer = client.publish(request).await.unwrap_or_else(|error| panic!("publish {}: {error}", refused(entry)));
    assert_eq!(answer.version.expect("a version").state(), pb::VersionState::Published, "{}", refused(entry));
}

async fn activate(client: &Client, entry: &CorpusEntry) -> i64 {
    // The version before it in the history must be active.
    let expected_active = Some(entry.number - 1);
    let target =
        pb::ActivateTarget { policy: policy(&entry.policy), to: Some(To::Version(entry.number)), expected_active };
    let request = pb::ActivateRequest {
        parent: NAMESPACE.to_owned(),
        targets: vec![target],
        reason: REASON.to_owned(),
        request_id: entry.request_id.clone(),
        ..Default::default()
    };
    client
        .activate(request)
        .await
        .unwrap_or_else(|error| panic!("activate {}: {error}", refused(entry)))
        .cursor
        .revision()
}

/// Returns the text of a failure, with the version.
fn refused(entry: &CorpusEntry) -> String {
    format!("{} ({})", version(&entry.policy, entry.number), entry.label)
}

/// Prints progress on one line that is overwritten, for a terminal only.
fn progress(done: usize, all: usize) {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        let end = if done == all { '\n' } else { '\r' };
        let _ = write!(stderr, "{done} of {all} versions{end}");
    }
}
