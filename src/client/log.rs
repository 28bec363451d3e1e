//! The log of a namespace, and the published versions it speaks of, read from a server page by page.
//!
//! Boundary: reads and converts; what is read is proven by `signing::chain`, whoever it came from.

use std::collections::BTreeSet;

use super::channel::Client;
use super::error::ClientError;
use crate::api::pb;
use crate::domain::event::{Cursor, Event};
use crate::domain::name::{NamespaceId, PolicyId, PolicyName};
use crate::domain::row::Row;
use crate::signing::chain::LogCheck;

/// Events and versions asked for at once.
const PAGE_EVENTS: i32 = 200;
const PAGE_VERSIONS: i32 = 100;

/// Most pages of nothing, one after the other, that still lead on. An honest server leaves out a few; one that answers them for ever
/// would keep a reader for ever.
pub const EMPTY_PAGES_MAX: u32 = 100;

/// Counts pages of nothing.
#[derive(Debug, Default)]
struct Pages(u32);

impl Pages {
    /// The token of the next page; none: this one was the last.
    fn next(&mut self, is_empty: bool, token: String) -> Result<Option<String>, ReadError> {
        self.0 = if is_empty { self.0 + 1 } else { 0 };
        if token.is_empty() {
            return Ok(None);
        }
        if self.0 > EMPTY_PAGES_MAX { Err(ReadError::Endless) } else { Ok(Some(token)) }
    }
}

/// A log that could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The server refused, or was not there.
    #[error(transparent)]
    Call(#[from] ClientError),
    /// The server sent what is no event.
    #[error("the server sent an event that can't be read, after revision {0}")]
    Event(i64),
    /// Somebody wrote while it was read.
    #[error("the namespace changed while it was read")]
    Moved,
    /// Page follows page, and nothing is in them.
    #[error("the server answers pages of nothing without end")]
    Endless,
    /// What was read could not be kept.
    #[error("failed to write")]
    Write(#[from] std::io::Error),
}

/// What was read, in order.
#[derive(Debug)]
pub enum Read<'a> {
    /// An event.
    Event(&'a Event),
    /// The bytes of a row of policies, reports or imports.
    Row(&'a [u8]),
    /// A version.
    Version {
        /// The bytes of its row.
        row: &'a [u8],
        /// Its manifest; empty when it is not published.
        manifest: &'a str,
        /// Its content.
        content: &'a [u8],
    },
    /// An event of the imported history at a position.
    Imported(i64, &'a Event),
    /// A page ended: how many events were read.
    Progress(i64),
}

async fn read_events(
    client: &Client,
    namespace: &NamespaceId,
    check: &mut LogCheck,
    also: &mut impl FnMut(Read<'_>) -> std::io::Result<()>,
) -> Result<(), ReadError> {
    let mut request =
        pb::ListEventsRequest { parent: namespace.name(), page_size: PAGE_EVENTS, ..pb::ListEventsRequest::default() };
    let mut pages = Pages::default();
    loop {
        let page = client.list_events(request.clone()).await?;
        let is_empty = page.events.is_empty();
        for each in page.events {
            let each = event(namespace, each).ok_or(ReadError::Event(check.head().cursor.revision))?;
            check.event(&each);
            also(Read::Event(&each))?;
        }
        also(Read::Progress(check.events))?;
        match pages.next(is_empty, page.next_page_token)? {
            Some(token) => request.page_token = token,
            None => return Ok(()),
        }
    }
}

/// Reads the log of a namespace to its end, then every version that it published, into `check`; `also` sees all of it.
///
/// # Errors
/// The first call that fails.
pub async fn read_log(
    client: &Client,
    namespace: &NamespaceId,
    check: &mut LogCheck,
    mut also: impl FnMut(Read<'_>) -> std::io::Result<()>,
) -> Result<(), ReadError> {
    read_events(client, namespace, check, &mut also).await?;
    let published: BTreeSet<(PolicyId, i64)> = check.published().cloned().collect();
    let policies: BTreeSet<&PolicyId> = published.iter().map(|(policy, _)| policy).collect();
    for policy in policies {
        let name = PolicyName { namespace: namespace.clone(), policy: policy.clone() };
        let mut request = pb::ListVersionsRequest {
            parent: name.to_string(),
            page_size: PAGE_VERSIONS,
            view: pb::VersionView::Full.into(),
            states: vec![pb::VersionState::Published.into()],
            ..pb::ListVersionsRequest::default()
        };
        let mut pages = Pages::default();
        loop {
            let page = client.list_versions(request.clone()).await?;
            let is_empty = page.versions.is_empty();
            for version in page.versions {
                // What was published since is not in the log that was read.
                if published.contains(&(policy.clone(), version.version)) {
                    check.content(&version.content);
                    check.manifest(policy, version.version, &version.manifest);
                }
            }
            match pages.next(is_empty, page.next_page_token)? {
                Some(token) => request.page_token = token,
                None => break,
            }
        }
    }
    check.end();
    Ok(())
}

/// Reads all that an archive has: the log, the rows and versions as of its end, and what was imported.
///
/// # Errors
/// The first call that fails; `Moved` when somebody wrote meanwhile: begin again.
pub async fn read_archive(
    client: &Client,
    namespace: &NamespaceId,
    check: &mut LogCheck,
    mut also: impl FnMut(Read<'_>) -> std::io::Result<()>,
) -> Result<(), ReadError> {
    read_events(client, namespace, check, &mut also).await?;
    let head = check.head().cursor;
    let mut request =
        pb::ExportRowsRequest { parent: namespace.name(), page_size: PAGE_VERSIONS, page_token: String::new() };
    let mut imports = Vec::new();
    let mut pages = Pages::default();
    loop {
        let page = client.export_rows(request.clone()).await?;
        let is_empty = page.rows.is_empty();
        let read = page.head.unwrap_or_default();
        // The head of an empty log has the epoch of the store.
        if read.revision != head.revision {
            return Err(ReadError::Moved);
        }
        for pb::ExportedRow { row: bytes, manifest, content } in page.rows {
            let table = Row::read(&bytes).map(|row| (row.int("position"), row.key(), row.table));
            match table {
                Some((_, _, table)) if table == "versions" => {
                    check.content(&content);
                    check.version(&bytes, &manifest);
                    also(Read::Version { row: &bytes, manifest: &manifest, content: &content })?;
                }
                // The checks of what is not published run again where it goes.
                Some((_, Some(key), table)) if table == "reports" && !check.carries_report(&key) => {}
                Some((position, _, table)) => {
                    check.row(&bytes);
                    imports.extend(position.filter(|_| table == "imports"));
                    also(Read::Row(&bytes))?;
                }
                None => check.findings.add(0, "", "the server sent a row that can't be read"),
            }
        }
        match pages.next(is_empty, page.next_page_token)? {
            Some(token) => request.page_token = token,
            None => break,
        }
    }
    for position in imports {
        read_imported(client, namespace, position, &mut also).await?;
    }
    check.end();
    check.end_rows();
    Ok(())
}

async fn read_imported(
    client: &Client,
    namespace: &NamespaceId,
    position: i64,
    also: &mut impl FnMut(Read<'_>) -> std::io::Result<()>,
) -> Result<(), ReadError> {
    let mut request = pb::ListEventsRequest {
        parent: namespace.name(),
        page_size: PAGE_EVENTS,
        import_position: position,
        ..pb::ListEventsRequest::default()
    };
    let mut pages = Pages::default();
    loop {
        let page = client.list_events(request.clone()).await?;
        let is_empty = page.events.is_empty();
        for each in page.events {
            let source = NamespaceId::parse_name("namespace", &each.namespace).map_err(|_| ReadError::Event(0))?;
            let each = event(&source, each).ok_or(ReadError::Event(0))?;
            also(Read::Imported(position, &each))?;
        }
        match pages.next(is_empty, page.next_page_token)? {
            Some(token) => request.page_token = token,
            None => return Ok(()),
        }
    }
}

/// An event as it came; nothing of it is believed yet.
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
