//! The active set of a namespace, read page by page.

use anyhow::Context as _;

use super::session::Session;
use crate::client::pb;
use crate::domain::limits::POLICIES_PER_NAMESPACE_MAX;

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
        anyhow::ensure!(
            whole.cursor.is_none_or(|cursor| page.cursor.is_some_and(|found| found.revision == cursor.revision)),
            "server answers pages of several moments"
        );
        let checked_time = whole.checked_time.or(page.checked_time);
        let (degraded, in_doubt) = (whole.degraded || page.degraded, whole.in_doubt || page.in_doubt);
        let mut bundles = std::mem::take(&mut whole.bundles);
        let whole_before = bundles.len();
        for mut active in page.bundles {
            let name = |active: &pb::ActiveBundle| {
                let bundle = active.bundle.as_ref().map(|bundle| super::names::policy_of(&bundle.name).to_owned());
                bundle.unwrap_or_default()
            };
            // In order, each once: so it ends, whatever the tokens are.
            anyhow::ensure!(
                bundles.last().is_none_or(|last| name(last) < name(&active)),
                "server answers policies out of order"
            );
            each(&active)?;
            if let Some(bundle) = &mut active.bundle {
                bundle.content.clear();
            }
            bundles.push(active);
        }
        let is_over = page.next_page_token.is_empty();
        anyhow::ensure!(is_over || bundles.len() > whole_before, "server answers a page of nothing");
        anyhow::ensure!(
            bundles.len() as u64 <= POLICIES_PER_NAMESPACE_MAX,
            "server answers more policies than a namespace can have"
        );
        whole = pb::ListActiveResponse { bundles, checked_time, degraded, in_doubt, ..page };
        if whole.next_page_token.is_empty() {
            return Ok(whole);
        }
        request.page_token.clone_from(&whole.next_page_token);
    }
}
