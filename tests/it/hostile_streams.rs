//! A server whose streams to commands are invalid or endless: the command reports it and ends, and keeps nothing of them.

use policyhub::client::pb;
use policyhub::client::pb::verify_log_response::Message;

use crate::harness::hostile_server::{Act, framed, send_grpc};
use crate::hostile_words::CommandFixture;

/// The error of HTTP/2 for endless small messages, when it comes before the command has counted too many.
const TOO_MANY_FRAMES: &str = "excessive load";

fn progress(phase: pb::VerifyLogPhase, events: i64, total_events: i64) -> pb::VerifyLogResponse {
    let progress = pb::VerifyLogProgress { phase: phase.into(), events, total_events };
    pb::VerifyLogResponse { message: Some(Message::Progress(progress)) }
}

fn result() -> pb::VerifyLogResponse {
    // The result for a log without events, as the command reads it here.
    let result = pb::VerifyLogResult { valid: true, head_hash: vec![0; 32].into(), ..Default::default() };
    pb::VerifyLogResponse { message: Some(Message::Result(result)) }
}

fn first(revision: i64, total_rows: i64) -> pb::ExportRowsResponse {
    let head = Some(pb::Cursor { epoch: 1, revision, fingerprint: 0 });
    pb::ExportRowsResponse { head, total_rows, ..Default::default() }
}

/// Returns policy rows with these ids and no other column.
fn rows(ids: &[&str]) -> pb::ExportRowsResponse {
    let part = |bytes: &[u8]| [&u32::try_from(bytes.len()).expect("short").to_be_bytes()[..], bytes].concat();
    let row = |id: &&str| [&b"policies"[..], b"id", b"s", id.as_bytes()].map(part).concat();
    let rows = ids.iter().map(|id| pb::ExportedRow { row: row(id).into(), ..Default::default() }).collect();
    pb::ExportRowsResponse { rows, ..Default::default() }
}

fn last() -> pb::ExportRowsResponse {
    pb::ExportRowsResponse { complete: true, ..Default::default() }
}

fn forever(message: &impl prost::Message) -> Act {
    Act::Forever(framed(0, &message.encode_to_vec()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_is_none_ends_the_command() {
    use pb::VerifyLogPhase::{Events, Waiting};
    let scene = CommandFixture::new().await;
    scene.answers("ListEvents", &pb::ListEventsResponse::default());
    let keys = scene.keys();
    let waits = progress(Waiting, 0, 0);
    for (acts, expected) in [
        (vec![], "ended without a result"),
        (vec![send_grpc(&waits), send_grpc(&progress(Events, 5, 9))], "ended without a result"),
        (vec![send_grpc(&waits), Act::Break], "failed to have the server check its log"),
        (vec![forever(&waits)], "sends no end of progress"),
        (vec![forever(&progress(Events, 5, 9))], "sends no end of progress"),
        (vec![send_grpc(&progress(Events, 5, 9)), send_grpc(&progress(Events, 4, 9))], "goes back"),
        (vec![send_grpc(&progress(Events, 5, 9)), send_grpc(&progress(Events, 5, 8))], "goes back"),
        (vec![forever(&pb::VerifyLogResponse::default())], "says nothing"),
        (vec![forever(&result())], "goes on after its result"),
    ] {
        let shown = format!("{acts:?}");
        scene.acts("VerifyLog", acts);
        let (code, _, errors) = scene.run(&["verify", "--log", "--jwks", &keys, "--seal-jwks", &keys]);
        let is_said = errors.contains(expected) || errors.contains(TOO_MANY_FRAMES);
        assert!(code == 1 && is_said, "{shown}: {code} {errors}");
    }
    scene.acts("VerifyLog", vec![send_grpc(&waits), send_grpc(&result())]);
    let (code, text, errors) = scene.run(&["verify", "--log", "--jwks", &keys, "--seal-jwks", &keys]);
    assert_eq!(code, 0, "a check is one: {text}{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_is_none_leaves_no_archive() {
    let scene = CommandFixture::new().await;
    // The server lists its keys, of which one must be for event signatures.
    let listed = policyhub::client::pb::ListSigningKeysResponse {
        keys: [pb::KeyPurpose::Bundle, pb::KeyPurpose::Seal].map(|purpose| scene.key(purpose)).into(),
        store: "a store".to_owned(),
        ..Default::default()
    };
    scene.answers("ListSigningKeys", &listed);
    scene.answers("ListEvents", &pb::ListEventsResponse::default());
    let archive = scene.dir.path().join("archive");
    for (acts, expected) in [
        (vec![], "does not begin with the head"),
        (vec![forever(&rows(&["a"]))], "does not begin with the head"),
        (vec![send_grpc(&first(0, 1))], "ended before it was complete"),
        (vec![send_grpc(&first(0, 2)), send_grpc(&rows(&["a"]))], "ended before it was complete"),
        (vec![send_grpc(&first(0, 2)), send_grpc(&rows(&["a"])), send_grpc(&last())], "complete with 1 of 2 rows"),
        (vec![send_grpc(&first(0, i64::MAX))], "more rows than it announced"),
        (vec![send_grpc(&first(0, 9_000_000)), forever(&rows(&[]))], "messages of nothing"),
        (vec![send_grpc(&first(0, 9_000_000)), forever(&rows(&["a"]))], "not in order"),
        (vec![send_grpc(&first(0, 2)), send_grpc(&rows(&["b"])), send_grpc(&rows(&["a"]))], "not in order"),
        (vec![send_grpc(&first(0, 1)), send_grpc(&rows(&["a", "b"]))], "more rows than it announced"),
        (vec![forever(&first(0, 2))], "changes its head"),
        (vec![send_grpc(&first(7, 0)), send_grpc(&last())], "exports rows as of 1:7"),
        (vec![send_grpc(&first(0, 0)), forever(&last())], "goes on after its end"),
        (vec![send_grpc(&first(0, 2)), send_grpc(&rows(&["a"])), Act::Break], "failed to read the namespace"),
    ] {
        let shown = format!("{acts:?}");
        scene.acts("ExportRows", acts);
        let (code, _, errors) = scene.run(&["export", "default", "--out", &archive.display().to_string()]);
        let is_said = errors.contains(expected) || errors.contains(TOO_MANY_FRAMES);
        assert!(code == 1 && is_said, "{shown}: {code} {errors}");
        let left: Vec<_> = std::fs::read_dir(scene.dir.path()).expect("a directory").flatten().collect();
        assert!(left.iter().all(|file| file.file_name() == "keys.json"), "{shown}: {left:?}");
    }
    scene.acts("ExportRows", vec![send_grpc(&first(0, 0)), send_grpc(&last())]);
    let (code, text, errors) = scene.run(&["export", "default", "--out", &archive.display().to_string()]);
    assert_eq!(code, 0, "an export is one: {text}{errors}");
}
