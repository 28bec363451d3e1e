//! The archive of a namespace by a link of its log: the file that `policyhub export` writes, whole or seen to be cut.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::browser::{Answer, Browser, parse};
use crate::harness::archives::{export, history, make, run};
use crate::harness::calls::draft;
use crate::harness::subscribing::eventually;
use crate::harness::{Hub, on_both_databases};

const LOG: &str = "/namespaces/default/log";
const ARCHIVE: &str = "/namespaces/default/archive";
/// Longest wait for bytes. It only bounds a test that has failed.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Drafts of 1 MB: together more than the buffers of a connection hold, so that a download stands still whose reader reads nothing.
const LARGE_DRAFTS: usize = 20;

/// A download that was begun and whose reader reads no further.
fn begin(browser: &Browser) -> TcpStream {
    let mut stream = TcpStream::connect(&browser.address).expect("a connection");
    stream.set_read_timeout(Some(READ_TIMEOUT)).expect("a timeout");
    let (host, cookie) = (&browser.address, &browser.cookie);
    write!(stream, "GET {ARCHIVE} HTTP/1.1\r\nhost: {host}\r\ncookie: {cookie}\r\n\r\n").expect("sent");
    let mut seen = [0; 12];
    stream.peek(&mut seen).expect("an answer");
    assert_eq!(&seen, b"HTTP/1.1 200");
    stream
}

/// Reads a download to its end.
fn read_to_end(mut stream: TcpStream) -> Answer {
    let mut received = Vec::new();
    let _ = stream.read_to_end(&mut received);
    parse(&received)
}

async fn fill(hub: &Hub) {
    let client = hub.client().await;
    for number in 0..LARGE_DRAFTS {
        draft(&client, &format!("large-{number}"), &format!("text: {number} {}", "x".repeat(1000 * 1024))).await;
    }
}

on_both_databases! {
    /// Given a namespace with versions in every state, and one that imported it, the file is byte for byte that of the command, and verifies.
    async fn a_download_is_what_the_command_exports(hub: Hub) {
        let client = hub.client().await;
        history(&client).await;
        let exported = export(&hub, "default", "exported");
        make(&client, "copy").await;
        let (code, text, errors) = run(hub.cli(), &["import", &exported.display().to_string(), "--into", "copy"]);
        assert_eq!(code, 0, "{text}{errors}");
        draft(&client, "many", &"y".repeat(200 * 1024)).await;
        let browser = Browser::signed_in(&hub, &hub.token());
        assert!(browser.get(LOG).body.contains("<a href=\"archive\" download>"));
        for namespace in ["default", "copy"] {
            let answer = browser.get(&format!("/namespaces/{namespace}/archive"));
            assert!(answer.status == 200 && answer.is_complete, "{:?}", answer.headers);
            assert_eq!(answer.header("content-type"), "application/x-ndjson");
            assert_eq!(answer.header("content-disposition"), format!("attachment; filename=\"{namespace}.jsonl\""));
            assert_eq!(answer.header("x-content-type-options"), "nosniff");
            let file = export(&hub, namespace, &format!("{namespace}-again"));
            assert!(answer.body == std::fs::read_to_string(&file).expect("the file"), "{namespace}: it differs");
            let saved = hub.dir.path().join(format!("{namespace}.jsonl"));
            std::fs::write(&saved, &answer.body).expect("saved");
            let (code, text, errors) = run(hub.cli(), &["verify", "--log", namespace, "--from", &saved.display().to_string()]);
            assert_eq!(code, 0, "{text}{errors}");
        }
    }

    /// Given a download that nobody reads, the next one of the same person is refused at once, and is let in when it is gone.
    async fn a_person_has_one_download_at_a_time(hub: Hub) {
        fill(&hub).await;
        let browser = Browser::signed_in(&hub, &hub.token());
        let open = begin(&browser);
        let refused = browser.get(ARCHIVE);
        assert_eq!((refused.status, refused.reason()), (429, "LIMIT_EXCEEDED"), "{refused:?}");
        assert_eq!(browser.get(LOG).status, 200, "pages go on");
        drop(open);
        eventually("its slot is free", async || browser.get(ARCHIVE).status == 200).await;
    }

    /// Given a server that stops, a download is cut: neither the chunks nor the archive has an end.
    async fn a_server_that_stops_cuts_a_download_and_it_shows(hub: Hub) {
        fill(&hub).await;
        let browser = Browser::signed_in(&hub, &hub.token());
        let open = begin(&browser);
        hub.signal("TERM");
        let cut = read_to_end(open);
        assert!(cut.status == 200 && !cut.is_complete, "{:?}", cut.headers);
        assert!(cut.body.contains("{\"event\"") && !cut.body.contains("{\"end\""), "it has no last line");
    }

    /// Given a log that lost an event in its middle, what is left is not served as the whole of it.
    async fn a_log_with_a_gap_is_refused(hub: Hub) {
        let client = hub.client().await;
        for number in 0..5 {
            draft(&client, "p", &format!("a: {number}")).await;
        }
        let browser = Browser::signed_in(&hub, &hub.token());
        assert_eq!(browser.get(ARCHIVE).status, 200);
        let of_table = if hub.database_url.starts_with("sqlite") { "" } else { " ON events" };
        hub.tamper(&format!("DROP TRIGGER events_refuse_delete{of_table}"));
        hub.tamper("DELETE FROM events WHERE namespace = 'default' AND revision = 3");
        let refused = browser.get(ARCHIVE);
        assert_eq!(refused.reason(), "DATA_LOSS", "{refused:?}");
    }
}
