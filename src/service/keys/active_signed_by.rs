//! Which active versions keys signed: what a revocation of one concerns at once.

use super::use_cases::SigningKeys;
use crate::domain::Result;
use crate::domain::name::PolicyName;
use crate::service::proof::public;
use crate::signing::{TYP_ACTIVATION, TYP_BUNDLE, jws};

/// Active versions that are named, of all keys together. More: the page of the keys gets large.
const ACTIVE_NAMED_MAX: u32 = 50;

/// The active versions that some keys signed, or whose activation they signed.
#[derive(Debug, Default)]
pub struct ActiveSignedBy {
    /// Each with the index of the key.
    pub versions: Vec<(usize, PolicyName, i64)>,
    /// Whether there are more than are named.
    pub has_more: bool,
}

impl SigningKeys {
    /// Returns the active versions of all namespaces that keys signed, in one statement. What is active and named twice is by its manifest.
    /// The statement reads everything that is active, so one runs at a time.
    ///
    /// # Errors
    /// `KEY_NOT_FOUND`, `DATABASE_UNAVAILABLE`; `LIMIT_EXCEEDED` while another one runs.
    pub async fn active_signed_by(&self, key_ids: &[&str]) -> Result<ActiveSignedBy> {
        if key_ids.is_empty() {
            return Ok(ActiveSignedBy::default());
        }
        let _slot = self.active_reads.try_take(&(), "read of what keys signed")?;
        let view = self.log.signer.view();
        let (mut manifests, mut statements) = (Vec::new(), Vec::new());
        for key_id in key_ids {
            let key = public(view.ring().get(key_id)?)?;
            manifests.push(jws::head(TYP_BUNDLE, &key)?);
            statements.push(jws::head(TYP_ACTIVATION, &key)?);
        }
        let tx = self.log.store.read().await?;
        let mut versions = tx.active_beginning_with(&manifests, &statements, ACTIVE_NAMED_MAX + 1).await?;
        let has_more = versions.len() > ACTIVE_NAMED_MAX as usize;
        versions.truncate(ACTIVE_NAMED_MAX as usize);
        Ok(ActiveSignedBy { versions, has_more })
    }
}
