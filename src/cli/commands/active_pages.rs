//! Reads the active set of a namespace page by page.

use anyhow::Context as _;
use bytes::Bytes;

use crate::cli::names::policy_of;
use crate::cli::session::Session;
use crate::client::pb;
use crate::domain::limits::{POLICIES_PER_NAMESPACE_MAX, STATEMENT_MAX_BYTES};

/// Most bytes of the texts of a bundle: its names, and its manifest, which is a JWS of at most 64 KiB in base64. Without a bound, a
/// server could fill the memory with 10,000 policies although no contents are kept.
const BUNDLE_TEXTS_MAX_BYTES: usize = 2 * STATEMENT_MAX_BYTES;
/// Largest page that is requested.
const PAGE_ITEMS: i32 = 1_000;

/// Reads every page into one response. `each` sees each page with its contents, which are not kept.
///
/// # Errors
/// The server or `each` fails.
pub async fn collect(
    session: &Session,
    request: pb::ListActiveRequest,
    mut each: impl FnMut(&pb::ListActiveResponse) -> anyhow::Result<()>,
) -> anyhow::Result<pb::ListActiveResponse> {
    let mut whole = pb::ListActiveResponse::default();
    let mut request = pb::ListActiveRequest { page_size: PAGE_ITEMS, ..request };
    loop {
        let mut page = session.client.list_active(request.clone()).await.context("failed to get what is active")?;
        let place = |cursor: pb::Cursor| (cursor.epoch, cursor.revision);
        anyhow::ensure!(
            whole.cursor.is_none_or(|first| page.cursor.map(place) == Some(place(first))),
            "server answers pages of several moments"
        );
        each(&page)?;
        let bundles = std::mem::take(&mut page.bundles);
        let is_over = page.next_page_token.is_empty();
        anyhow::ensure!(is_over || !bundles.is_empty(), "server answers a page of nothing");
        add(&mut whole.bundles, bundles)?;
        request.page_token.clone_from(&page.next_page_token);
        whole = pb::ListActiveResponse {
            bundles: whole.bundles,
            checked_time: whole.checked_time.or(page.checked_time),
            degraded: whole.degraded || page.degraded,
            in_doubt: whole.in_doubt || page.in_doubt,
            ..page
        };
        if is_over {
            return Ok(whole);
        }
    }
}

/// Adds the bundles of a page without their contents. They must be in order, each once, so that reading ends whatever the tokens are.
fn add(whole: &mut Vec<pb::Bundle>, bundles: Vec<pb::Bundle>) -> anyhow::Result<()> {
    for mut bundle in bundles {
        let is_after = whole.last().is_none_or(|last| policy_of(&last.name) < policy_of(&bundle.name));
        anyhow::ensure!(is_after, "server answers policies out of order");
        // Not `clear`: it would keep the buffer of the whole message alive.
        bundle.content = Bytes::new();
        let texts = [&bundle.name, &bundle.label, &bundle.digest, &bundle.content_type, &bundle.manifest];
        let kept_bytes: usize = texts.into_iter().map(String::len).sum();
        anyhow::ensure!(kept_bytes <= BUNDLE_TEXTS_MAX_BYTES, "server answers a bundle whose texts are too long");
        whole.push(bundle);
    }
    let is_too_many = whole.len() as u64 > POLICIES_PER_NAMESPACE_MAX;
    anyhow::ensure!(!is_too_many, "server answers more policies than a namespace can have");
    Ok(())
}
