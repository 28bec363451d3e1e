//! DiffVersions: what differs between two versions of a policy, by line, by field and as a JSON Patch.

use super::use_cases::Policies;
use crate::checks;
use crate::checks::content_tar::{self, ContentFile};
use crate::checks::diff::LineDifferences;
use crate::domain::bundle::Bundle;
use crate::domain::limits::DIFFERENCE_MAX_BYTES;
use crate::domain::name::VersionName;
use crate::domain::policy::{PolicyKind, is_of_several_files};
use crate::domain::version::{FieldDifferences, VersionDifference, VersionWithContent};
use crate::domain::{Error, Result};
use crate::service::checking::{SlotUse, run_blocking};

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
        let slot = self.checks.contents.slots.take(SlotUse::Comparison, &from.policy.namespace).await?;
        let (_slot, Compared { old, new, lines, json_patch, fields }) =
            run_blocking(slot, move || compare(policy.kind, old, new)).await?;
        let without_content = |side: Bundle| VersionWithContent {
            active: side.version.number == active_version,
            version: side.version,
            content: None,
            approvals: Vec::new(),
        };
        let fits = |text: &String| text.len() <= DIFFERENCE_MAX_BYTES;
        let LineDifferences { unified, side_by_side } = lines;
        let too_large = !fits(&unified) || !fits(&json_patch);
        let [unified, json_patch] = [unified, json_patch].map(|text| Some(text).filter(fits).unwrap_or_default());
        Ok(VersionDifference {
            from: without_content(old),
            to: without_content(new),
            unified,
            json_patch,
            too_large,
            fields,
            side_by_side,
        })
    }
}

/// Two versions and what differs.
struct Compared {
    old: Bundle,
    new: Bundle,
    lines: LineDifferences,
    json_patch: String,
    fields: Option<FieldDifferences>,
}

/// Compares two versions; it runs on a blocking thread.
fn compare(kind: PolicyKind, old: Bundle, new: Bundle) -> Compared {
    let document =
        |side: &Bundle| checks::document_of(kind, is_of_several_files(&side.version.content_type), &side.content);
    let (json_patch, fields) = match (document(&old), document(&new)) {
        (Some(old), Some(new)) => {
            let fields = checks::field_differences(&old.value, &new.value);
            (checks::diff::json_patch(&old.value, &new.value), Some(fields))
        }
        _ => (String::new(), None),
    };
    let (old_files, new_files) = (files(kind, &old), files(kind, &new));
    let from = checks::diff::Side { name: &old.version.name(), files: &old_files };
    let to = checks::diff::Side { name: &new.version.name(), files: &new_files };
    let lines = checks::diff::compare_lines(&from, &to);
    drop((old_files, new_files));
    Compared { old, new, lines, json_patch, fields }
}

/// Returns the files of a content. One that can't be read as several files is compared as it is.
fn files(kind: PolicyKind, side: &Bundle) -> Vec<ContentFile<'_>> {
    let has_several = kind.may_have_several_files() && is_of_several_files(&side.version.content_type);
    content_tar::files_or_whole(&side.content, has_several)
}
