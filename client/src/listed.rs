//! The active set as ListActive answers it, verified page by page as a subscriber verifies a snapshot.
//!
//! Boundary: pure; no decisions of its own besides the digests of contents, which it does not keep.

use std::collections::BTreeSet;

use super::active_set::{ActiveSet, ActiveSetOptions};
use super::refusal::Refusal;
use bytes::Bytes;

use policyhub_core::api::pb;
use policyhub_core::api::pb::watch_active_response::Message;
use policyhub_core::domain::name::{NamespaceId, PolicyId, VersionName};
use policyhub_core::signing::{KeySet, digest_of};

/// Pages of an active set that are verified as they come.
#[derive(Debug)]
pub struct ListedSet {
    set: ActiveSet,
    has_content: bool,
    is_past: bool,
}

/// Holds what was asked for.
#[derive(Debug, Clone, Default)]
pub struct ListedOptions {
    /// The policies asked for; empty: all.
    pub policies: BTreeSet<PolicyId>,
    /// Says whether bundles come with their contents.
    pub has_content: bool,
    /// Says whether the set is one of the past: each bundle is verified, and nothing proves that they are all.
    pub is_past: bool,
}

impl ListedSet {
    /// Returns a set that no page of came yet.
    #[must_use]
    pub fn new(namespace: NamespaceId, keys: KeySet, options: ListedOptions) -> Self {
        let ListedOptions { policies, has_content, is_past } = options;
        let options = ActiveSetOptions { policies, metadata_only: true, ..ActiveSetOptions::default() };
        Self { set: ActiveSet::new(namespace, keys, options), has_content, is_past }
    }

    /// Verifies the next page. With the last one the set is whole and proven: its checkpoint verifies, and its root, or the
    /// proof of the policies asked for, is of exactly what came. Whether that is the newest, [`Self::is_stale`] says.
    ///
    /// # Errors
    /// The first thing that does not hold. No further page is taken.
    pub fn take(&mut self, page: &pb::ListActiveResponse, now_seconds: i64) -> Result<(), Refusal> {
        let mut bundles = Vec::with_capacity(page.bundles.len());
        for bundle in &page.bundles {
            if self.has_content {
                check_content(bundle)?;
            }
            // Without the content, which was just compared with the digest that the manifest must name.
            bundles.push(pb::Bundle {
                name: bundle.name.clone(),
                version: bundle.version,
                label: bundle.label.clone(),
                digest: bundle.digest.clone(),
                size_bytes: bundle.size_bytes,
                content_type: bundle.content_type.clone(),
                manifest: bundle.manifest.clone(),
                activation: bundle.activation,
                preview: bundle.preview,
                content: Bytes::new(),
            });
        }
        let complete = page.next_page_token.is_empty() && !self.is_past;
        if bundles.is_empty() && self.is_past {
            return Ok(());
        }
        let part = pb::Snapshot {
            bundles,
            complete,
            cursor: page.cursor,
            checkpoint: page.checkpoint.clone(),
            set_proof: page.set_proof.clone(),
        };
        let message = pb::WatchActiveResponse { message: Some(Message::Snapshot(part)), ..Default::default() };
        self.set.apply(&message, now_seconds).map(drop)
    }

    /// Drops what was refused or collected, so that further bundles can be looked at by themselves.
    pub(super) fn begin(&mut self) {
        self.set.begin_stream();
    }

    /// Returns whether no checkpoint says that the set is the newest.
    #[must_use]
    pub fn is_stale(&self, now_seconds: i64) -> bool {
        self.set.is_stale(now_seconds)
    }
}

/// Checks that the content has the digest and the size beside it.
fn check_content(bundle: &pb::Bundle) -> Result<(), Refusal> {
    let is_same = digest_of(&bundle.content).as_str() == bundle.digest
        && i64::try_from(bundle.content.len()).is_ok_and(|size| size == bundle.size_bytes);
    if is_same {
        return Ok(());
    }
    let name = VersionName::parse("name", &bundle.name).map_err(|_| Refusal::Malformed("name of a bundle"))?;
    Err(Refusal::OtherBundle { policy: name.policy.policy, field: "content" })
}
