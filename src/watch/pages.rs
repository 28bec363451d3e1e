//! Pages of the log for subscribers behind the ring: read once, shared by all that need them.
//!
//! One page is read at a time for each namespace: subscribers that all reconnect at once cost the queries of one.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::fingerprints::resume_point_gone;
use super::frame::Frame;
use super::read::{read_on, trees_after};
use super::source::FeedSource;
use crate::domain::event::{Cursor, Head};
use crate::domain::name::NamespaceId;
use crate::domain::{Error, Result};

/// Number of pages kept of one namespace. Fewer: subscribers at different cursors read the same page again.
const PAGES_MAX: usize = 8;

/// Consecutive events of the log.
#[derive(Debug)]
pub(super) struct LogPage {
    from: Head,
    frames: Vec<Arc<Frame>>,
    /// Whether the frames serve filters.
    has_trees: bool,
    pub(super) end: Head,
}

/// The start of a page.
#[derive(Debug, Clone, Copy)]
pub(super) struct PageStart {
    /// The cursor after which events are asked for.
    pub at: Cursor,
    /// The event at the cursor, when the caller has it from the previous page; otherwise it is read from the log.
    pub known: Option<Head>,
}

/// The pages that were read last.
#[derive(Debug, Default)]
pub(super) struct LogPageCache(Mutex<VecDeque<Arc<LogPage>>>);

impl LogPage {
    /// Returns the first activation of this page after a cursor; none when there is no more.
    pub(super) fn after(&self, at: Cursor) -> Option<&Arc<Frame>> {
        self.frames.get(self.frames.partition_point(|frame| frame.cursor() <= at))
    }

    /// Whether the events after a cursor begin in this page, for a stream that is filtered or not.
    fn covers(&self, at: Cursor, is_filtered: bool) -> bool {
        (self.from.cursor..self.end.cursor).contains(&at) && (self.has_trees || !is_filtered)
    }
}

impl LogPageCache {
    /// Returns the page with the events after a cursor. A filtered stream, which needs proofs, also costs a read of the pointers at that
    /// cursor.
    pub(super) async fn after(
        &self,
        source: &FeedSource,
        namespace: &NamespaceId,
        start: PageStart,
        is_filtered: bool,
    ) -> Result<Arc<LogPage>> {
        let mut pages = self.0.lock().await;
        if let Some(page) = pages.iter().find(|page| page.covers(start.at, is_filtered)) {
            return Ok(Arc::clone(page));
        }
        let page = Arc::new(read(source, namespace, start, is_filtered).await?);
        pages.push_back(Arc::clone(&page));
        if pages.len() > PAGES_MAX {
            pages.pop_front();
        }
        Ok(page)
    }

    /// Drops pages that no stream reads.
    pub(super) fn prune(&self) {
        if let Ok(mut pages) = self.0.try_lock() {
            pages.retain(|page| Arc::strong_count(page) > 1);
        }
    }
}

async fn read(
    source: &FeedSource,
    namespace: &NamespaceId,
    PageStart { at, known }: PageStart,
    with_trees: bool,
) -> Result<LogPage> {
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
    let trees = if with_trees {
        let entries = tx.active_entries(namespace, 0, at.revision).await?;
        let tree = source.proof.tree(&entries);
        trees_after(namespace, tree, &read.activations)?.into_iter().map(Some).collect()
    } else {
        vec![None; read.activations.len()]
    };
    let frames = read.activations.into_iter().zip(trees);
    let frames = frames.map(|(activation, tree)| Arc::new(Frame::new(activation, tree))).collect();
    Ok(LogPage { from, frames, has_trees: with_trees, end: read.end })
}
