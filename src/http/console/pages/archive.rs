//! The archive of a namespace, as a file that is made while it is sent.
//!
//! Invariants: one part is in memory; a download that is cut ends without its last chunk (RFC 9112 §7.1), and without the last line of an
//! archive, so it does not look complete to a browser or to `policyhub verify`.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::try_unfold;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::CancellationToken;

use crate::api::pb;
use crate::domain::access::Rpc;
use crate::domain::limits::EXPORT_MAX_SECONDS;
use crate::domain::{Error, Reason, Result};
use crate::http::console::rendered::Rendered;
use crate::http::console::visit::Visit;
use crate::service::{ArchiveExport, FairSlot, wait_once};

/// Most bytes that are given to a connection at once. More: a slow reader seems to stand still while it takes them.
const FRAME_MAX_BYTES: usize = 64 * 1024;

/// A download that runs.
struct ArchiveDownload {
    /// What is left of the last part that was read.
    part: Bytes,
    /// None after the last part.
    export: Option<ArchiveExport>,
    draining: CancellationToken,
    deadline: Pin<Box<Sleep>>,
    _slot: FairSlot,
}

/// Begins the download. What is wrong from the start is a page that says so.
pub async fn show(visit: &Visit) -> Result<Rendered> {
    let parent = visit.namespace_name();
    let asked = pb::ListEventsRequest { parent: parent.clone(), ..pb::ListEventsRequest::default() };
    visit.read(Rpc::ListEvents, &asked).await?;
    visit.read(Rpc::ExportRows, &pb::ExportRowsRequest { parent }).await?;
    let namespace = visit.namespace()?;
    // Who waited for a slot here would keep one of those of pages meanwhile.
    let slot = visit.service().long_reads.try_take_export(&visit.actor())?;
    let export = visit.service().archive.export_archive(&namespace).await?;
    let (part, export) = export.next_part().await?;
    let download = ArchiveDownload {
        part,
        export,
        draining: visit.draining(),
        deadline: Box::pin(sleep(Duration::from_secs(EXPORT_MAX_SECONDS))),
        _slot: slot,
    };
    let frames = try_unfold(download, |mut download| async move {
        match download.next_frame().await {
            Ok(frame) => Ok(frame.map(|frame| (frame, download))),
            Err(error) => {
                // The head of the answer is gone, so nobody else can say why it ends.
                tracing::warn!(%error, detail = error.internal, "a download of an archive was cut");
                Err(io::Error::other(error.message))
            }
        }
    });
    Ok(Rendered::stream(&format!("{namespace}.jsonl"), "application/x-ndjson", Body::from_stream(frames)))
}

impl ArchiveDownload {
    /// Returns the next bytes; none at the end.
    async fn next_frame(&mut self) -> Result<Option<Bytes>> {
        if self.part.is_empty() {
            let Some(export) = self.export.take() else { return Ok(None) };
            let next = tokio::select! {
                biased;
                () = self.draining.cancelled() => Err(drains()),
                () = self.deadline.as_mut() => Err(too_slow()),
                next = wait_once(export.next_part()) => next,
            };
            (self.part, self.export) = next?;
        } else if self.draining.is_cancelled() {
            return Err(drains());
        } else if self.deadline.is_elapsed() {
            return Err(too_slow());
        }
        Ok(Some(self.part.split_to(FRAME_MAX_BYTES.min(self.part.len()))))
    }
}

fn drains() -> Error {
    Error::new(Reason::ServerDraining, "this server is shutting down: try again")
}

fn too_slow() -> Error {
    let message = format!("a download may take {EXPORT_MAX_SECONDS} s: read faster, or over a faster link");
    Error::new(Reason::RequestTimeout, message).with("limit_seconds", EXPORT_MAX_SECONDS)
}
