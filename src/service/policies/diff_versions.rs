//! DiffVersions.

use super::use_cases::Policies;
use crate::checks;
use crate::domain::bundle::Bundle;
use crate::domain::limits::DIFFERENCE_MAX_BYTES;
use crate::domain::name::VersionName;
use crate::domain::policy::PolicyKind;
use crate::domain::version::{VersionDifference, VersionWithContent};
use crate::domain::{Error, Result};
use crate::service::checking::run_blocking;

impl Policies {
    /// Compares two versions of one policy.
    ///
    /// # Errors
    /// The same as `get_version`; `INVALID_ARGUMENT` for versions of two policies.
    pub async fn diff_versions(&self, from: &VersionName, to: &VersionName) -> Result<VersionDifference> {
        if from.policy != to.policy {
            return Err(Error::invalid("to", "must be a version of the same policy as `from`"));
        }
        let tx = self.log.store.read().await?;
        let (policy, old) = self.log.resolve_version(&tx, from).await?;
        let (_, new) = self.log.resolve_version(&tx, to).await?;
        let old = Bundle { content: self.log.read_content(&tx, &old).await?, version: old };
        let new = Bundle { content: self.log.read_content(&tx, &new).await?, version: new };
        drop(tx);
        let active_version = policy.active_version;
        let slot = self.checks.contents.slots.take(&from.policy.namespace).await?;
        let (_slot, (old, new, unified, json_patch)) =
            run_blocking(slot, move || compare(policy.kind, old, new)).await?;
        let without_content = |side: Bundle| VersionWithContent {
            active: side.version.number == active_version,
            version: side.version,
            content: None,
            approvals: Vec::new(),
        };
        let fits = |text: &String| text.len() <= DIFFERENCE_MAX_BYTES;
        let too_large = !fits(&unified) || !fits(&json_patch);
        let [unified, json_patch] = [unified, json_patch].map(|text| Some(text).filter(fits).unwrap_or_default());
        Ok(VersionDifference { from: without_content(old), to: without_content(new), unified, json_patch, too_large })
    }
}

/// Compares two versions; it runs on a blocking thread.
fn compare(kind: PolicyKind, old: Bundle, new: Bundle) -> (Bundle, Bundle, String, String) {
    let parse = |side: &Bundle| checks::parse(kind, &side.content).ok().flatten();
    let json_patch = match (parse(&old), parse(&new)) {
        (Some(old), Some(new)) => checks::diff::json_patch(&old.value, &new.value),
        _ => String::new(),
    };
    let unified = checks::diff::unified(&old.version.name(), &old.content, &new.version.name(), &new.content);
    (old, new, unified, json_patch)
}
