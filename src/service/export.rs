//! ExportRows: the rows of a namespace as bytes, and the contents of its versions. With the log, that is an archive.

use bytes::Bytes;

use super::Service;
use crate::domain::Result;
use crate::domain::command::{Listed, Page};
use crate::domain::event::Cursor;
use crate::domain::limits::{MESSAGE_MAX_BYTES, PAGE_FULL_MAX_ITEMS};
use crate::domain::name::NamespaceId;
use crate::signing::digest_of;
use crate::store::{ExportedRow, RowKey};

/// A row, and of a version what belongs to it.
#[derive(Debug)]
pub struct RowWithContent {
    /// Which one.
    pub key: RowKey,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The newest manifest of a version.
    pub manifest: String,
    /// The content of a version.
    pub content: Bytes,
}

/// Some rows.
#[derive(Debug)]
pub struct RowsPage {
    /// In the order of an archive.
    pub rows: Listed<RowWithContent>,
    /// The head of the log in the view they were read in.
    pub head: Cursor,
}

impl Service {
    /// A page of rows.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, `DATA_LOSS`.
    pub async fn export_rows(&self, namespace: &NamespaceId, page: &Page<RowKey>) -> Result<RowsPage> {
        let tx = self.store.read().await?;
        let head = tx.log_head(namespace).await?.cursor;
        let limit = u64::from(page.size.min(PAGE_FULL_MAX_ITEMS));
        let found = tx.exported_rows(namespace, page.after.as_ref(), limit).await?;
        // Each table begins a page of its own: only after the last row is there nothing.
        let is_last = found.is_empty();
        let (mut items, mut size) = (Vec::new(), 0);
        for ExportedRow { bytes, key, version, .. } in found {
            if size > MESSAGE_MAX_BYTES {
                break;
            }
            let (manifest, content) = match version {
                Some(version) => {
                    let content = tx.content(&version.digest).await?;
                    if digest_of(&content) != version.digest {
                        let what = format!("{}: its content is not the one it was written with", version.name());
                        return Err(crate::domain::Error::data_loss(what));
                    }
                    (version.manifest, content)
                }
                None => (String::new(), Bytes::new()),
            };
            size += bytes.len() + manifest.len() + content.len();
            items.push(RowWithContent { key, bytes, manifest, content });
        }
        Ok(RowsPage { rows: Listed { items, is_last }, head })
    }
}
