//! Pages of the log for subscribers behind the ring: read once, shared by all who come by.
//!
//! One page is read at a time for each namespace: subscribers that all come back at once cost the queries of one.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::fingerprints::resume_point_gone;
use super::frame::Frame;
use super::read::read_on;
use super::source::Source;
use crate::domain::event::{Cursor, Head};
use crate::domain::name::NamespaceId;
use crate::domain::{Error, Result};

/// Pages kept of one namespace. Fewer: subscribers at different places read the same page again.
const PAGES_MAX: usize = 8;

/// Some events of the log, in a row.
#[derive(Debug)]
pub(super) struct Page {
    from: Head,
    frames: Vec<Arc<Frame>>,
    pub(super) end: Head,
}

/// The pages that were read last.
#[derive(Debug, Default)]
pub(super) struct Pages(Mutex<VecDeque<Arc<Page>>>);

impl Page {
    /// The first activation after a place of this page, none when there is no more.
    pub(super) fn after(&self, at: Cursor) -> Option<&Arc<Frame>> {
        self.frames.get(self.frames.partition_point(|frame| frame.cursor() <= at))
    }

    /// Whether what comes after this place begins in this page.
    fn covers(&self, at: Cursor) -> bool {
        (self.from.cursor..self.end.cursor).contains(&at)
    }
}

impl Pages {
    /// The page with what comes after `at`. `known` is the hash of the event there, where the caller has it from the page
    /// before; else it is taken from the log itself.
    pub(super) async fn after(
        &self,
        source: &Source,
        namespace: &NamespaceId,
        at: Cursor,
        known: Option<Head>,
    ) -> Result<Arc<Page>> {
        let mut pages = self.0.lock().await;
        if let Some(page) = pages.iter().find(|page| page.covers(at)) {
            return Ok(Arc::clone(page));
        }
        let page = Arc::new(read(source, namespace, at, known).await?);
        pages.push_back(Arc::clone(&page));
        if pages.len() > PAGES_MAX {
            pages.pop_front();
        }
        Ok(page)
    }

    /// Lets go of pages that nobody reads.
    pub(super) fn prune(&self) {
        if let Ok(mut pages) = self.0.try_lock() {
            pages.retain(|page| Arc::strong_count(page) > 1);
        }
    }
}

async fn read(source: &Source, namespace: &NamespaceId, at: Cursor, known: Option<Head>) -> Result<Page> {
    source.counts.pages_read.add();
    let tx = source.store.read().await?;
    let from = match known {
        Some(head) => head,
        None if at.revision == 0 => Head { cursor: at, hash: [0; 32] },
        None => {
            let event = tx.event(namespace, at.revision).await?;
            source.proof.event(&event)?;
            if event.cursor != at {
                return Err(resume_point_gone(at, event.cursor.epoch));
            }
            Head { cursor: event.cursor, hash: event.hash }
        }
    };
    let read = read_on(&tx, &*source.proof, namespace, from).await?;
    if read.end == from {
        return Err(Error::data_loss(format!("{namespace}: no event after {}", from.cursor.revision)));
    }
    if read.end.cursor <= at {
        return Err(resume_point_gone(at, read.end.cursor.epoch));
    }
    let frames = read.activations.into_iter().map(|activation| Arc::new(Frame::new(activation))).collect();
    Ok(Page { from, frames, end: read.end })
}
