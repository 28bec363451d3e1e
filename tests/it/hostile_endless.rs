//! A server that floods the SDK's watcher: endless streams, too large messages, flipped bits. Nothing of it is kept, and nothing is
//! accepted that was not signed.

use policyhub::client::pb::watch_active_response::Message;
use policyhub::client::pb::{self, Snapshot, WatchActiveResponse};
use policyhub::client::{State, Status as WatcherStatus};
use prost::Message as _;

use crate::harness::hostile_server::{Act, HostileServer, frame, send, send_grpc};
use crate::harness::signer::{set_digest, versions};
use crate::harness::watcher_fixture::{PausedClock, WatcherFixture};
use crate::hostile_ends::{MIB, assert_shown};

/// Given an endless stream of empty messages, views see that the set becomes stale, though Tokio's clock stands. By the wall clock, three
/// seconds of freshness are left.
#[tokio::test(start_paused = true)]
async fn endless_words_are_not_freshness() {
    let clock = PausedClock::stopped();
    for (what, word) in [
        ("an unknown kind", WatchActiveResponse::default()),
        (
            "a sign of life without a place",
            WatchActiveResponse {
                message: Some(Message::Heartbeat(pb::Heartbeat { resume_unknown: true, ..Default::default() })),
                ..Default::default()
            },
        ),
    ] {
        let mut fixture = WatcherFixture::holding(&clock, 0, |hostile| {
            let checkpoint = hostile.signer.heartbeat(6, 897).checkpoint;
            let Act::Bytes(word) = send_grpc(&word) else { unreachable!("a message is bytes") };
            // Many in a frame, because HTTP/2 itself ends a connection of many small frames.
            let words = Act::Forever(word.repeat(4_000).into());
            vec![send(Message::Snapshot(Snapshot { checkpoint, ..hostile.signer.snapshot(6) })), words]
        })
        .await;
        fixture.take(6).await;
        let status = fixture.until(what, |status| status.state == State::Stale).await;
        assert!(status.is_connected, "{what}: {status:?}");
        fixture.holds(6);
    }
}

/// Given a snapshot that never completes, repeated parts are not collected again and again.
#[tokio::test(start_paused = true)]
async fn endless_parts_end() {
    let clock = PausedClock::stopped();
    let mut fixture = WatcherFixture::holding(&clock, 6, |hostile| {
        let part = Snapshot { complete: false, checkpoint: String::new(), ..hostile.signer.snapshot(10) };
        let Act::Bytes(part) = send(Message::Snapshot(part)) else { unreachable!("a message is bytes") };
        vec![Act::Forever(part)]
    })
    .await;
    let status = fixture.until("an end", |status| !status.is_connected).await;
    assert_eq!(status.state, State::Rejected);
    assert!(status.problem.contains("is there twice"), "{status:?}");
    fixture.holds(6);
    fixture.converges("endless parts").await;
}

/// Given a flipped bit in the next snapshot, nothing is accepted that was not signed: some hundred bits, spread over all of it.
#[tokio::test(start_paused = true)]
async fn flipped_bits() {
    const EVERY: usize = 53;
    let clock = PausedClock::stopped();
    let signed = HostileServer::listen().await.0.signer;
    let bits = WatchActiveResponse { message: Some(Message::Snapshot(signed.snapshot(8))), ..Default::default() }
        .encoded_len()
        * 8;
    let mut left = (0..bits).step_by(EVERY).peekable();
    let (mut refused, mut taken) = (0, 0);
    while left.peek().is_some() {
        let mut fixture = WatcherFixture::holding(&clock, 6, |_| vec![]).await;
        let message = WatchActiveResponse {
            message: Some(Message::Snapshot(fixture.hostile.signer.snapshot(8))),
            ..Default::default()
        }
        .encode_to_vec();
        fixture.until_cut("the true stream", 1).await;
        for streams in 2.. {
            let Some(bit) = left.next() else { break };
            let mut flipped = message.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fixture.hostile.script().streams.push_back(vec![frame(0, &flipped)]);
            clock.longest_pause().await;
            let hostile = fixture.hostile.clone();
            let ended = |status: &WatcherStatus| !status.is_connected && hostile.script().asked.len() >= streams;
            match fixture.until_or_update(&format!("bit {bit}"), ended).await {
                Ok(_) => refused += 1,
                // A checkpoint whose field has another number is no checkpoint, and a snapshot may come without one.
                Err(update) => {
                    assert_eq!((update.active.cursor.revision, &update.active.digest), (8, &set_digest(&versions(8))));
                    taken += 1;
                    fixture.watcher.accept().await;
                    fixture.until_cut("the taken stream", streams).await;
                    break;
                }
            }
            fixture.holds(6);
        }
        fixture.converges("flipped bits").await;
    }
    assert!(refused > 200 && taken <= 3, "{refused} refused, {taken} taken");
}

/// Runs `giant_messages` in a separate process, whose memory nothing else uses.
#[test]
fn giant_messages_are_not_kept() {
    let this = std::env::current_exe().expect("this program");
    let arguments = ["hostile_endless::giant_messages", "--exact", "--ignored", "--nocapture"];
    let ran = std::process::Command::new(this).args(arguments).output().expect("it runs");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && said.contains("1 passed"), "{said}\n{}", String::from_utf8_lossy(&ran.stderr));
}

/// Given thirty messages just below the limit, without valid signatures, the peak memory is that of a few of them: the server that sends
/// them is in this process too, with copies of its own.
#[tokio::test(start_paused = true)]
#[ignore = "run by giant_messages_are_not_kept"]
async fn giant_messages() {
    const MESSAGES: usize = 30;
    let clock = PausedClock::stopped();
    let before = peak_bytes();
    let mut fixture = WatcherFixture::holding(&clock, 6, |hostile| {
        let giant = pb::Heartbeat { checkpoint: "A".repeat(7 * MIB), ..hostile.signer.heartbeat(6, 0) };
        hostile.script().always = Some(vec![send(Message::Heartbeat(giant))]);
        vec![]
    })
    .await;
    for streams in 1..=MESSAGES {
        let status = fixture.until_cut("a giant", streams).await;
        assert_shown("a giant", &status.problem);
        fixture.holds(6);
        clock.longest_pause().await;
    }
    let grown = peak_bytes() - before;
    println!("{MESSAGES} messages of 7 MiB: at most {} MiB more than before", grown / MIB);
    assert!(grown < 12 * 7 * MIB, "{grown} bytes");
    fixture.converges("giants").await;
}

/// Returns the peak memory of this process, in bytes.
fn peak_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1_024
}
