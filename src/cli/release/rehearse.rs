//! Runs the checks of the versions that a dry run would publish, as `policyhub check --server` does.
//!
//! Boundary: only reads. What one of them requires of another is looked for among them first: they would be published together.

use crate::cli::global::Global;
use crate::cli::local_check::{ContentFault, Contents, LocalContent, RuleSource, check_all};
use crate::cli::release::checked_version::CheckedVersion;
use crate::cli::release::inspect::{Inspected, Inspector};
use crate::cli::session::Session;

/// Runs the checks of versions, whose folders are valid. With `allow_backport` each policy takes lower labels.
///
/// # Errors
/// The server does not answer, or a check can't be run.
pub async fn check(
    global: &Global,
    session: &Session,
    inspector: &Inspector<'_>,
    versions: Vec<Inspected>,
    allow_backport: bool,
) -> anyhow::Result<Vec<CheckedVersion>> {
    if versions.is_empty() {
        return Ok(Vec::new());
    }
    let rules = RuleSource::of_server(session, global.server(), allow_backport).await?;
    let (mut keys, mut contents) = (Vec::new(), Contents::default());
    for version in versions {
        // Keys and contents stay in step: a report belongs to the version at its place.
        if let Some(content) = content(inspector, &version).await {
            contents.all.push(content);
            keys.push(version.key);
        }
    }
    let reports = check_all(&rules, &contents, || ()).await?;
    let checked = keys.into_iter().zip(contents.all).zip(reports);
    Ok(checked.map(|((key, content), report)| CheckedVersion { key, content, report }).collect())
}

/// Reads the content of a version; `None` when its folder is broken.
async fn content(inspector: &Inspector<'_>, version: &Inspected) -> Option<LocalContent> {
    let (key, validated) = (&version.key, version.validated.as_ref().ok()?);
    let (path, definition) = (validated.files.path(inspector.git.top(), key), &validated.definition);
    let content = match inspector.content(&validated.files).await {
        Ok(content) => content,
        Err(fault) => {
            let fault = ContentFault::unreadable(fault.why);
            return Some(LocalContent::at_fault(path, key.policy.clone(), Some(key.label.clone()), fault));
        }
    };
    Some(LocalContent {
        path,
        policy: key.policy.clone(),
        said_kind: None,
        kind: Some(definition.kind),
        content_type: definition.content_type.to_owned(),
        content: content.into(),
        label: Some(key.label.clone()),
        annotations: definition.annotations.clone(),
        requires: definition.requires.clone(),
        fault: None,
    })
}
