//! Streams across a raised epoch: they go on when nothing of theirs was lost, and begin anew, proven, when it was.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command};

use policyhub::client::SetChange;
use policyhub::client::pb;
use policyhub::client::pb::watch_active_response::Message;
use tonic::Code;

use crate::epochs::{bumped, is_in_doubt, writes_go_on};
use crate::harness::calls::{activate, publish, refused, release};
use crate::harness::proxy::Proxy;
use crate::harness::subscribing::eventually;
use crate::harness::watching::{self, LIVELY, bare, get_set, held, in_force, open};
use crate::harness::{Hub, on_both_databases};

const RAISED: &[&str] = &["--accept-loss", "--force"];
/// The last event of the tests' namespace.
const NEWEST: &str = "(SELECT max(revision) FROM events WHERE namespace = 'default')";

/// Takes the last activation of "p" out of the database, as a restored backup or a lost tail would: everything says again
/// what it said before it.
fn lose_the_last_activation(hub: &Hub) {
    for table in ["events", "pointer_changes"] {
        if hub.database_url.starts_with("sqlite") {
            hub.tamper(&format!("DROP TRIGGER {table}_refuse_delete"));
        } else {
            hub.tamper(&format!("DROP TRIGGER {table}_refuse_delete ON {table}"));
        }
    }
    hub.tamper(&format!("DELETE FROM pointer_changes WHERE namespace = 'default' AND revision = {NEWEST}"));
    hub.tamper(&format!("DELETE FROM events WHERE namespace = 'default' AND revision = {NEWEST}"));
    hub.tamper(
        "UPDATE policies SET active_version = 1, active_revision = (SELECT max(revision) FROM pointer_changes WHERE \
         namespace = 'default' AND policy = 'p') WHERE namespace = 'default' AND id = 'p'",
    );
    hub.tamper(&format!(
        "UPDATE namespaces SET head_revision = {NEWEST}, head_hash = (SELECT hash FROM events WHERE namespace = 'default' \
         AND revision = {NEWEST}) WHERE id = 'default'"
    ));
}

/// Raises the epoch by the command, which logs no error.
fn bump_quietly(hub: &Hub, flags: &[&str]) {
    let mut command = hub.cli();
    command.args(["epoch", "bump"]).args(flags).args(["--database-url", &hub.database_url, "--keys-dir"]);
    let bump = command.arg(hub.data_dir().join("keys")).output().expect("the binary runs");
    let said = String::from_utf8_lossy(&bump.stderr).into_owned();
    assert!(bump.status.success() && !said.contains("ERROR"), "{said}");
}

/// The errors that a server has logged.
fn errors(hub: &Hub) -> Vec<String> {
    let log = hub.log.lock().expect("the log").clone();
    log.lines().filter(|line| line.contains("ERROR")).map(str::to_owned).collect()
}

/// A command that goes on until it is dropped, and all that it said.
struct Watching {
    child: Child,
    said: PathBuf,
}

impl Watching {
    fn start(mut command: Command, said: PathBuf) -> Self {
        let file = File::create(&said).expect("a file");
        command.stdout(file.try_clone().expect("the same file")).stderr(file);
        Self { child: command.spawn().expect("the binary runs"), said }
    }

    async fn says(&self, what: &str) {
        eventually(what, async || fs::read_to_string(&self.said).expect("text").contains(what)).await;
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // Ended already, or not.
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
        bumped(&hub, RAISED, 2, 2);
        // The heartbeat says so, and a checkpoint signs it.
        while watch.set().cursor().is_none_or(|cursor| cursor.epoch < 2) {
            watching::next(&mut watch).await;
        }
        assert_eq!(watch.set().cursor().expect("a place").revision, before.revision + 1, "the bump is one event");
        let revision = activate(&client, "p", 2).await;
        assert_eq!(watching::activation(&mut watch).await, (revision, vec!["p@2".to_owned()], vec![]));
        assert_eq!(bare(get_set(&client).await.cursor), Some(pb::Cursor { epoch: 2, revision, ..Default::default() }));
        let old = pb::Cursor { epoch: 1, revision: before.revision, ..Default::default() };
        refused(watching::raw(&client, Some(old)).await, Code::OutOfRange, "RESUME_POINT_GONE");
    }

    /// The subscriber holds what the store has lost. Only the signed epoch takes it back, on the same stream.
    async fn a_stream_begins_anew_when_its_place_was_lost(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        publish(&client, "p", "a: 2").await;
        let lost = activate(&client, "p", 2).await;
        let mut watch = open(&client).await;
        watching::change(&mut watch).await;
        assert_eq!(watch.set().cursor().expect("a place").revision, lost);
        lose_the_last_activation(&hub);
        // A log that ends before what was read moves nothing and nobody.
        for _ in 0..3 {
            assert!(matches!(watching::next(&mut watch).await.1, SetChange::Alive { .. }));
        }
        bumped(&hub, RAISED, 2, 2);
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

    /// The command line follows the raised epoch by itself; only who asked for a place that is gone is told what to do.
    async fn the_command_goes_on_where_its_place_was_lost(hub: Hub) {
        let mut hub = hub;
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        publish(&client, "p", "a: 2").await;
        let lost = activate(&client, "p", 2).await;
        let proxy = Proxy::before(hub.grpc_port()).await;
        let mut command = hub.cli();
        command.arg("watch").env("POLICYHUB_SERVER", format!("http://127.0.0.1:{}", proxy.port));
        let watching = Watching::start(command, hub.dir.path().join("watched"));
        watching.says(&format!("SNAPSHOT    1:{lost}")).await;
        hub.signal("TERM");
        assert!(hub.ended().await.success(), "the server must end in order");
        lose_the_last_activation(&hub);
        let hub = hub.restart().await;
        proxy.aim(hub.grpc_port());
        watching.says("the store is in doubt").await;
        let table = hub.cli().arg("active").output().expect("the binary runs");
        assert!(String::from_utf8_lossy(&table.stderr).contains("the store is in doubt"), "{table:?}");
        bumped(&hub, RAISED, 2, 2);
        watching.says(&format!("SNAPSHOT    2:{lost}")).await;
        let client = hub.client().await;
        writes_go_on(&client, "q").await;
        let revision = activate(&client, "p", 2).await;
        watching.says(&format!("ACTIVATE    2:{revision}")).await;

        let resumed = hub.cli().args(["watch", "--resume", &format!("1:{lost}")]).output().expect("the binary runs");
        let said = String::from_utf8_lossy(&resumed.stderr).into_owned();
        assert!(!resumed.status.success() && said.contains("next: watch again without --resume"), "{said}");
    }

    /// The server started in doubt: nothing it holds was ever the newest. The raise ends that before streams are woken, so
    /// the snapshot they get is proven and fresh.
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
        bumped(&hub, RAISED, 2, 2);
        let SetChange::Replaced { cursor, .. } = watching::change(&mut watch).await else { panic!("not a snapshot") };
        assert_eq!((cursor.epoch, cursor.revision), (2, lost));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
        assert!(!watch.set().is_stale(now.as_secs().try_into().expect("a time")), "its checkpoint has expired");
    }

    /// The doubt is an error that the server has logged. That it is ended is none, neither there nor of the command.
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
            bump_quietly(&hub, flags);
            while watch.set().cursor().is_none_or(|cursor| cursor.epoch < epoch) {
                watching::next(&mut watch).await;
            }
            writes_go_on(&client, "q").await;
            assert_eq!(errors(&hub), before, "a raise to epoch {epoch}");
        }
    }
}
