//! ExportRows: the rows of a namespace as bytes, and the contents of its versions, from one snapshot of the database. With the
//! log up to the head of that snapshot, that is an archive.
//!
//! Invariant: a batch of rows is read when it is requested, and nothing ahead of it.

use std::collections::VecDeque;

use bytes::Bytes;

use super::use_cases::Archive;
use crate::domain::event::Head;
use crate::domain::name::NamespaceId;
use crate::domain::row::RowWithContent;
use crate::domain::{Error, Result};
use crate::signing::digest_of;
use crate::store::{ExportedRow, ExportedRowKey, ReadTx};

/// Number of rows of one statement. More: an export holds more policy settings, of up to 256 KiB each, than a message carries. Fewer: more
/// statements.
const ROWS_PER_QUERY: u64 = 20;
/// The size at which a batch ends. With one more version, of up to 1 MiB with its metadata, it stays below 2 MiB.
const BATCH_BYTES: usize = 256 * 1024;
/// The number of rows at which a batch ends, so that users see progress.
const BATCH_ROWS: usize = 200;

/// The rows of a namespace in one snapshot. It holds the snapshot, with its connection to the database, until it is dropped.
#[derive(Debug)]
pub struct RowExport {
    pub(super) view: ReadTx,
    pub(super) namespace: NamespaceId,
    head: Head,
    total_rows: u64,
    /// The last row that was read.
    after: Option<ExportedRowKey>,
    /// Rows that were read, without their contents.
    next: VecDeque<ExportedRow>,
}

impl Archive {
    /// Opens a snapshot of a namespace, to export its rows.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, `DATA_LOSS`, `DATABASE_UNAVAILABLE`.
    pub async fn export_rows(&self, namespace: &NamespaceId) -> Result<RowExport> {
        let view = self.log.store.read_for_stream().await?;
        let head = view.log_head(namespace).await?;
        let total_rows = view.count_exported_rows(namespace).await?;
        Ok(RowExport { view, namespace: namespace.clone(), head, total_rows, after: None, next: VecDeque::new() })
    }
}

impl RowExport {
    /// Returns the head of the log in the snapshot.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// Returns the number of rows in the snapshot.
    #[must_use]
    pub fn total_rows(&self) -> u64 {
        self.total_rows
    }

    /// Reads the next rows, in the order of an archive: as many as fit into a message. Returns none at the end.
    ///
    /// # Errors
    /// `DATA_LOSS` for a row or a content that is not authentic, `DATABASE_UNAVAILABLE`.
    pub async fn read_batch(&mut self) -> Result<Vec<RowWithContent>> {
        let (mut rows, mut size) = (Vec::new(), 0);
        while size < BATCH_BYTES && rows.len() < BATCH_ROWS {
            let Some(row) = self.read_row().await? else { break };
            size += row.bytes.len() + row.manifest.len() + row.content.len();
            rows.push(row);
        }
        Ok(rows)
    }

    async fn read_row(&mut self) -> Result<Option<RowWithContent>> {
        if self.next.is_empty() {
            let found = self.view.exported_rows(&self.namespace, self.after.as_ref(), ROWS_PER_QUERY).await?;
            self.next = found.into();
        }
        let Some(ExportedRow { bytes, key, version }) = self.next.pop_front() else { return Ok(None) };
        self.after = Some(key);
        let Some(version) = version else {
            return Ok(Some(RowWithContent { bytes, manifest: String::new(), content: Bytes::new() }));
        };
        let content = self.view.content(&version.digest).await?;
        if digest_of(&content) != version.digest {
            let what = format!("{}: its content is not the one it was written with", version.name());
            return Err(Error::data_loss(what));
        }
        Ok(Some(RowWithContent { bytes, manifest: version.manifest, content }))
    }
}
