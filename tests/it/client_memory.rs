//! A server without any signing key can make a subscriber's process use only little memory, whatever it sends.
//!
//! This test prints the figures of docs/security.md: `cargo test --test it client_memory -- --nocapture`.

use policyhub::client::pb::watch_active_response::Message;
use tonic::{Code, Status};

use crate::harness::agents::AgentProcess;
use crate::harness::hostile_server::{Act, HostileServer, frame, send};
use crate::harness::hub::binary;
use crate::harness::subscribing::eventually;
use crate::hostile_ends::MIB;

/// The promised limit of a subscriber's growth under any stream.
const GROWTH_MAX_KIB: u64 = 32 * 1024;

/// Returns a snapshot message of `bytes` bytes, all of them empty bundles.
fn empty_bundles(bytes: usize) -> Act {
    let bundles = [0x0a, 0].repeat(bytes / 2);
    let mut message = vec![0x0a];
    prost::encoding::encode_varint(bundles.len() as u64, &mut message);
    message.extend(bundles);
    frame(0, &message)
}

/// Returns a checkpoint of `bytes` bytes without a valid signature.
fn long_text(hostile: &HostileServer, bytes: usize) -> Act {
    let heartbeat = hostile.signer.heartbeat(6, 0);
    send(Message::Heartbeat(policyhub::client::pb::Heartbeat { checkpoint: "A".repeat(bytes), ..heartbeat }))
}

#[tokio::test]
async fn an_agent_stays_small() {
    let (hostile, address) = HostileServer::listen().await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    hostile.script().always = Some(vec![Act::Refuse(Status::new(Code::Unavailable, "not yet"))]);
    let mut command = binary();
    command.args(["--server", &address, "--token", "t", "--namespace", &hostile.signer.namespace.to_string()]);
    command.args(["agent", "--output", "json", "--subscriber-id", "small", "--dir"]).arg(folder.path());
    let agent = AgentProcess::spawn(command);
    let asked = |hostile: &HostileServer| hostile.script().asked.len();
    eventually("the agent asks", async || asked(&hostile) > 0).await;
    let before = agent.peak_kib();
    for (what, lie) in [
        ("31 MiB of empty bundles", empty_bundles(31 * MIB)),
        ("7 MiB of empty bundles", empty_bundles(7 * MIB)),
        ("7 MiB of text", long_text(&hostile, 7 * MIB)),
    ] {
        let streams = asked(&hostile);
        hostile.script().streams.push_back(vec![lie.clone(), lie]);
        // An agent that asks once more has received the stream before.
        eventually("the agent had it", async || asked(&hostile) > streams + 1).await;
        let grown = agent.peak_kib() - before;
        println!("{what}: at most {} MiB more than before", grown / 1024);
        assert!(grown < GROWTH_MAX_KIB, "{what}: {grown} KiB");
    }
    hostile.become_honest();
    agent.wait_for_event("it follows the honest hub", |event| event["event"] == "applied").await;
}
