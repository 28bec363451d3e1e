//! An export during writes: one consistent read, which verifies and can be imported elsewhere.

use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use policyhub::client::name::NamespaceId;
use policyhub::client::signing::chain::{LogCheck, LogTrust};
use policyhub::client::{ArchiveWriter, Client, log_keys, pb, read_archive, seal_keys, verify_archive};
use tokio::task::JoinSet;
use tonic::Code;

use crate::harness::archives::{history, make, run, verified};
use crate::harness::callers::{caller, grant};
use crate::harness::calls::{NAMESPACE, draft, head, policy};
use crate::harness::{Hub, on_both_databases};

/// Number of drafts before the export, so that the log and the rows take several pages.
const DRAFTS: usize = 250;
/// Number of concurrent writers, as fast as they can.
const WRITERS: usize = 4;

/// Number of concurrent exports: more than are permitted at once, on either database.
const EXPORTS: usize = 5;

fn request() -> pb::ExportRowsRequest {
    pb::ExportRowsRequest { parent: NAMESPACE.to_owned() }
}

/// Writers that draft until they are dropped.
struct Writers {
    ends: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Writers {
    fn start(client: &Client) -> Self {
        let (ends, mut tasks) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
        for writer in 0..WRITERS {
            let (client, ends) = (client.clone(), Arc::clone(&ends));
            tasks.spawn(async move {
                for number in 0.. {
                    if ends.load(Ordering::Relaxed) {
                        return;
                    }
                    draft(&client, &format!("w{writer}"), &format!("a: {number}")).await;
                }
            });
        }
        Self { ends, tasks }
    }

    async fn end(self) {
        self.ends.store(true, Ordering::Relaxed);
        self.tasks.join_all().await;
    }
}

async fn fill(client: &Client) {
    history(client).await;
    for number in 0..DRAFTS {
        draft(client, "many", &format!("a: {number}")).await;
    }
}

/// Runs a command without blocking the writers of this thread.
async fn run_beside(hub: &Hub, arguments: &[&str]) -> (i32, String, String) {
    let (command, arguments) = (hub.cli(), arguments.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
    let ran =
        tokio::task::spawn_blocking(move || run(command, &arguments.iter().map(String::as_str).collect::<Vec<_>>()));
    ran.await.expect("it runs")
}

/// Returns the keys and the store's id that a log of the server is verified with.
async fn trust(client: &Client) -> LogTrust {
    let listed = client.list_signing_keys(pb::ListSigningKeysRequest::default()).await.expect("keys");
    let (keys, seal_keys) = (log_keys(&listed).expect("keys"), seal_keys(&listed).expect("keys"));
    LogTrust { store: listed.store, keys, seal_keys }
}

/// Returns the revision of the last event of an archive that verifies.
fn head_of(file: &Path) -> i64 {
    let open = BufReader::new(std::fs::File::open(file).expect("the archive"));
    let archive = verify_archive(open, (None, None), None).expect("an archive");
    assert_eq!(archive.check.findings.count, 0, "{:?}", archive.check.findings);
    archive.check.head().cursor.revision
}

on_both_databases! {
    /// Given an export during writes, it is the whole namespace at one head: it verifies, and another namespace can import it.
    async fn a_namespace_that_is_written_to_is_exported(hub: Hub) {
        let client = hub.client().await;
        fill(&client).await;
        let file = hub.dir.path().join("archive").display().to_string();
        let writers = Writers::start(&client);
        let before = head(&client).await;
        let (code, text, errors) = run_beside(&hub, &["export", "default", "--out", &file]).await;
        let after = head(&client).await;
        writers.end().await;
        assert_eq!(code, 0, "{text}{errors}");
        assert!(after > before + 5, "it was written to meanwhile: {before} to {after}");
        let exported = head_of(file.as_ref());
        assert!((before..=after).contains(&exported), "{before} <= {exported} <= {after}");
        let (code, text, errors) = run(hub.cli(), &["verify", "--log", "default", "--from", &file]);
        assert_eq!(code, 0, "{text}{errors}");
        let copy = make(&client, "copy").await;
        let (code, text, errors) = run(hub.cli(), &["import", &file, "--into", "copy"]);
        assert_eq!(code, 0, "{text}{errors}");
        verified(&client, &copy).await;
    }

    /// Given exports whose readers read nothing, they hold their snapshots, but neither the last connection nor anybody else's read. When
    /// read, they are complete; when dropped, the next export can run.
    async fn slow_exports_keep_nobody_else_waiting(hub: Hub) {
        let client = hub.client().await;
        for letter in ["a", "b", "c", "d", "e", "f"] {
            draft(&client, "large", &format!("text: {}", letter.repeat(1000 * 1024))).await;
        }
        let mut opening = JoinSet::new();
        for reader in 0..EXPORTS {
            grant(&client, &format!("reader{reader}"), pb::Role::Viewer, NAMESPACE).await;
            let reader = caller(&hub, &format!("reader{reader}")).await;
            // An export that waits for its turn is refused after 10 s; the others read nothing during that time.
            opening.spawn(async move { reader.export_rows(request()).await });
        }
        let (mut open, mut refusals) = (Vec::new(), 0);
        for opened in opening.join_all().await {
            match opened {
                Ok(export) => open.push(export),
                Err(error) => {
                    assert_eq!(error.reason(), "LIMIT_EXCEEDED", "{error}");
                    refusals += 1;
                }
            }
        }
        assert!(!open.is_empty() && refusals > 0, "{} exports at once, {refusals} refused", open.len());
        let began = Instant::now();
        for number in 0..20 {
            client.get_policy(pb::GetPolicyRequest { name: policy("large") }).await.expect("a read");
            draft(&client, "small", &format!("a: {number}")).await;
        }
        verified(&client, NAMESPACE).await;
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        let mut last = open.pop().expect("an export");
        let head = last.head();
        while last.next().await.expect("rows").is_some() {}
        assert_eq!(last.progress(), (7, 7), "as of its beginning: a policy and six versions");
        drop((open, last));
        let again = client.export_rows(request()).await.expect("the next export");
        assert!(again.head().cursor.revision > head.cursor.revision);
    }

    async fn a_server_that_stops_ends_an_export_and_says_so(hub: Hub) {
        let client = hub.client().await;
        for letter in ["a", "b", "c", "d", "e", "f"] {
            draft(&client, "large", &format!("text: {}", letter.repeat(1000 * 1024))).await;
        }
        let mut export = client.export_rows(request()).await.expect("an export");
        hub.signal("TERM");
        let ended = loop {
            match export.next().await {
                Ok(Some(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
                Ok(None) => panic!("it was cut"),
                Err(error) => break error,
            }
        };
        assert_eq!((ended.code(), ended.reason()), (Code::Unavailable, "SERVER_DRAINING"), "{ended}");
        assert!(!ended.is_terminal());
    }

    /// The same by the library.
    async fn the_library_exports_a_namespace_that_is_written_to(hub: Hub) {
        let client = hub.client().await;
        fill(&client).await;
        let (trust, namespace) = (trust(&client).await, NamespaceId::parse_name("name", NAMESPACE).expect("a name"));
        let file = hub.dir.path().join("archive");
        let mut check = LogCheck::new(trust.clone(), namespace.clone());
        let out = std::fs::File::create(&file).expect("a file");
        let mut archive = ArchiveWriter::new(out, &trust, &namespace).expect("an archive");
        let writers = Writers::start(&client);
        let before = head(&client).await;
        let read = read_archive(&client, &namespace, &mut check, |read| archive.add(&read)).await;
        let after = head(&client).await;
        writers.end().await;
        read.expect("an export");
        archive.end().expect("written");
        assert!(after > before + 5, "it was written to meanwhile: {before} to {after}");
        assert_eq!(head_of(&file), check.head().cursor.revision);
    }
}

mod unread {
    use prost::Message as _;

    use super::*;
    use crate::harness::frames::{HEADERS, Peer};

    on_both_databases! {
        with &["--stuck-reader-timeout-ms", "500"];

        /// Given a peer without flow-control window, its export counts as stalled and ends like any other that is not read.
        async fn an_export_that_nobody_takes_gives_up_its_turn(hub: Hub) {
            let client = hub.client().await;
            draft(&client, "p", "a: 1").await;
            let message = request();
            let length = u32::try_from(message.encoded_len()).expect("a small message").to_be_bytes();
            let framed = [&[0], length.as_slice(), &message.encode_to_vec()].concat();
            let mut peer = Peer::connect_without_window(&hub.grpc).await;
            peer.call(1, "/policyhub.v1.AdminService/ExportRows", Some(&hub.token()), &framed).await;
            peer.until(HEADERS).await.expect("it has the turn of its caller");
            let mut next = client.export_rows(request()).await.expect("the turn is free in time");
            while next.next().await.expect("rows").is_some() {}
            assert_eq!(next.progress(), (2, 2));
        }
    }
}
