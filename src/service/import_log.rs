//! The log of a source as a whole: what it says of every row, kept in memory while its rows come in.
//!
//! Invariant: built from stored events alone, each proven again; one that ends elsewhere than the import says is no log.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

use super::Service;
use super::events::measure;
use super::import::refused;
use super::page_reader::PageReader;
use crate::domain::command::{ListPage, PageRequest};
use crate::domain::event::{Event, Payload};
use crate::domain::import::{Import, ImportSource};
use crate::domain::limits::EVENTS_SCANNED_MAX;
use crate::domain::listing::EventFilter;
use crate::domain::name::NamespaceId;
use crate::domain::{Error, Reason, Result};
use crate::signing::KeySet;
use crate::signing::chain::{LogCheck, LogTrust, verify_event};
use crate::store::ReadTx;

/// Logs kept. Each is as large as what it names.
const LOGS_KEPT_MAX: usize = 2;
/// Events read at once.
const PAGE_EVENTS: u32 = 64;

/// The logs of sources whose rows come in.
#[derive(Debug)]
pub(super) struct Sources {
    turn: Semaphore,
    kept: Mutex<Vec<(NamespaceId, ImportSource, Arc<LogCheck>)>>,
}

impl Default for Sources {
    fn default() -> Self {
        Self { turn: Semaphore::new(1), kept: Mutex::default() }
    }
}

impl Sources {
    fn find(&self, namespace: &NamespaceId, source: &ImportSource) -> Option<Arc<LogCheck>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = kept.iter().filter(|(of, from, _)| of == namespace && from == source);
        found.next().map(|(_, _, log)| Arc::clone(log))
    }

    fn keep(&self, namespace: &NamespaceId, source: &ImportSource, log: &Arc<LogCheck>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(of, _, _)| of != namespace);
        if kept.len() >= LOGS_KEPT_MAX {
            kept.remove(0);
        }
        kept.push((namespace.clone(), source.clone(), Arc::clone(log)));
    }

    /// Nothing more comes.
    pub(super) fn forget(&self, namespace: &NamespaceId) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).retain(|(of, _, _)| of != namespace);
    }
}

/// Whom the events of a source are believed.
pub(super) fn trust_of(source: &ImportSource) -> Result<LogTrust> {
    if !source.has_store_id() {
        return Err(refused("source.store is no id of a store"));
    }
    let read = |what: &str, jwks: &str| {
        KeySet::parse_jwks(jwks.as_bytes()).map_err(|error| refused(format!("{what} can't be read: {error}")))
    };
    Ok(LogTrust {
        store: source.store.clone(),
        keys: read("source.jwks", &source.jwks)?,
        seal_keys: read("source.seal_jwks", &source.seal_jwks)?,
    })
}

impl Service {
    /// A source must be readable, and one that says it is this store must have no keys but ours: the id of a store is public, and
    /// what is imported is signed with it.
    ///
    /// # Errors
    /// `IMPORT_REFUSED`.
    pub(super) fn check_source(&self, source: &ImportSource) -> Result<()> {
        let (claimed, own) = (trust_of(source)?, self.signer.trust());
        if claimed.store != own.store {
            return Ok(());
        }
        for (claimed, own) in [(&claimed.keys, &own.keys), (&claimed.seal_keys, &own.seal_keys)] {
            if let Some(other) = claimed.keys().find(|key| own.get(key.key_id()) != Some(*key)) {
                let key_id = other.key_id();
                return Err(refused(format!("the source names this store, which has no key {key_id}")));
            }
        }
        Ok(())
    }

    /// The whole log of a source whose events are all here; none before that.
    pub(super) async fn source_log(
        &self,
        namespace: &NamespaceId,
        source: &ImportSource,
    ) -> Result<Option<Arc<LogCheck>>> {
        let turn = self.sources.turn.acquire().await;
        let _turn = turn.map_err(|error| Error::internal(error.to_string()))?;
        if let Some(log) = self.sources.find(namespace, source) {
            return Ok(Some(log));
        }
        let tx = self.store.read().await?;
        let imports = tx.imports(namespace).await?;
        let whole = imports.first().filter(|import| import.source == *source && import.reached == source.head);
        let Some(import) = whole else { return Ok(None) };
        let check = imported_log(&tx, namespace, import).await?;
        if check.findings.count > 0 || check.head() != source.head {
            let first = check.findings.kept.first().map_or("it ends elsewhere", |finding| &finding.message);
            return Err(refused(format!("the log of the source does not hold: {first}")));
        }
        let log = Arc::new(check);
        self.sources.keep(namespace, source, &log);
        Ok(Some(log))
    }

    /// A page of an imported history, each event with what it says.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, `INVALID_ARGUMENT` when there is none at this position, `DATA_LOSS`.
    pub async fn list_imported_events(
        &self,
        namespace: &NamespaceId,
        position: i64,
        page: &PageRequest<i64>,
        filter: &EventFilter,
    ) -> Result<ListPage<i64, (Event, Payload)>> {
        let tx = self.store.read().await?;
        tx.namespace(namespace).await?;
        let imports = tx.imports(namespace).await?;
        let import = imports.into_iter().find(|import| import.position == position);
        let import = import.ok_or_else(|| {
            Error::invalid("import_position", format!("{} imported no history {position}", namespace.name()))
        })?;
        let trust = trust_of(&import.source).map_err(|error| Error::data_loss(error.message))?;
        let prove = |event: Event| match verify_event(&event, &trust) {
            Ok(payload) => Ok((event, payload)),
            Err(problem) => {
                Err(Error::data_loss(format!("{namespace} imported event {}: {problem}", event.cursor.revision)))
            }
        };
        // An imported history has no index but that of its order.
        let mut reader = PageReader::searching(page, !filter.wanted.is_empty(), EVENTS_SCANNED_MAX);
        while let Some(asked) = reader.next() {
            let found = tx.imported_events(namespace, &import, &asked, filter).await?.into_iter();
            let is_wanted = |(_, payload): &(Event, Payload)| filter.wanted.keeps(payload);
            reader.add(&asked, found.map(prove).collect::<Result<_>>()?, measure, is_wanted);
        }
        Ok(reader.done())
    }
}

/// Reads an imported history from one end to the other.
pub(super) async fn imported_log(tx: &ReadTx, namespace: &NamespaceId, import: &Import) -> Result<LogCheck> {
    let trust = trust_of(&import.source).map_err(|error| Error::new(Reason::DataLoss, error.message))?;
    let mut check = LogCheck::new(trust, import.source.namespace.clone());
    let mut after = None;
    loop {
        let page = PageRequest { size: PAGE_EVENTS, after };
        let events = tx.imported_events(namespace, import, &page, &EventFilter::default()).await?;
        let Some(last) = events.last() else {
            check.settle();
            return Ok(check);
        };
        after = Some(last.cursor.revision);
        for event in &events {
            check.event(event);
        }
    }
}
