//! The messages of ExportRows.

use super::cursor;
use crate::api::pb;
use crate::domain::event::Head;
use crate::domain::row::RowWithContent;

/// Returns the first message: the head of the log in the snapshot, and the number of rows that follow.
#[must_use]
pub fn export_opened(head: Head, total_rows: u64) -> pb::ExportRowsResponse {
    let total_rows = i64::try_from(total_rows).unwrap_or(i64::MAX);
    pb::ExportRowsResponse { head: Some(cursor(head)), total_rows, ..Default::default() }
}

/// Returns a batch of rows; an empty one is the last message.
#[must_use]
pub fn exported_rows(rows: Vec<RowWithContent>) -> pb::ExportRowsResponse {
    let complete = rows.is_empty();
    let row = |RowWithContent { bytes, manifest, content }| pb::ExportedRow { row: bytes.into(), manifest, content };
    pb::ExportRowsResponse { rows: rows.into_iter().map(row).collect(), complete, ..Default::default() }
}
