//! The stream vectors against the library's [`Watcher`], in a separate process whose clock is that of the vectors.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use policyhub::client::name::{NamespaceId, PolicyId};
use policyhub::client::signing::KeySet;
use policyhub::client::{Active, ActiveSetOptions, Keys, Target, TokenSource, Update, View, Watcher, WatcherOptions};

use super::format::{ExpectedSet, StreamCase, StreamVectors, VectorSet};
use super::{StreamStage, expected};
use crate::harness::clock;
use crate::harness::signer::now;
use crate::harness::watching::DEADLINE;

/// The test that plays, and the environment variables that control it.
const PLAYER: &str = "stream_vectors::library::plays_by_the_clock_of_the_vectors";
const DIRECTORY: &str = "STREAM_VECTORS_CLOCK";

#[test]
fn the_watcher_gives_the_verdict_of_each() {
    let directory = tempfile::tempdir().expect("a directory");
    clock::build(directory.path());
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    clock::preload(directory.path(), &mut command);
    command.args([PLAYER, "--exact", "--ignored", "--nocapture"]).env(DIRECTORY, directory.path());
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    assert!(said.contains(&format!("{} cases", StreamVectors::read().cases.len())), "{said}");
}

#[tokio::test]
#[ignore = "by the test above alone: its clock is shifted"]
async fn plays_by_the_clock_of_the_vectors() {
    let directory = std::env::var(DIRECTORY).expect("run by the test above");
    let vectors = StreamVectors::read();
    let mut by_clock: BTreeMap<i64, Vec<&StreamCase>> = BTreeMap::new();
    for case in &vectors.cases {
        by_clock.entry(case.clock).or_default().push(case);
    }
    let mut count = 0;
    for (time, cases) in by_clock {
        clock::shift(Path::new(&directory), 0);
        clock::shift(Path::new(&directory), time - now());
        let played = cases.iter().map(|case| play(&vectors, case));
        count += futures_util::future::join_all(played).await.len();
    }
    println!("{count} cases");
}

/// Returns a set in the form of the vectors.
fn set_of(active: &Active) -> VectorSet {
    let policies = active.policies.values().map(|held| {
        let (version, digest) = (held.version, held.digest.to_string());
        let in_force = ExpectedSet { version, digest, epoch: held.activated.epoch, revision: held.activated.revision };
        (held.policy.to_string(), in_force)
    });
    VectorSet { epoch: active.cursor.epoch, revision: active.cursor.revision, policies: policies.collect() }
}

fn watcher(vectors: &StreamVectors, case: &StreamCase, stage: &StreamStage) -> Watcher {
    let policies = case.filter.iter().map(|id| PolicyId::parse("policy", id).expect("an id")).collect();
    Watcher::open(WatcherOptions {
        source: Target::new(&stage.endpoint).with_token(TokenSource::Text("secret".to_owned())).into(),
        namespace: NamespaceId::parse("namespace", "default").expect("an id"),
        keys: Keys::Pinned(KeySet::parse_jwks(vectors.pins.to_string().as_bytes()).expect("keys")),
        set: ActiveSetOptions { policies, ..Default::default() },
        every_activation: true,
        subscriber_id: "shop-1".to_owned(),
        attributes: BTreeMap::new(),
        directory: None,
    })
    .expect("a watcher")
}

/// Accepts every offered set until the condition holds. Each must have been in force, and none may be older than the one before.
async fn take_until(
    vectors: &StreamVectors,
    case: &StreamCase,
    watcher: &mut Watcher,
    until: impl Future<Output = ()>,
) {
    let view = watcher.view();
    let mut until = std::pin::pin!(until);
    loop {
        let update: Update = tokio::select! {
            biased;
            update = watcher.next() => update,
            () = &mut until => return,
        };
        let found = set_of(&update.active);
        assert!(vectors.is_true(&found, &case.filter), "{}: offered {found:?}", case.name);
        let before = view.active().map(|active| active.cursor);
        assert!(
            before.is_none_or(|before| before < update.active.cursor),
            "{}: from {before:?} to {found:?}",
            case.name
        );
        watcher.accept().await;
    }
}

async fn changes_to(view: &View, what: &str, holds: impl Fn(&View) -> bool) {
    let mut view = view.clone();
    let waiting = async {
        while !holds(&view) {
            assert!(view.changed().await);
        }
    };
    let waited = tokio::time::timeout(DEADLINE, waiting).await;
    waited.unwrap_or_else(|_| panic!("{what}: never; {:?}", view.status()));
}

async fn play(vectors: &StreamVectors, case: &StreamCase) {
    let (stage, what) = (StreamStage::of(vectors, case, true).await, &case.name);
    let mut watcher = watcher(vectors, case, &stage);
    let view = watcher.view();
    take_until(vectors, case, &mut watcher, stage.is_over(case)).await;
    // Heartbeats advance the cursor without changing the set.
    let status = view.status();
    let newest = status.newest.map(|at| (at.epoch, at.revision));
    let held =
        view.active().zip(newest).map(|(active, (epoch, revision))| VectorSet { epoch, revision, ..set_of(&active) });
    assert_eq!(held, expected(vectors, case), "{what}: {status:?}");
    let found = (status.state.to_string(), status.is_stale);
    assert_eq!(found, (case.then.state.clone(), case.then.stale), "{what}: {status:?}");
    assert!(stage.rejections() <= case.then.refused, "{what}: reports a rejection of what it took");

    stage.hostile.become_honest();
    let after = vectors.set(&case.after, &case.filter);
    let is_repaired = |view: &View| {
        let status = view.status();
        status.state.to_string() == "READY"
            && view.active().is_some_and(|active| set_of(&active).policies == after.policies)
    };
    take_until(vectors, case, &mut watcher, changes_to(&view, what, is_repaired)).await;
}
