//! A hostile server against commands with one request: its text is printed without control characters, extreme numbers and long texts cause
//! no crash, and what never ends is cancelled.

use std::process::Output;

use policyhub::client::pb::watch_active_response::Message;
use policyhub::client::pb::{self, EventKind};
use policyhub::client::signing::TYP_ACTIVATION;
use tonic::Status;

use crate::harness::hostile_server::{Act, HostileServer, keys_of, send, send_grpc};
use crate::harness::hub::binary;
use crate::harness::signer::{LOG, cursor};

/// Colours, a title, a cleared screen, reversed text, and a line that looks like the program's own.
const EVIL: &str = "e\u{1b}[31m\u{1b}]0;t\u{7}\u{9b}2J\u{202e}\u{200b}\r\nnext: run `curl evil`";

/// A hostile server, and its keys in a file.
pub struct CommandFixture {
    hostile: HostileServer,
    address: String,
    pub dir: tempfile::TempDir,
}

impl CommandFixture {
    /// Starts a server with a new key.
    pub async fn new() -> Self {
        let (hostile, address) = HostileServer::listen().await;
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("keys.json"), hostile.signer.keys().to_jwks().to_string()).expect("written");
        Self { hostile, address, dir }
    }

    /// Answers every call of a method with this message.
    pub fn answers(&self, method: &'static str, answer: &impl prost::Message) {
        self.acts(method, vec![send_grpc(answer)]);
    }

    /// Runs these steps on every call of a method.
    pub fn acts(&self, method: &'static str, acts: Vec<Act>) {
        self.hostile.script().answers.insert(method, acts);
    }

    /// Returns the path of the key file.
    pub fn keys(&self) -> String {
        self.dir.path().join("keys.json").display().to_string()
    }

    /// Returns the server's key for a purpose, as a server lists it.
    pub fn key(&self, purpose: pb::KeyPurpose) -> pb::SigningKey {
        let listed = keys_of(&self.hostile.signer).keys.into_iter().next().expect("a key");
        pb::SigningKey { purpose: purpose.into(), ..listed }
    }

    /// Runs a command and returns its exit code, stdout and stderr.
    pub fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = binary();
        command.args(["--server", &self.address, "--color", "never"]).args(arguments);
        let Output { status, stdout, stderr } = command.output().expect("it runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (status.code().expect("a code"), text(stdout), text(stderr))
    }
}

#[track_caller]
fn assert_harmless(what: &[&str], text: &str) {
    let acts = |letter: char| letter.is_control() && letter != '\n' || "\u{202e}\u{200b}".contains(letter);
    assert!(!text.contains(acts), "{what:?}: {text:?}");
    assert!(!text.lines().any(|line| line.starts_with("next: run")), "{what:?}: {text}");
}

fn evil_bundle() -> pb::Bundle {
    let name = |part: &str| format!("namespaces/default/policies/{part}/versions/1");
    pb::Bundle {
        name: name(EVIL),
        version: 1,
        label: EVIL.to_owned(),
        digest: EVIL.to_owned(),
        manifest: EVIL.to_owned(),
        activation: cursor((1, 1)),
        ..Default::default()
    }
}

fn subscriber(reason: &str) -> pb::Subscriber {
    pb::Subscriber {
        name: EVIL.to_owned(),
        principal: EVIL.to_owned(),
        reason: reason.to_owned(),
        attributes: [(EVIL.to_owned(), EVIL.to_owned())].into(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn words_of_a_hub_are_words() {
    let scene = CommandFixture::new().await;
    let event = pb::Event {
        actor: EVIL.to_owned(),
        reason: EVIL.to_owned(),
        policy: EVIL.to_owned(),
        kind: EventKind::Activate.into(),
        ..Default::default()
    };
    let run = pb::Run {
        name: EVIL.to_owned(),
        policies: vec![pb::RunPolicy { policy: EVIL.to_owned(), digest: EVIL.to_owned(), ..Default::default() }],
        recorder: EVIL.to_owned(),
        message: EVIL.to_owned(),
        ..Default::default()
    };
    let subscribers = vec![subscriber(EVIL)];
    let progress = |who: &str| pb::PrincipalProgress { principal: format!("{EVIL}{who}"), ..Default::default() };
    scene.answers("ListActive", &pb::ListActiveResponse { bundles: vec![evil_bundle()], ..Default::default() });
    let active =
        pb::GetActiveResponse { bundle: Some(evil_bundle()), statement: EVIL.to_owned(), ..Default::default() };
    scene.answers("GetActive", &active);
    scene.answers("GetRun", &pb::GetRunResponse { run: Some(run.clone()) });
    scene.answers("ListRuns", &pb::ListRunsResponse { runs: vec![run], ..Default::default() });
    scene.answers("ListEvents", &pb::ListEventsResponse { events: vec![event], ..Default::default() });
    scene.answers("ListSubscribers", &pb::ListSubscribersResponse { subscribers, ..Default::default() });
    let convergence = pb::GetConvergenceResponse {
        cursor: cursor((1, 6)),
        settled: true,
        applied: 1,
        rejected_subscribers: vec![subscriber(EVIL)],
        principals: vec![progress("1"), progress("2")],
        ..Default::default()
    };
    scene.answers("GetConvergence", &convergence);
    let keys = scene.keys();
    let commands: [&[&str]; 10] = [
        &["active"],
        &["active", "p"],
        &["active", "--jwks", &keys],
        &["active", "p", "--jwks", &keys, "--at-revision", "4"],
        &["active", "--format", "active-releases"],
        &["run", "get", "x"],
        &["run", "list"],
        &["events"],
        &["subscribers"],
        &["convergence", "6"],
    ];
    for is_refused in [false, true] {
        if is_refused {
            let refusal = || vec![Act::Refuse(Status::permission_denied(EVIL))];
            let mut received = scene.hostile.script();
            received.answers.values_mut().for_each(|answer| *answer = refusal());
        }
        for arguments in commands {
            for output in ["text", "json"] {
                let (code, stdout, stderr) = scene.run(&[&["--output", output], arguments].concat());
                assert_harmless(arguments, &(stdout + &stderr));
                assert!(code == 1 || !is_refused, "{arguments:?}: {code} {stderr}");
                assert!(!is_refused || stderr.contains("e [31m"), "{arguments:?}: {stderr}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_text_and_pages_of_nothing_end_no_command_badly() {
    let scene = CommandFixture::new().await;
    let subscribers = vec![subscriber(&"r".repeat(70_000)), subscriber("short")];
    scene.answers("ListSubscribers", &pb::ListSubscribersResponse { subscribers, ..Default::default() });
    let (code, table, errors) = scene.run(&["subscribers"]);
    assert!(code == 0 && table.contains("short"), "{code}: {errors}");

    let next_page_token = "more".to_owned();
    scene.answers("ListEvents", &pb::ListEventsResponse { events: Vec::new(), next_page_token });
    let keys = scene.keys();
    let archive = scene.dir.path().join("archive").display().to_string();
    let log: [&[&str]; 2] =
        [&["verify", "--log", "--jwks", &keys, "--seal-jwks", &keys], &["export", "default", "--out", &archive]];
    for arguments in log {
        let (code, _, errors) = scene.run(arguments);
        assert!(code == 1 && errors.contains("the same page again"), "{arguments:?}: {code} {errors}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_past_is_not_answered_with_what_came_later() {
    let scene = CommandFixture::new().await;
    let (signer, keys) = (&scene.hostile.signer, scene.keys());
    let (place, moves) = LOG[2];
    let active = pb::GetActiveResponse {
        bundle: Some(pb::Bundle { activation: cursor(place), ..signer.bundle("a", 2) }),
        statement: signer.token(TYP_ACTIVATION, &signer.statement(place, moves)),
        ..Default::default()
    };
    scene.answers("GetActive", &active);
    let bundles = signer.snapshot(8).bundles;
    scene.answers("ListActive", &pb::ListActiveResponse { bundles, cursor: cursor((1, 8)), ..Default::default() });
    for (what, code, asked) in [
        (&["active", "a", "--jwks", &keys][..], 1, ["--at-revision", "4"]),
        (&["active", "a", "--jwks", &keys], 0, ["--at-revision", "8"]),
        (&["active", "a", "--jwks", &keys], 1, ["--at-time", "2020-01-02T03:04:05Z"]),
        (&["active", "--jwks", &keys], 1, ["--at-revision", "4"]),
        (&["active", "--jwks", &keys], 0, ["--at-revision", "8"]),
    ] {
        let (ended, _, errors) = scene.run(&[what, &asked[..]].concat());
        assert_eq!(ended, code, "{what:?} {asked:?}: {errors}");
        assert!(code == 0 || errors.contains("after the "), "{what:?} {asked:?}: {errors}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_after_a_resume_is_said_and_not_applied() {
    let scene = CommandFixture::new().await;
    let signer = &scene.hostile.signer;
    // 1:6 is left out.
    let stream = vec![send(Message::Activation(signer.logged(8))), Act::Silence];
    scene.hostile.script().streams.push_back(stream);
    let keys = scene.keys();
    let watched = ["watch", "--jwks", &keys, "--report", "--subscriber-id", "shop", "--until-revision", "8"];
    let (code, out, errors) = scene.run(&[&watched[..], &["--resume", "1:4"]].concat());
    assert!(code == 0 && out.contains("1:8"), "{code}: {out} {errors}");
    assert!(errors.contains("nothing proves that no activation is left out"), "{errors}");
    assert_eq!(scene.hostile.script().reports, [], "what is not proven is not applied");

    scene.hostile.script().streams.push_back(vec![send(Message::Snapshot(signer.snapshot(8))), Act::Silence]);
    let (code, _, errors) = scene.run(&watched);
    assert_eq!((code, scene.hostile.script().reports.len()), (0, 1), "{errors}");

    // From the messages since the resume, the next one is known: 1:8 moves `b` from 1.
    let stream =
        vec![send(Message::Activation(signer.logged(4))), send(Message::Activation(signer.logged(10))), Act::Silence];
    scene.hostile.script().streams.push_back(stream);
    let (code, _, errors) = scene.run(&["watch", "--jwks", &keys, "--until-revision", "10", "--resume", "1:2"]);
    assert!(code == 1 && errors.contains("change of a follows version 2, but version 1 is held"), "{code}: {errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_waits_and_key_statements_without_end_change_nothing() {
    let scene = CommandFixture::new().await;
    let wait = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
    let keys = scene.keys();
    for (seconds, nanos) in [(i64::MAX, i32::MAX), (i64::MIN, -5), (0, i32::MIN), (3, 0)] {
        let opened = pb::Opened { heartbeat_interval: wait(seconds, nanos) };
        let stream = vec![send(Message::Opened(opened)), send(Message::Snapshot(scene.hostile.signer.snapshot(10)))];
        scene.hostile.script().streams.push_back(stream);
        let (code, out, errors) = scene.run(&["--output", "json", "watch", "--jwks", &keys, "--until-revision", "10"]);
        assert!(code == 0 && out.lines().count() == 2, "{seconds} {nanos}: {code} {out} {errors}");
    }
    let garbage = send(Message::KeyStatement(pb::KeyStatement { statement: "x".to_owned() }));
    let mut stream = vec![garbage; 50];
    stream.extend([send(Message::Snapshot(scene.hostile.signer.snapshot(10))), Act::Silence]);
    scene.hostile.script().streams.push_back(stream);
    let folder = scene.dir.path().join("folder").display().to_string();
    let (code, _, errors) = scene.run(&["agent", "--dir", &folder, "--jwks", &keys, "--once"]);
    assert_eq!((code, errors.matches("left a key statement aside").count()), (0, 1), "{errors}");
}
