//! Searches the contents of the active versions for a text, in memory: it asks the database for nothing but the head of the log.
//!
//! Invariant: one search reads at most `SEARCHED_MAX_BYTES` and a content more, on a blocking thread, in a slot of its caller. What it
//! did not reach is searched from where it ended.

use std::sync::Arc;

use super::found_lines::{FoundLine, find_lines};
use super::use_cases::Sync;
use crate::domain::bundle::{ActiveBundle, Bundle};
use crate::domain::name::{NamespaceId, PolicyId};
use crate::domain::{Error, Result};
use crate::service::context::Context;
use crate::watch::ActiveView;

/// Bytes of contents after which a search ends. More: a search takes a core for longer. Fewer: more pages for what is rare.
const SEARCHED_MAX_BYTES: usize = 16 * 1024 * 1024;
/// Most policies that one search finds.
const MATCHES_MAX: usize = 25;
/// Most lines of one policy.
const LINES_PER_MATCH_MAX: usize = 3;
/// Longest text that is searched for.
const SEARCH_TEXT_MAX_BYTES: usize = 256;

/// Searches contents for a text, whose ASCII letters match in either case.
#[derive(Debug, Clone)]
pub struct SearchActive {
    /// The namespace.
    pub namespace: NamespaceId,
    /// The text; not empty.
    pub text: String,
    /// The last policy that an earlier search reached.
    pub after: Option<PolicyId>,
}

/// What a search found.
#[derive(Debug, Clone, Default)]
pub struct ActiveMatches {
    /// The policies whose content has the text, in their order.
    pub items: Vec<ActiveMatch>,
    /// How many policies were searched, those of earlier searches included.
    pub searched: usize,
    /// How many policies have an active version.
    pub active: usize,
    /// The last policy that was searched; none when none is left.
    pub reached: Option<PolicyId>,
}

/// A policy whose active content has the text.
#[derive(Debug, Clone)]
pub struct ActiveMatch {
    /// The active version.
    pub bundle: Arc<Bundle>,
    /// The first lines that have the text.
    pub lines: Vec<FoundLine>,
    /// Whether further lines have it.
    pub has_more: bool,
}

impl Sync {
    /// Searches the contents of the active versions. Contents that are no text are passed over.
    ///
    /// # Errors
    /// As `list_active`; `INVALID_ARGUMENT` for a text that is empty or too long, `LIMIT_EXCEEDED` when no slot is free.
    pub async fn search_active(&self, context: &Context, search: SearchActive) -> Result<ActiveMatches> {
        if search.text.is_empty() || search.text.len() > SEARCH_TEXT_MAX_BYTES {
            return Err(Error::invalid("text", format!("must have 1 to {SEARCH_TEXT_MAX_BYTES} bytes")));
        }
        let view = self.in_force(&search.namespace).await?.view;
        let slot = self.searches.take(&context.actor())?;
        // The slot is free when the work has ended, even if its caller is gone by then.
        let run = tokio::task::spawn_blocking(move || (slot, search_view(&view, &search)));
        let (_slot, found) = run.await.map_err(|error| Error::internal(format!("a search ended early: {error}")))?;
        Ok(found)
    }
}

/// Searches a view until a bound is reached; it runs on a blocking thread.
fn search_view(view: &ActiveView, search: &SearchActive) -> ActiveMatches {
    let was_searched = |active: &&ActiveBundle| {
        search.after.as_ref().is_some_and(|after| active.bundle.version.policy.policy <= *after)
    };
    let searched = view.bundles().take_while(was_searched).count();
    let mut found = ActiveMatches { searched, active: view.bundles().count(), ..ActiveMatches::default() };
    let text = search.text.to_ascii_lowercase();
    let mut left = SEARCHED_MAX_BYTES;
    for active in view.bundles().skip(searched) {
        if left == 0 || found.items.len() == MATCHES_MAX {
            return found;
        }
        let bundle = &active.bundle;
        left = left.saturating_sub(bundle.content.len());
        found.searched += 1;
        found.reached = Some(bundle.version.policy.policy.clone());
        let mut lines = find_lines(bundle, &text, LINES_PER_MATCH_MAX + 1);
        if !lines.is_empty() {
            let has_more = lines.len() > LINES_PER_MATCH_MAX;
            lines.truncate(LINES_PER_MATCH_MAX);
            found.items.push(ActiveMatch { bundle: Arc::clone(bundle), lines, has_more });
        }
    }
    // Nothing is left to search.
    found.reached = None;
    found
}
