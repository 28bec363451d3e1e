//! Streams across a raised epoch: they continue when they lost nothing, and begin again with a proven snapshot when they did.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command};

use policyhub::client::SetChange;
use policyhub::client::pb;
use policyhub::client::pb::watch_active_response::Message;
use tonic::Code;

use crate::epochs::{bumped, is_in_doubt, writes_go_on};
use crate::harness::calls::{activate, publish, refused, release};
use crate::harness::proxy::NetworkProxy;
use crate::harness::subscribing::eventually;
use crate::harness::watching::{self, LIVELY, get_set, held, in_force, open, without_fingerprint};
use crate::harness::{Hub, on_both_databases};

const RAISED: &[&str] = &["--accept-loss", "--force"];
/// Selects the last event of the tests' namespace.
const NEWEST: &str = "(SELECT max(revision) FROM events WHERE namespace = 'default')";

/// Deletes the last activation of "p" from the database, as a restored backup or a lost tail would, so that everything is as before it.
fn lose_the_last_activation(hub: &Hub) {
    let is_sqlite = hub.database_url.starts_with("sqlite");
    let refusal = |table: &str| match is_sqlite {
        true => format!("DROP TRIGGER {table}_refuse_delete"),
        false => format!("DROP TRIGGER {table}_refuse_delete ON {table}"),
    };
    let loss = [
        refusal("events"),
        refusal("pointer_changes"),
        format!("DELETE FROM pointer_changes WHERE namespace = 'default' AND revision = {NEWEST}"),
        format!("DELETE FROM events WHERE namespace = 'default' AND revision = {NEWEST}"),
        "UPDATE policies SET active_version = 1, active_revision = (SELECT max(revision) FROM pointer_changes WHERE \
         namespace = 'default' AND policy = 'p') WHERE namespace = 'default' AND id = 'p'"
            .to_owned(),
        format!(
            "UPDATE namespaces SET head_revision = {NEWEST}, head_hash = (SELECT hash FROM events WHERE namespace = 'default' \
             AND revision = {NEWEST}) WHERE id = 'default'"
        ),
    ];
    // One process for all of them: the test's streams end when nobody reads them for seconds.
    hub.tamper(&loss.join(if is_sqlite { ";;" } else { ";" }));
}

/// Raises the epoch by the command, which must log no error.
async fn bump_quietly(hub: &Hub, flags: &[&str]) {
    let mut command = hub.cli();
    command.args(["epoch", "bump"]).args(flags).args(["--database-url", &hub.database_url, "--keys-dir"]);
    command.arg(hub.data_dir().join("keys"));
    let bump = tokio::task::spawn_blocking(move || command.output()).await.expect("a thread").expect("the binary runs");
    let said = String::from_utf8_lossy(&bump.stderr).into_owned();
    assert!(bump.status.success() && !said.contains("ERROR"), "{said}");
}

/// Returns the errors that a server has logged.
fn errors(hub: &Hub) -> Vec<String> {
    let log = hub.log.lock().expect("the log").clone();
    log.lines().filter(|line| line.contains("ERROR")).map(str::to_owned).collect()
}

/// A command that runs until it is dropped, and its output.
struct WatchTask {
    child: Child,
    said: PathBuf,
}

impl WatchTask {
    fn start(mut command: Command, said: PathBuf) -> Self {
        let file = File::create(&said).expect("a file");
        command.stdout(file.try_clone().expect("the same file")).stderr(file);
        Self { child: command.spawn().expect("the binary runs"), said }
    }

    async fn says(&self, what: &str) {
        eventually(what, async || fs::read_to_string(&self.said).expect("text").contains(what)).await;
    }
}

impl Drop for WatchTask {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

on_both_databases! {
    with LIVELY;

    async fn a_stream_goes_on_when_nothing_was_lost(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        publish(&client, "p", "a: 2").await;
        let mut watch = open(&client).await;
        watching::change(&mut watch).await;
        let before = watch.set().cursor().expect("a place");
        bumped(&hub, RAISED, 2, 2).await;
        // The heartbeat has the new epoch, and a checkpoint signs it.
        while watch.set().cursor().is_none_or(|cursor| cursor.epoch < 2) {
            watching::next(&mut watch).await;
        }
        assert_eq!(watch.set().cursor().expect("a place").revision, before.revision + 1, "the bump is one event");
        let revision = activate(&client, "p", 2).await;
        assert_eq!(watching::activation(&mut watch).await, (revision, vec!["p@2".to_owned()], vec![]));
        assert_eq!(without_fingerprint(get_set(&client).await.cursor), Some(pb::Cursor { epoch: 2, revision, ..Default::default() }));
        let old = pb::Cursor { epoch: 1, revision: before.revision, ..Default::default() };
        refused(watching::raw(&client, Some(old)).await, Code::OutOfRange, "RESUME_POINT_GONE");
    }

    /// Given a subscriber that holds what the store has lost, only the signed epoch removes it, on the same stream.
    async fn a_stream_begins_anew_when_its_place_was_lost(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        publish(&client, "p", "a: 2").await;
        let lost = activate(&client, "p", 2).await;
        let mut watch = open(&client).await;
        watching::change(&mut watch).await;
        assert_eq!(watch.set().cursor().expect("a place").revision, lost);
        lose_the_last_activation(&hub);
        // A log that ends before what was read changes nothing.
        for _ in 0..3 {
            assert!(matches!(watching::next(&mut watch).await.1, SetChange::Alive { .. }));
        }
        bumped(&hub, RAISED, 2, 2).await;
        let SetChange::Replaced { cursor, policies } = watching::change(&mut watch).await else {
            panic!("not a snapshot");
        };
        assert_eq!((cursor.epoch, cursor.revision), (2, lost), "the bump stands where the lost event stood");
        assert_eq!(policies.iter().map(|active| active.version).collect::<Vec<_>>(), [1]);
        assert_eq!(held(&watch), in_force(&client).await);
        writes_go_on(&client, "q").await;
        let revision = activate(&client, "p", 2).await;
        assert_eq!(watching::activation(&mut watch).await, (revision, vec!["p@2".to_owned()], vec![]));
    }

    /// Given a raised epoch, the command continues by itself; only a caller that asked for a lost cursor is told what to do.
    async fn the_command_goes_on_where_its_place_was_lost(hub: Hub) {
        let mut hub = hub;
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        publish(&client, "p", "a: 2").await;
        let lost = activate(&client, "p", 2).await;
        let proxy = NetworkProxy::before(hub.grpc_port()).await;
        let mut command = hub.cli();
        command.arg("watch").env("POLICYHUB_SERVER", format!("http://127.0.0.1:{}", proxy.port));
        let watching = WatchTask::start(command, hub.dir.path().join("watched"));
        watching.says(&format!("SNAPSHOT    1:{lost}")).await;
        hub.signal("TERM");
        assert!(hub.ended().await.success(), "the server must end in order");
        lose_the_last_activation(&hub);
        let hub = hub.restart().await;
        proxy.aim(hub.grpc_port());
        watching.says("the store is in doubt").await;
        let table = hub.cli().arg("active").output().expect("the binary runs");
        assert!(String::from_utf8_lossy(&table.stderr).contains("the store is in doubt"), "{table:?}");
        bumped(&hub, RAISED, 2, 2).await;
        watching.says(&format!("SNAPSHOT    2:{lost}")).await;
        let client = hub.client().await;
        writes_go_on(&client, "q").await;
        let revision = activate(&client, "p", 2).await;
        watching.says(&format!("ACTIVATE    2:{revision}")).await;

        let resumed = hub.cli().args(["watch", "--resume", &format!("1:{lost}")]).output().expect("the binary runs");
        let said = String::from_utf8_lossy(&resumed.stderr).into_owned();
        assert!(!resumed.status.success() && said.contains("next: watch again without --resume"), "{said}");
    }

    /// Given a server that started with suspected data loss, nothing it holds was ever the newest. The raise ends that before streams are
    /// woken, so the snapshot they get is proven and fresh.
    async fn a_stream_that_waited_in_doubt_begins_anew_with_a_proof(hub: Hub) {
        let mut hub = hub;
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        publish(&client, "p", "a: 2").await;
        let lost = activate(&client, "p", 2).await;
        hub.signal("TERM");
        assert!(hub.ended().await.success(), "the server must end in order");
        lose_the_last_activation(&hub);
        let hub = hub.restart().await;
        let client = hub.client().await;
        let mut watch = watching::resume(&client, lost).await;
        let (message, _) = watching::next(&mut watch).await;
        let Some(Message::Heartbeat(heartbeat)) = message.message else { panic!("not a heartbeat: {message:?}") };
        assert!(heartbeat.in_doubt, "{heartbeat:?}");
        bumped(&hub, RAISED, 2, 2).await;
        let SetChange::Replaced { cursor, .. } = watching::change(&mut watch).await else { panic!("not a snapshot") };
        assert_eq!((cursor.epoch, cursor.revision), (2, lost));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
        assert!(!watch.set().is_stale(now.as_secs().try_into().expect("a time")), "its checkpoint has expired");
    }

    /// The server logs the suspected data loss as an error. Its end is no error, neither there nor in the command.
    async fn a_raise_logs_no_error(hub: Hub) {
        let mut hub = hub;
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        publish(&client, "p", "a: 2").await;
        activate(&client, "p", 2).await;
        hub.signal("TERM");
        assert!(hub.ended().await.success(), "the server must end in order");
        lose_the_last_activation(&hub);
        let hub = hub.restart().await;
        let client = hub.client().await;
        is_in_doubt(&hub, &client, "was seen").await;
        let before = errors(&hub);
        for (flags, epoch) in [(&["--accept-loss"][..], 2), (RAISED, 3)] {
            let mut watch = open(&client).await;
            bump_quietly(&hub, flags).await;
            while watch.set().cursor().is_none_or(|cursor| cursor.epoch < epoch) {
                watching::next(&mut watch).await;
            }
            writes_go_on(&client, "q").await;
            assert_eq!(errors(&hub), before, "a raise to epoch {epoch}");
        }
    }
}
