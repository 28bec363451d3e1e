//! Verifies a copy of the database before it becomes a backup or replaces a database.
//!
//! Two parts: what needs no key (pages, references, schema, the chain of every log, every content), and what needs the server's
//! keys (event signatures, statements, manifests, MACs of rows: the check behind VerifyLog). The second is skipped, and reported as
//! skipped, when the keys are not at hand.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};

use super::clock;
use super::config::Config;
use super::keys::ServerKeys;
use crate::domain::Error;
use crate::domain::event::{Cursor, Head};
use crate::domain::name::NamespaceId;
use crate::grpc::WatchEncoder;
use crate::service::{Leases, LogProgress, Service, Signer};
use crate::signing::{RowMacKey, digest_of, event_hash};
use crate::store::{CopyState, DatabaseCopy, LogEnd};
use crate::watch::Hub;

/// Most findings that are kept of one copy.
const FINDINGS_MAX: usize = 100;

/// The outcome of the check that needs keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogCheckOutcome {
    /// Every log was checked; these are the findings, empty when everything verifies.
    Checked(Vec<String>),
    /// The check could not be done, for this reason.
    Left(String),
}

/// A copy that passed the checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedCopy {
    /// The state that the copy records of itself.
    pub state: CopyState,
    /// Number of events of all logs.
    pub events: u64,
    /// The outcome of the check that needs keys.
    pub logs: LogCheckOutcome,
}

/// Checks a copy to which nobody writes.
///
/// # Errors
/// A check that needs no key fails.
pub(super) async fn check(path: &Path, config: &Config) -> Result<CheckedCopy> {
    let copy = DatabaseCopy::open(path).await?;
    let checked = check_open(&copy, config).await;
    copy.close().await;
    checked
}

async fn check_open(copy: &DatabaseCopy, config: &Config) -> Result<CheckedCopy> {
    // Read first, so that a database of another program is reported as such.
    let state = copy.state().await?;
    copy.check_pages().await?;
    let mut events = 0;
    for log in &state.logs {
        events += check_chain(copy, log).await?;
    }
    check_contents(copy).await?;
    let logs = match keys_of(&state, config) {
        Ok(keys) => LogCheckOutcome::Checked(check_logs(copy, &state, keys, config).await?),
        Err(missing) => LogCheckOutcome::Left(format!("{missing:#}")),
    };
    Ok(CheckedCopy { state, events, logs })
}

/// Checks that the events from 1 to the head form one hash chain, and returns their number.
async fn check_chain(copy: &DatabaseCopy, log: &LogEnd) -> Result<u64> {
    let (name, mut head, mut events) = (&log.namespace, Head::EMPTY, 0);
    loop {
        let page = copy.links_after(name, head.cursor.revision).await?;
        if page.is_empty() {
            break;
        }
        for link in page {
            let revision = link.cursor.revision;
            if revision != head.cursor.revision + 1 || link.cursor.epoch < head.cursor.epoch {
                bail!("the log of {name} has no event {}", head.cursor.revision + 1);
            }
            if link.prev_hash != head.hash || event_hash(&link.prev_hash, &link.payload) != link.hash {
                bail!("event {revision} of the log of {name} is not the one that was written");
            }
            head = Head { cursor: link.cursor, hash: link.hash };
            events += 1;
        }
    }
    // The head of an empty log is in the epoch of the store.
    let ends_there =
        if events == 0 { log.head.cursor.revision == 0 && log.head.hash == Head::EMPTY.hash } else { log.head == head };
    anyhow::ensure!(ends_there, "the log of {name} ends at {:?}, its head says {:?}", head.cursor, log.head.cursor);
    Ok(events)
}

/// Checks every content against the digest under which it is stored.
async fn check_contents(copy: &DatabaseCopy) -> Result<()> {
    let mut after = String::new();
    loop {
        let page = copy.contents_after(&after).await?;
        for (digest, bytes) in &page {
            anyhow::ensure!(
                digest_of(bytes).to_string() == *digest,
                "the content {digest} is not the one that was kept"
            );
        }
        match page.into_iter().next_back() {
            Some((last, _)) => after = last,
            None => return Ok(()),
        }
    }
}

/// Reads the keys of the store. The error says why the check that needs them is skipped.
fn keys_of(state: &CopyState, config: &Config) -> Result<ServerKeys> {
    anyhow::ensure!(
        state.missing_migrations == 0,
        "it is at the older schema {}, and a server checks it after the migration",
        state.schema
    );
    let keys = ServerKeys::existing(&config.keys).context("the keys of the server are not here")?;
    let (here, wanted) = (keys.seal.public().key_id(), state.seal_key_id.as_deref());
    anyhow::ensure!(Some(here) == wanted, "the keys in {} are not its own", config.keys.keys_dir.display());
    Ok(keys)
}

/// Runs VerifyLog for every namespace of the copy, and returns the findings.
async fn check_logs(copy: &DatabaseCopy, state: &CopyState, keys: ServerKeys, config: &Config) -> Result<Vec<String>> {
    let store = copy.store(Arc::new(RowMacKey::derive(&keys.seal)?), clock::CLOCKS);
    let id = state.store_id.clone();
    let signer = Arc::new(Signer::new(id, keys.seal, keys.signing, config.keys.publish_before_use));
    let hub = Hub::new(store.clone(), signer.clone(), Arc::new(WatchEncoder), config.watch.rings(), clock::now);
    let hub = Arc::new(hub);
    let leases = Arc::new(Leases::new(store.clone(), String::new(), 0, clock::now, clock::monotonic));
    let service = Service::new(store, signer, hub, leases, config.quotas, config.listen.max_content_bytes);
    let told = |error: Error| error.internal.unwrap_or(error.message);
    let mut findings = Vec::new();
    if let Err(error) = service.keys.follow_keys(clock::now()).await {
        findings.push(format!("the signing keys: {}", told(error)));
        return Ok(findings);
    }
    for log in &state.logs {
        let name = &log.namespace;
        let Ok(namespace) = NamespaceId::parse("namespace", name) else {
            findings.push(format!("{name:?} is no namespace"));
            continue;
        };
        match service.archive.verify_log(&namespace, Cursor::NONE.into(), &LogProgress::default()).await {
            Ok(verdict) => findings.extend(verdict.findings.kept.iter().map(|finding| {
                let at =
                    if finding.row.is_empty() { format!("event {}", finding.revision) } else { finding.row.clone() };
                format!("{name}: {at}: {}", finding.message)
            })),
            Err(error) => findings.push(format!("{name}: {}", told(error))),
        }
    }
    findings.truncate(FINDINGS_MAX);
    Ok(findings)
}
