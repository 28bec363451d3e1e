//! The log of a namespace, and the published versions it speaks of or all of its rows, read from a server.
//!
//! Boundary: reads and converts; what is read is proven by `signing::chain`, whoever it came from.

use std::collections::BTreeSet;

use super::channel::RpcClient;
use super::error::ClientError;
use super::page_guard::{EndlessList, PageGuard};
use policyhub_core::api::pb;
use policyhub_core::domain::event::{Cursor, Event, Head, Position};
use policyhub_core::domain::name::{NamespaceId, PolicyId, PolicyName};
use policyhub_core::domain::row::Row;
pub use policyhub_core::signing::archive::LogRead;
use policyhub_core::signing::chain::LogCheck;

/// Events and versions asked for at once.
const PAGE_EVENTS: i32 = 200;
const PAGE_VERSIONS: i32 = 100;

/// Most findings of a log that is read further: an endless one that nobody sealed ends here.
const LOG_FINDINGS_MAX: u64 = 1_000_000;

/// A log that could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The server refused, or was not there.
    #[error(transparent)]
    Call(#[from] ClientError),
    /// The server sent what is no event.
    #[error("the server sent an event that can't be read, after revision {0}")]
    Event(i64),
    /// The rows are of another head than the events lead to.
    #[error("the server exports rows as of {}:{}, where its log has no such event", .0.epoch, .0.revision)]
    OtherHead(Cursor),
    /// A list does not come to an end.
    #[error(transparent)]
    Endless(#[from] EndlessList),
    /// An event is not after the one before it.
    #[error("the server sent events that do not lead on: revision {1} after {0}")]
    Back(i64, i64),
    /// So much does not hold that the rest says nothing more.
    #[error("the server sent a log in which over {LOG_FINDINGS_MAX} things do not hold")]
    Worthless,
    /// The consumer could not store what was read.
    #[error("failed to write")]
    Write(#[from] std::io::Error),
}

/// Reads the events after those that `check` has, up to the revision `until`.
async fn read_events(
    client: &RpcClient,
    namespace: &NamespaceId,
    check: &mut LogCheck,
    until: i64,
    also: &mut impl FnMut(LogRead<'_>) -> std::io::Result<()>,
) -> Result<(), ReadError> {
    let mut last = check.head().cursor.revision;
    let mut request = pb::ListEventsRequest {
        parent: namespace.name(),
        page_size: PAGE_EVENTS,
        after: Some(pb::Cursor::of_revision(last)),
        ..pb::ListEventsRequest::default()
    };
    let mut pages = PageGuard::default();
    loop {
        let page = client.list_events(request.clone()).await?;
        let count = page.events.len();
        for each in page.events {
            let each = event(namespace, each).ok_or(ReadError::Event(check.head().cursor.revision))?;
            last = after(last, &each)?;
            if last > until {
                return Ok(());
            }
            check.event(&each);
            also(LogRead::Event(&each))?;
        }
        also(LogRead::Progress(check.events))?;
        check_worth(check)?;
        if !pages.leads_on(count, &page.next_page_token)? {
            return Ok(());
        }
        request.page_token = page.next_page_token;
    }
}

/// Reads the log of a namespace to its end, then every version that it published, into `check`; `also` sees all of it.
///
/// # Errors
/// The first call that fails.
pub async fn read_log(
    client: &RpcClient,
    namespace: &NamespaceId,
    check: &mut LogCheck,
    mut also: impl FnMut(LogRead<'_>) -> std::io::Result<()>,
) -> Result<(), ReadError> {
    read_events(client, namespace, check, i64::MAX, &mut also).await?;
    let published: BTreeSet<(PolicyId, i64)> = check.published().cloned().collect();
    let policies: BTreeSet<&PolicyId> = published.iter().map(|(policy, _)| policy).collect();
    for policy in policies {
        let name = PolicyName { namespace: namespace.clone(), policy: policy.clone() };
        let mut request = pb::ListVersionsRequest {
            parent: name.to_string(),
            page_size: PAGE_VERSIONS,
            view: pb::VersionView::Full.into(),
            filter: "state = PUBLISHED".to_owned(),
            ..pb::ListVersionsRequest::default()
        };
        let (mut pages, mut left) = (PageGuard::default(), numbers(&published, policy));
        loop {
            let page = client.list_versions(request.clone()).await?;
            let before = left.len();
            for version in page.versions {
                // Skip versions that were published after the log was read, and those that come again.
                if left.remove(&version.version) {
                    check.content(&version.content);
                    check.manifest(policy, version.version, &version.manifest);
                }
            }
            if !pages.leads_on(before - left.len(), &page.next_page_token)? {
                break;
            }
            request.page_token = page.next_page_token;
        }
    }
    check.end();
    Ok(())
}

/// Reads all that an archive has: the log up to one head, the rows and versions as of that head, and what was imported. Whatever is
/// written meanwhile comes after that head.
///
/// # Errors
/// The first call that fails, or a server whose rows and events do not belong together.
pub async fn read_archive(
    client: &RpcClient,
    namespace: &NamespaceId,
    check: &mut LogCheck,
    mut also: impl FnMut(LogRead<'_>) -> std::io::Result<()>,
) -> Result<(), ReadError> {
    // Most of the log before the server holds a snapshot for this reader, and the rest up to the head of that.
    read_events(client, namespace, check, i64::MAX, &mut also).await?;
    let mut rows = client.export_rows(pb::ExportRowsRequest { parent: namespace.name() }).await?;
    let head = rows.head();
    if head.cursor.revision > check.head().cursor.revision {
        read_events(client, namespace, check, head.cursor.revision, &mut also).await?;
    }
    check_head(check.head(), head)?;
    let mut imports = Vec::new();
    while let Some(batch) = rows.next().await? {
        for pb::ExportedRow { row: bytes, manifest, content } in batch {
            let table = Row::read(&bytes).map(|row| {
                let import = row.int("position").zip(row.int("reached_revision"));
                (import, row.key(), row.table)
            });
            match table {
                Some((_, _, table)) if table == "versions" => {
                    check.content(&content);
                    check.version(&bytes, &manifest);
                    also(LogRead::Version { row: &bytes, manifest: &manifest, content: &content })?;
                }
                // The checks of what is not published run again where it goes.
                Some((_, Some(key), table)) if table == "reports" && !check.carries_report(&key) => {}
                Some((import, _, table)) => {
                    check.row(&bytes);
                    imports.extend(import.filter(|_| table == "imports"));
                    also(LogRead::Row(&bytes))?;
                }
                None => check.findings.add(0, "", "the server sent a row that can't be read"),
            }
        }
        let (read, total) = rows.progress();
        also(LogRead::Rows(read, total))?;
        check_worth(check)?;
    }
    for import in imports {
        read_imported(client, namespace, import, &mut also).await?;
    }
    check.end();
    check.end_rows();
    Ok(())
}

/// Checks that the events which were read lead to the head of the rows.
fn check_head(read: Head, named: Position) -> Result<(), ReadError> {
    let is_same = if named.cursor.revision == 0 {
        // The head of an empty log has the epoch of the store.
        read.cursor.revision == 0
    } else {
        Position::from(read) == named
    };
    if is_same { Ok(()) } else { Err(ReadError::OtherHead(named.cursor)) }
}

async fn read_imported(
    client: &RpcClient,
    namespace: &NamespaceId,
    (position, reached): (i64, i64),
    also: &mut impl FnMut(LogRead<'_>) -> std::io::Result<()>,
) -> Result<(), ReadError> {
    let mut request = pb::ListEventsRequest {
        parent: namespace.name(),
        page_size: PAGE_EVENTS,
        import_position: position,
        ..pb::ListEventsRequest::default()
    };
    let (mut pages, mut last) = (PageGuard::default(), 0);
    loop {
        let page = client.list_events(request.clone()).await?;
        let count = page.events.len();
        for each in page.events {
            let source = NamespaceId::parse_name("namespace", &each.namespace).map_err(|_| ReadError::Event(0))?;
            let each = event(&source, each).ok_or(ReadError::Event(last))?;
            last = after(last, &each)?;
            // Events beyond those that the row of the import announces are not part of it.
            if last > reached {
                return Err(ReadError::Event(reached));
            }
            also(LogRead::Imported(position, &each))?;
        }
        if !pages.leads_on(count, &page.next_page_token)? {
            return Ok(());
        }
        request.page_token = page.next_page_token;
    }
}

/// Returns the revision of an event that comes after another one.
fn after(last: i64, event: &Event) -> Result<i64, ReadError> {
    let revision = event.cursor.revision;
    if revision > last { Ok(revision) } else { Err(ReadError::Back(last, revision)) }
}

fn check_worth(check: &LogCheck) -> Result<(), ReadError> {
    if check.findings.count > LOG_FINDINGS_MAX { Err(ReadError::Worthless) } else { Ok(()) }
}

/// Returns the numbers of the versions of a policy.
fn numbers(published: &BTreeSet<(PolicyId, i64)>, policy: &PolicyId) -> BTreeSet<i64> {
    published.iter().filter(|(of, _)| of == policy).map(|(_, number)| *number).collect()
}

/// Returns an event as it came; nothing of it is believed yet.
fn event(namespace: &NamespaceId, from: pb::Event) -> Option<Event> {
    if from.namespace != namespace.name() {
        return None;
    }
    let cursor = from.cursor?;
    Some(Event {
        namespace: namespace.clone(),
        cursor: Cursor { epoch: cursor.epoch, revision: cursor.revision },
        payload: from.payload.into(),
        prev_hash: from.prev_hash.as_ref().try_into().ok()?,
        hash: from.hash.as_ref().try_into().ok()?,
        seal: from.seal.into(),
        seal_key_id: from.seal_key_id,
        statement: from.statement,
    })
}
