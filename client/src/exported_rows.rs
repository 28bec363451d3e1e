//! ExportRows: the rows of a namespace as of one head, batch by batch up to the end that the server says.
//!
//! Boundary: what a row says is proven by `signing::chain`; here is only whether the stream is one whole export.
//! Invariant: it ends, whatever the server sends: it brings no more rows than it announced, each after the one before.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tonic::{Code, Streaming};

use super::calls::timed;
use super::channel::RpcClient;
use super::error::ClientError;
use super::page_guard::LIST_ITEMS_MAX;
use policyhub_core::api::pb;
use policyhub_core::domain::event::{Cursor, Fingerprint, Position};
use policyhub_core::domain::limits::EXPORT_MAX_SECONDS;
use policyhub_core::domain::row::Row;

/// Sets how long a whole export may take.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(EXPORT_MAX_SECONDS);
/// Longest silence of an export. A server sends the next rows as soon as it has read them.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// A stream that is no whole export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BrokenExport {
    /// The first message names no head, or has rows.
    #[error("the server's export does not begin with the head that it is of")]
    NoHead,
    /// A later message names a head.
    #[error("the server's export changes its head")]
    OtherHead,
    /// A row does not come after the one before.
    #[error("the server's export sends rows that are not in order")]
    Order,
    /// There are more rows than it announced, or than anybody reads.
    #[error("the server's export has more rows than it announced, or than {LIST_ITEMS_MAX}")]
    TooMany,
    /// It says that it is complete, and has fewer.
    #[error("the server's export says that it is complete with {0} of {1} rows")]
    TooFew(u64, u64),
    /// A message has no rows, and is not the last.
    #[error("the server's export sends messages of nothing")]
    Nothing,
    /// Something follows the last message, or is in it.
    #[error("the server's export goes on after its end")]
    After,
    /// It ended before it was complete.
    #[error("the server's export ended before it was complete; begin again")]
    Cut,
}

impl From<BrokenExport> for ClientError {
    fn from(error: BrokenExport) -> Self {
        Self::local(Code::Internal, error.to_string())
    }
}

/// Says where a row stands in an export: its table, and its key.
type ExportKey = (u8, String, i64);

fn row_key(row: &Row) -> Option<ExportKey> {
    Some(match row.table.as_str() {
        "policies" => (0, row.text("id")?.to_owned(), 0),
        "versions" => (1, row.text("policy")?.to_owned(), row.int("number")?),
        "reports" => (2, row.text("policy")?.to_owned(), row.int("number")?),
        "imports" => (3, String::new(), row.int("position")?),
        _ => return None,
    })
}

/// Looks at each message of an export.
#[derive(Debug)]
struct ExportGuard {
    head: Position,
    total_rows: u64,
    rows: u64,
    last: Option<ExportKey>,
    is_complete: bool,
}

impl ExportGuard {
    /// Begins with the first message.
    fn new(first: &pb::ExportRowsResponse) -> Result<Self, BrokenExport> {
        let pb::ExportRowsResponse { head: Some(head), total_rows, rows, complete: false } = first else {
            return Err(BrokenExport::NoHead);
        };
        let total_rows = u64::try_from(*total_rows).map_err(|_| BrokenExport::NoHead)?;
        if !rows.is_empty() || head.revision < 0 || head.epoch < 0 {
            return Err(BrokenExport::NoHead);
        }
        if total_rows > LIST_ITEMS_MAX {
            return Err(BrokenExport::TooMany);
        }
        let cursor = Cursor { epoch: head.epoch, revision: head.revision };
        let head = Position { cursor, event: Fingerprint::from_number(head.fingerprint) };
        Ok(Self { head, total_rows, rows: 0, last: None, is_complete: false })
    }

    /// Looks at the next message.
    fn check(&mut self, message: &pb::ExportRowsResponse) -> Result<(), BrokenExport> {
        let pb::ExportRowsResponse { head, total_rows, rows, complete } = message;
        if self.is_complete || (*complete && !rows.is_empty()) {
            return Err(BrokenExport::After);
        }
        if head.is_some() || *total_rows != 0 {
            return Err(BrokenExport::OtherHead);
        }
        self.is_complete = *complete;
        if *complete {
            let is_whole = self.rows == self.total_rows;
            return if is_whole { Ok(()) } else { Err(BrokenExport::TooFew(self.rows, self.total_rows)) };
        }
        if rows.is_empty() {
            return Err(BrokenExport::Nothing);
        }
        for each in rows {
            self.rows += 1;
            if self.rows > self.total_rows {
                return Err(BrokenExport::TooMany);
            }
            // What can't be read has no key; whoever reads it says so.
            let Some(next) = Row::read(&each.row).as_ref().and_then(row_key) else { continue };
            if self.last.as_ref().is_some_and(|last| *last >= next) {
                return Err(BrokenExport::Order);
            }
            self.last = Some(next);
        }
        Ok(())
    }
}

/// An export that was begun. The server holds a snapshot of its database for it: read it to its end, or drop it.
#[derive(Debug)]
pub struct ExportedRows {
    stream: Streaming<pb::ExportRowsResponse>,
    guard: ExportGuard,
    end: Instant,
}

impl RpcClient {
    /// Opens the export of the rows of a namespace, as the bytes its log proves.
    ///
    /// # Errors
    /// The error of the call; INTERNAL when the stream does not begin as an export.
    pub async fn export_rows(&self, request: pb::ExportRowsRequest) -> Result<ExportedRows, ClientError> {
        let (end, mut admin) = (Instant::now() + EXPORT_TIMEOUT, self.admin.clone());
        let opened = timeout_at(end, admin.export_rows(timed(request, EXPORT_TIMEOUT))).await;
        let mut stream = opened.map_err(|_| late())??.into_inner();
        let first = next(&mut stream, end).await?.ok_or(BrokenExport::NoHead)?;
        Ok(ExportedRows { stream, guard: ExportGuard::new(&first)?, end })
    }
}

impl ExportedRows {
    /// Returns the head of the log that the rows are of.
    #[must_use]
    pub fn head(&self) -> Position {
        self.guard.head
    }

    /// Returns how many rows came so far, and how many will in all.
    #[must_use]
    pub fn progress(&self) -> (u64, u64) {
        (self.guard.rows, self.guard.total_rows)
    }

    /// Returns the next rows; none after the last one, when the server has said that they are all.
    ///
    /// # Errors
    /// The error of the stream; INTERNAL for one that is no whole export.
    pub async fn next(&mut self) -> Result<Option<Vec<pb::ExportedRow>>, ClientError> {
        let Some(message) = next(&mut self.stream, self.end).await? else {
            return if self.guard.is_complete { Ok(None) } else { Err(BrokenExport::Cut.into()) };
        };
        self.guard.check(&message)?;
        Ok(Some(message.rows))
    }
}

fn late() -> ClientError {
    ClientError::local(Code::DeadlineExceeded, "the export did not go on in time")
}

async fn next(
    stream: &mut Streaming<pb::ExportRowsResponse>,
    end: Instant,
) -> Result<Option<pb::ExportRowsResponse>, ClientError> {
    let next = timeout_at(end.min(Instant::now() + SILENCE_MAX), stream.message()).await;
    Ok(next.map_err(|_| late())??)
}

#[cfg(test)]
mod tests {
    use super::*;
    use policyhub_core::domain::row::{Cell, RowBytes};

    fn row(table: &str, columns: &[(&str, Cell)]) -> pb::ExportedRow {
        let mut bytes = RowBytes::of(table).expect("short");
        for (column, cell) in columns {
            bytes.add(column, cell).expect("short");
        }
        pb::ExportedRow { row: bytes.end().into(), ..Default::default() }
    }

    fn policy(id: &str) -> pb::ExportedRow {
        row("policies", &[("id", Cell::Text(id.to_owned()))])
    }

    fn version(policy: &str, number: i64) -> pb::ExportedRow {
        row("versions", &[("policy", Cell::Text(policy.to_owned())), ("number", Cell::Int(number))])
    }

    fn first(total_rows: i64) -> pb::ExportRowsResponse {
        let head = Some(pb::Cursor { epoch: 1, revision: 7, fingerprint: 9 });
        pb::ExportRowsResponse { head, total_rows, ..Default::default() }
    }

    fn rows(rows: Vec<pb::ExportedRow>) -> pb::ExportRowsResponse {
        pb::ExportRowsResponse { rows, ..Default::default() }
    }

    fn last() -> pb::ExportRowsResponse {
        pb::ExportRowsResponse { complete: true, ..Default::default() }
    }

    /// Returns how a stream of these messages ends.
    fn ends(messages: &[pb::ExportRowsResponse]) -> Result<(), BrokenExport> {
        let (first, others) = messages.split_first().expect("a message");
        let mut guard = ExportGuard::new(first)?;
        others.iter().try_for_each(|message| guard.check(message))?;
        if guard.is_complete { Ok(()) } else { Err(BrokenExport::Cut) }
    }

    #[test]
    fn a_whole_export_ends_well() {
        assert_eq!(ends(&[first(0), last()]), Ok(()));
        let all = [policy("a"), policy("b"), version("a", 2), version("a", 10), version("b", 1)];
        assert_eq!(ends(&[first(5), rows(all[..1].to_vec()), rows(all[1..].to_vec()), last()]), Ok(()));
        let unreadable = pb::ExportedRow { row: vec![1].into(), ..Default::default() };
        assert_eq!(ends(&[first(1), rows(vec![unreadable]), last()]), Ok(()), "that is a finding of who reads it");
    }

    #[test]
    fn anything_else_is_no_export() {
        let (a, b) = (policy("a"), policy("b"));
        let only = |row: &pb::ExportedRow| rows(vec![row.clone()]);
        for (messages, expected) in [
            (vec![last()], BrokenExport::NoHead),
            (vec![only(&a)], BrokenExport::NoHead),
            (vec![pb::ExportRowsResponse { complete: true, ..first(0) }], BrokenExport::NoHead),
            (vec![first(-1)], BrokenExport::NoHead),
            (vec![first(i64::MAX)], BrokenExport::TooMany),
            (vec![first(0)], BrokenExport::Cut),
            (vec![first(2), only(&a)], BrokenExport::Cut),
            (vec![first(2), only(&a), last()], BrokenExport::TooFew(1, 2)),
            (vec![first(1), only(&a), only(&b)], BrokenExport::TooMany),
            (vec![first(2), first(2)], BrokenExport::OtherHead),
            (vec![first(2), only(&b), only(&a)], BrokenExport::Order),
            (vec![first(2), only(&a), only(&a)], BrokenExport::Order),
            (vec![first(2), only(&version("a", 1)), only(&a)], BrokenExport::Order),
            (vec![first(2), rows(vec![])], BrokenExport::Nothing),
            (vec![first(1), only(&a), last(), last()], BrokenExport::After),
            (vec![first(1), pb::ExportRowsResponse { complete: true, ..only(&a) }], BrokenExport::After),
        ] {
            assert_eq!(ends(&messages), Err(expected), "{messages:?}");
        }
    }
}
