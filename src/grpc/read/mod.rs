//! The long-reading server streams: VerifyLog and ExportRows.

mod log_check;
mod read_stream;
mod row_export;

pub(super) use log_check::verify_log;
pub(super) use row_export::export_rows;
