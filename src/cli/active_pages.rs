//! The active set of a namespace, read page by page.

use anyhow::Context as _;

use super::session::Session;
use crate::client::pb;

/// Largest page asked for.
const PAGE_ITEMS: i32 = 1_000;

/// Reads every page into one answer. `each` sees each bundle with its content, which is not kept.
///
/// # Errors
/// What the server answers, and what `each` does.
pub async fn collect(
    session: &Session,
    request: pb::ListActiveRequest,
    mut each: impl FnMut(&pb::ActiveBundle) -> anyhow::Result<()>,
) -> anyhow::Result<pb::ListActiveResponse> {
    let mut whole = pb::ListActiveResponse::default();
    let mut request = pb::ListActiveRequest { page_size: PAGE_ITEMS, ..request };
    loop {
        let page = session.client.list_active(request.clone()).await.context("failed to get what is active")?;
        let checked_time = whole.checked_time.or(page.checked_time);
        let mut bundles = std::mem::take(&mut whole.bundles);
        for mut active in page.bundles {
            each(&active)?;
            if let Some(bundle) = &mut active.bundle {
                bundle.content.clear();
            }
            bundles.push(active);
        }
        // A token that comes back would ask for the same page for ever.
        anyhow::ensure!(
            page.next_page_token.is_empty() || page.next_page_token != request.page_token,
            "server answers the same page again"
        );
        whole = pb::ListActiveResponse { bundles, checked_time, ..page };
        if whole.next_page_token.is_empty() {
            return Ok(whole);
        }
        request.page_token.clone_from(&whole.next_page_token);
    }
}
