//! A server whose streams end badly or never end, against the SDK's watcher: what is in force stays, and no end makes it reconnect sooner
//! than permitted.

use std::collections::HashMap;
use std::time::Duration;

use policyhub::client::State;
use policyhub::client::pb::WatchActiveResponse;
use policyhub::client::pb::watch_active_response::Message;
use policyhub::client::pb::{self, Snapshot};
use policyhub::client::signing::TYP_CHECKPOINT;
use prost::Message as _;
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::harness::hostile_server::{Act, CODES, HostileServer, frame, keys_of, send, send_grpc, trailers};
use crate::harness::signer::{HandSigner, cursor, versions, with};
use crate::harness::watcher_fixture::{PausedClock, WatcherFixture};

/// Longest text from outside that a status shows.
const SHOWN_MAX_CHARS: usize = 4_096;
/// Number of streams of a storm.
const STORM: usize = 12;
pub const MIB: usize = 1 << 20;

/// Text that is harmful when printed.
const EVIL: &str = "gone\r\n\u{1b}[31m\u{0}\u{202e}";

fn reconnect(reason: i32, seconds: i64, nanos: i32) -> Vec<Act> {
    let backoff = Some(prost_types::Duration { seconds, nanos });
    vec![send(Message::Reconnect(pb::Reconnect { reason, backoff }))]
}

fn gone() -> Status {
    let details = ErrorDetails::with_error_info("RESUME_POINT_GONE", "policyhub", HashMap::new());
    Status::with_error_details(Code::OutOfRange, "gone", details)
}

fn wait_for_years(code: Code) -> Status {
    let mut details = ErrorDetails::with_error_info("RATE_LIMITED", "policyhub", HashMap::new());
    details.set_retry_info(Some(Duration::from_secs(10 * 365 * 86_400)));
    Status::with_error_details(code, EVIL, details)
}

/// Returns a status that asks to wait for the smallest integer, whose negation overflows.
fn wait_for_the_least() -> Status {
    let retry_delay = Some(prost_types::Duration { seconds: i64::MIN, nanos: i32::MIN });
    let value = tonic_types::pb::RetryInfo { retry_delay }.encode_to_vec();
    let details = vec![prost_types::Any { type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(), value }];
    let status = tonic_types::pb::Status { details, ..Default::default() };
    Status::with_details(Code::Unavailable, EVIL, status.encode_to_vec().into())
}

/// Returns streams that end without a lie in signed data, with a part of the expected status.
fn ends(hostile: &HostileServer) -> Vec<(String, &'static str, Vec<Act>)> {
    let half = Snapshot { complete: false, checkpoint: String::new(), ..hostile.signer.snapshot(10) };
    let message =
        WatchActiveResponse { message: Some(Message::Heartbeat(hostile.signer.heartbeat(6, 0))), ..Default::default() }
            .encode_to_vec();
    let size = |bytes: u32| Act::Bytes([&[0_u8][..], &bytes.to_be_bytes()].concat().into());
    let status = |value: &'static [u8]| vec![trailers(&[("grpc-status", value)])];
    let mut cases = vec![
        ("an end in order", "ended the stream", vec![]),
        ("a reset", "", vec![Act::UntilReported, Act::Break]),
        ("an end without trailers", "", vec![Act::Stop]),
        ("half of a message", "", vec![size(100), Act::Bytes(message[..20].to_vec().into()), Act::Stop]),
        ("half of a message, then a reset", "", vec![Act::UntilReported, size(100), Act::Break]),
        ("half of a length", "", vec![Act::Bytes(vec![0, 0, 1].into()), Act::Stop]),
        ("a message of four gigabytes", "", vec![size(u32::MAX), Act::Silence]),
        ("a message just over the limit", "", vec![size(33 << 20), Act::Silence]),
        ("a message that says it is compressed", "", vec![frame(1, &message)]),
        ("a message with a flag that is none", "", vec![frame(0x80, &message)]),
        ("not a message", "", vec![frame(0, &[0xff; 64])]),
        ("a message whose field is longer than it", "", vec![frame(0, &[0x0a, 0xff, 0xff, 0xff, 0x7f])]),
        ("a status that is no number", "", status(b"abc")),
        ("a status below zero", "", status(b"-1")),
        ("a status that is too large", "", status(b"99999999999999999999")),
        ("a status of nothing", "", status(b"")),
        ("details that are none", "", vec![trailers(&[("grpc-status", b"14"), ("grpc-status-details-bin", b"%%%")])]),
        (
            "a message of a status that is no text",
            "",
            vec![trailers(&[("grpc-status", b"14"), ("grpc-message", b"%ff\xff%")])],
        ),
        ("half of a snapshot", "ended the stream", vec![send(Message::Snapshot(half))]),
        ("a reason that nobody knows", "asks to come back", reconnect(99, 0, 0)),
        ("a reason below zero", "asks to come back", reconnect(i32::MIN, 0, 0)),
        ("a wait of years", "asks to come back", reconnect(0, 1 << 40, 0)),
        ("a wait out of range", "asks to come back", reconnect(0, i64::MAX, i32::MAX)),
        ("a wait below zero", "asks to come back", reconnect(0, i64::MIN, i32::MIN)),
        ("a wait below zero, in a status", "", vec![Act::Fail(wait_for_the_least())]),
        ("years to wait, in a status", "", vec![Act::Fail(wait_for_years(Code::Unavailable))]),
    ];
    cases.extend([
        ("kinds that nobody knows", "ended", vec![send_grpc(&WatchActiveResponse::default()); 1_000]),
        (
            "signs of life without a place",
            "ended",
            vec![send(Message::Heartbeat(pb::Heartbeat { resume_unknown: true, ..Default::default() })); 1_000],
        ),
        ("expired signs of life", "ended", vec![send(Message::Heartbeat(hostile.signer.heartbeat(6, 901))); 100]),
    ]);
    let codes = CODES.iter().map(|code| (format!("{code:?}"), "", vec![Act::Fail(Status::new(*code, EVIL))]));
    cases.into_iter().map(|(name, says, acts)| (name.to_owned(), says, acts)).chain(codes).collect()
}

#[tokio::test(start_paused = true)]
async fn bad_ends() {
    let clock = PausedClock::stopped();
    let count = ends(&HostileServer::listen().await.0).len();
    for index in 0..count {
        let mut case = None;
        let mut fixture = WatcherFixture::holding(&clock, 6, |hostile| {
            let (name, says, acts) = ends(hostile).swap_remove(index);
            case = Some((name, says));
            acts
        })
        .await;
        let (name, says) = case.expect("a case");
        let status = fixture.until(&name, |status| !status.is_connected).await;
        assert_eq!(status.state, State::Ready, "{name}: what was proven still is: {status:?}");
        assert!(!status.problem.is_empty() && status.problem.contains(says), "{name}: {status:?}");
        assert_shown(&name, &status.problem);
        fixture.holds(6);
        fixture.idle().await;
        assert_eq!(fixture.asked().0, 1, "{name}: no second stream before its time");
        fixture.converges(&name).await;
        assert_eq!(fixture.asked(), (2, false), "{name}: it goes on where it was");
    }
    assert_eq!(count, 37);
}

/// Checks that text from outside is one line of bounded length.
#[track_caller]
pub fn assert_shown(name: &str, text: &str) {
    assert!(text.chars().count() <= SHOWN_MAX_CHARS, "{name}: {} characters", text.chars().count());
    assert!(!text.chars().any(char::is_control), "{name}: {text:?}");
}

/// Returns what each stream of a storm sends.
fn storms(hostile: &HostileServer) -> Vec<(&'static str, Vec<Act>)> {
    let forged = pb::Activation { statement: HandSigner::new().logged(8).statement, ..hostile.signer.logged(8) };
    vec![
        ("streams that end at once", vec![]),
        ("streams that are reset", vec![Act::Break]),
        ("streams that ask to come back at once", reconnect(0, -1, -1)),
        ("calls that are refused", vec![Act::Refuse(Status::unavailable("no"))]),
        ("calls without the right to ask", vec![Act::Refuse(Status::unauthenticated(EVIL))]),
        ("calls that nobody knows", vec![Act::Refuse(Status::unimplemented(EVIL))]),
        ("calls that are over their rate for years", vec![Act::Refuse(wait_for_years(Code::ResourceExhausted))]),
        ("a resume point that is gone, for ever", vec![Act::Refuse(gone())]),
        ("a resume point that is gone, on the stream", vec![Act::Fail(gone())]),
        ("answers of another protocol", vec![Act::Http(502)]),
        ("answers without a body", vec![Act::Http(204)]),
        ("a lie on each stream", vec![send(Message::Activation(forged))]),
    ]
}

#[tokio::test(start_paused = true)]
async fn storms_are_slow() {
    let clock = PausedClock::stopped();
    let count = storms(&HostileServer::listen().await.0).len();
    for index in 0..count {
        let mut name = "";
        let mut fixture = WatcherFixture::holding(&clock, 6, |hostile| {
            let (named, acts) = storms(hostile).swap_remove(index);
            name = named;
            hostile.script().always = Some(acts);
            vec![]
        })
        .await;
        for streams in 1..=STORM {
            let status = fixture.until_cut(name, streams).await;
            assert_shown(name, &status.problem);
            fixture.idle().await;
            assert_eq!(fixture.asked().0, streams, "{name}: one stream for each pause");
            fixture.holds(6);
            clock.longest_pause().await;
        }
        let resumes: Vec<bool> =
            fixture.hostile.script().asked.iter().map(|request| request.targets[0].resume.is_some()).collect();
        if name.contains("gone") {
            assert_eq!(resumes[..3], [false, true, false], "{name}: then without a resume point");
        }
        assert_eq!(fixture.hostile.script().keys_asked, 0, "keys that are pinned are never asked for");
        fixture.converges(name).await;
    }
    assert_eq!(count, 12);
}

#[tokio::test(start_paused = true)]
async fn silence_is_an_end() {
    let clock = PausedClock::stopped();
    let mut fixture = WatcherFixture::holding(&clock, 6, |_| vec![Act::Silence]).await;
    fixture.idle().await;
    fixture.advance(policyhub::client::SILENCE_MAX).await;
    let status = fixture.until("an end", |status| !status.is_connected).await;
    assert!(status.problem.contains("nothing came for 30 s"), "{status:?}");
    fixture.hostile.script().always = Some(vec![Act::Hang]);
    clock.longest_pause().await;
    let hostile = fixture.hostile.clone();
    let asked = async move {
        while hostile.script().asked.len() < 2 {
            tokio::task::yield_now().await
        }
    };
    tokio::select! {
        update = fixture.watcher.next() => panic!("offered {update:?}"),
        () = asked => {}
    }
    fixture.advance(Duration::from_secs(10)).await;
    fixture.until("an end", |status| status.problem.contains("did not answer for 10 s")).await;
    fixture.holds(6);
    fixture.converges("silence").await;
}

/// Given a frozen stream whose heartbeats repeat an old checkpoint, the set becomes stale in time. By the wall clock, two seconds of it are
/// left.
#[tokio::test]
async fn a_frozen_stream_is_stale_in_time() {
    let clock = PausedClock::stopped();
    let mut fixture = WatcherFixture::holding(&clock, 0, |hostile| {
        let mut snapshot = hostile.signer.snapshot(6);
        snapshot.checkpoint = hostile.signer.heartbeat(6, 898).checkpoint;
        let old = send(Message::Heartbeat(hostile.signer.heartbeat(6, 898)));
        let fresh = send(Message::Heartbeat(hostile.signer.heartbeat(6, 0)));
        vec![send(Message::Snapshot(snapshot)), old.clone(), old, Act::Gate, fresh, Act::Silence]
    })
    .await;
    fixture.take(6).await;
    fixture.until("STALE", |status| status.state == State::Stale && status.is_connected).await;
    fixture.holds(6);
    fixture.hostile.become_honest();
    fixture.until("READY", |status| status.state == State::Ready).await;
}

#[tokio::test(start_paused = true)]
async fn an_old_snapshot_is_never_called_fresh() {
    let clock = PausedClock::stopped();
    let mut fixture = WatcherFixture::holding(&clock, 0, |hostile| {
        let checkpoint = hostile.signer.heartbeat(6, 7 * 86_400).checkpoint;
        vec![
            send(Message::Snapshot(Snapshot { checkpoint, ..hostile.signer.snapshot(6) })),
            Act::Fail(Status::aborted("")),
        ]
    })
    .await;
    fixture.take(6).await;
    let status = fixture.until("an end", |status| !status.is_connected).await;
    assert_eq!(status.state, State::Stale);
    fixture.converges("an old snapshot").await;
}

/// Lies of a first stream, while nothing is held yet.
fn beginnings(hostile: &HostileServer) -> Vec<(&'static str, State, &'static str, Vec<Act>)> {
    let signer = &hostile.signer;
    let mut tampered = signer.snapshot(6);
    tampered.bundles[0].content = "{}".into();
    // A message of another store that signs with the same key and is ahead.
    let other = json!({ "store": "store-2" });
    let bundle = signer.bundle_with("a", 1, &with(signer.manifest("a", 1), &other));
    let bundle = pb::Bundle { activation: cursor((1, 4)), ..bundle };
    let alone = Snapshot { bundles: vec![bundle], checkpoint: String::new(), ..signer.snapshot(6) };
    let checkpoint = with(signer.checkpoint((1, 99), &versions(6), 0, 900), &other);
    let checkpoint = signer.token(TYP_CHECKPOINT, &checkpoint);
    let half = Snapshot { checkpoint, cursor: cursor((1, 99)), ..alone.clone() };
    vec![
        ("a bundle of another store first", State::Rejected, "does not verify", vec![send(Message::Snapshot(alone))]),
        (
            "half a set of another store first",
            State::Diverged,
            "active set is not",
            vec![send(Message::Snapshot(half))],
        ),
        (
            "an activation first",
            State::Rejected,
            "before a whole snapshot",
            vec![send(Message::Activation(signer.logged(4)))],
        ),
        (
            "a heartbeat first",
            State::Rejected,
            "before a whole snapshot",
            vec![send(Message::Heartbeat(signer.heartbeat(6, 0)))],
        ),
        ("a tampered snapshot first", State::Rejected, "does not verify", vec![send(Message::Snapshot(tampered))]),
        (
            "a stranger's snapshot first",
            State::Rejected,
            "key is not known",
            vec![send(Message::Snapshot(HandSigner::new().snapshot(6)))],
        ),
        ("an end first", State::Stale, "ended the stream", vec![]),
        ("a gone resume point first", State::Stale, "gone", vec![Act::Refuse(gone())]),
        ("a wait of years first", State::Stale, "come back", reconnect(0, 1 << 40, 0)),
    ]
}

#[tokio::test(start_paused = true)]
async fn bad_beginnings() {
    let clock = PausedClock::stopped();
    let count = beginnings(&HostileServer::listen().await.0).len();
    for index in 0..count {
        let mut case = None;
        let mut fixture = WatcherFixture::holding(&clock, 0, |hostile| {
            let (name, state, says, acts) = beginnings(hostile).swap_remove(index);
            case = Some((name, state, says));
            acts
        })
        .await;
        let (name, state, says) = case.expect("a case");
        let status = fixture.until_cut(name, 1).await;
        assert_eq!(status.state, state, "{name}: {status:?}");
        assert!(status.problem.contains(says), "{name}: {status:?}");
        fixture.holds(0);
        fixture.converges(name).await;
    }
    assert_eq!(count, 9);
}

/// Answers to requests for keys, when another key signs.
fn key_lies(hostile: &HostileServer) -> Vec<(&'static str, Vec<Act>)> {
    let listed = keys_of(&hostile.signer);
    let with = |change: fn(&mut pb::SigningKey)| {
        let mut listed = listed.clone();
        change(&mut listed.keys[0]);
        vec![send_grpc(&listed)]
    };
    let many = pb::ListSigningKeysResponse { keys: vec![listed.keys[0].clone(); 20_000], ..listed.clone() };
    vec![
        ("no keys", vec![send_grpc(&pb::ListSigningKeysResponse::default())]),
        ("twenty thousand keys", vec![send_grpc(&many)]),
        ("keys that are no answer", vec![frame(0, &[0xff; 9])]),
        ("keys that are refused", vec![Act::Refuse(Status::internal(EVIL))]),
        ("keys that are cut off", vec![Act::Break]),
        ("a key that is no JSON", with(|key| key.jwk = EVIL.to_owned())),
        ("a key that is a secret", with(|key| key.jwk = r#"{"kty":"oct","k":"AAAA"}"#.to_owned())),
        ("a key of seals", with(|key| key.set_purpose(pb::KeyPurpose::Seal))),
        ("a key without a state", with(|key| key.state = 99)),
        ("a key that was revoked", with(|key| key.set_state(pb::KeyState::Revoked))),
    ]
}

#[tokio::test(start_paused = true)]
async fn lies_about_keys() {
    let clock = PausedClock::stopped();
    let count = key_lies(&HostileServer::listen().await.0).len();
    for index in 0..count {
        let stranger = send(Message::Activation(HandSigner::new().logged(8)));
        let mut fixture = WatcherFixture::learning(&clock, 6, |_| vec![Act::Gate]).await;
        let (name, acts) = key_lies(&fixture.hostile).swap_remove(index);
        let asked = fixture.hostile.script().keys_asked;
        fixture.hostile.script().keys = Some(acts);
        fixture.hostile.script().always = Some(vec![stranger]);
        fixture.advance(policyhub::client::SILENCE_MAX).await;
        for streams in 1..=STORM {
            fixture.until_cut(name, streams).await;
            fixture.holds(6);
            clock.longest_pause().await;
        }
        let status = fixture.view.status();
        assert_eq!(status.state, State::Rejected, "{name}: {status:?}");
        assert!(status.problem.contains("key is"), "{name}: {status:?}");
        let asked = fixture.hostile.script().keys_asked - asked;
        assert!(asked <= STORM, "{name}: {asked} questions for keys on {STORM} streams");
        fixture.converges(name).await;
    }
    assert_eq!(count, 10);
}

/// Answers to reports.
#[tokio::test(start_paused = true)]
async fn lies_about_reports() {
    let clock = PausedClock::stopped();
    let answers = [
        vec![frame(0, &[0xff; 9])],
        vec![Act::Break],
        vec![Act::Http(502)],
        vec![Act::Fail(wait_for_years(Code::ResourceExhausted))],
        vec![Act::Refuse(Status::unauthenticated(EVIL))],
        vec![Act::Refuse(Status::invalid_argument(EVIL))],
    ];
    for answer in answers {
        let what = format!("{answer:?}");
        let mut fixture = WatcherFixture::holding(&clock, 6, |hostile| {
            hostile.script().report = Some(answer);
            vec![send(Message::Heartbeat(hostile.signer.heartbeat(6, 0))); 10]
        })
        .await;
        fixture.until_cut(&what, 1).await;
        fixture.holds(6);
        let reports = fixture.hostile.script().reports.len();
        assert!(reports <= 11, "{what}: {reports} reports for one set and ten heartbeats");
        fixture.converges(&what).await;
    }
}
