//! Fields that many requests share.

use crate::api::shown::shown;
use crate::domain::command::RequestOptions;
use crate::domain::etag::Etag;
use crate::domain::limits::REQUEST_ID_MAX_CHARS;
use crate::domain::name::{INEXACT_VERSION, NamespaceId, PolicyName, PolicyOrVersion, VersionName, VersionRef};
use crate::domain::{Error, Result};

/// Reads `request_id` and `validate_only`.
///
/// # Errors
/// `INVALID_ARGUMENT` for an id that is too long or not printable ASCII.
pub fn request_options(request_id: &str, validate_only: bool) -> Result<RequestOptions> {
    let printable = request_id.bytes().all(|byte| (b'!'..=b'~').contains(&byte));
    if request_id.len() > REQUEST_ID_MAX_CHARS || !printable {
        let rule = format!("must be at most {REQUEST_ID_MAX_CHARS} printable ASCII characters without spaces");
        return Err(Error::invalid("request_id", rule));
    }
    Ok(RequestOptions { request_id: request_id.to_owned(), validate_only })
}

/// Reads the name of a namespace.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn namespace(field: &str, name: &str) -> Result<NamespaceId> {
    NamespaceId::parse_name(field, name)
}

/// Reads the name of a policy.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn policy(field: &str, name: &str) -> Result<PolicyName> {
    PolicyName::parse(field, name)
}

/// Reads the name of a version.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn version(field: &str, name: &str) -> Result<VersionName> {
    VersionName::parse(field, name)
}

/// Reads the name of a version that shall change: by number or label. What `latest` or `active` means may be another version
/// by the time it is done.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub(super) fn exact_version(field: &str, name: &str) -> Result<VersionName> {
    let name = VersionName::parse(field, name)?;
    match name.version {
        VersionRef::Number(_) | VersionRef::Label(_) => Ok(name),
        VersionRef::Active | VersionRef::Latest => Err(Error::invalid(field, INEXACT_VERSION)),
    }
}

/// Reads the name of a version, or that of a policy for its one open draft.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub(super) fn policy_or_version(field: &str, name: &str) -> Result<PolicyOrVersion> {
    if name.contains("/versions/") {
        exact_version(field, name).map(PolicyOrVersion::Version)
    } else {
        PolicyName::parse(field, name).map(PolicyOrVersion::Policy)
    }
}

/// Reads an etag; none when it is empty.
pub(super) fn etag(text: &str) -> Result<Option<Etag>> {
    if text.is_empty() { Ok(None) } else { Etag::parse("etag", text).map(Some) }
}

/// Reads a count that must not be negative.
pub(super) fn count(field: &str, value: i32) -> Result<u32> {
    u32::try_from(value).map_err(|_| Error::invalid(field, "must not be negative"))
}

/// Returns the paths that an update takes (AIP-134, AIP-161): those of its mask; `*` for `all`; without a mask those that are populated, each
/// with whether it is.
///
/// # Errors
/// `INVALID_ARGUMENT` for a path that is none of them, and when it would change nothing.
pub(super) fn update_paths(
    mask: Option<prost_types::FieldMask>,
    all: &[&str],
    populated: &[(&str, bool)],
) -> Result<Vec<String>> {
    let paths = mask.unwrap_or_default().paths;
    if paths == ["*"] {
        return Ok(all.iter().map(ToString::to_string).collect());
    }
    let known = |path: &str| all.contains(&path) || populated.iter().any(|(known, _)| *known == path);
    if let Some(unknown) = paths.iter().find(|path| !known(path.as_str())) {
        let mut taken: Vec<&str> = all.to_vec();
        taken.extend(populated.iter().map(|(path, _)| *path).filter(|path| !all.contains(path)));
        let rule = format!("has {}; it takes {taken:?}, or \"*\" alone", shown(unknown));
        return Err(Error::invalid("update_mask", rule));
    }
    if !paths.is_empty() {
        return Ok(paths);
    }
    let paths: Vec<String> =
        populated.iter().filter(|(_, is_populated)| *is_populated).map(|(path, _)| (*path).to_owned()).collect();
    if paths.is_empty() {
        let nothing = "is empty and no field is populated: name the fields to change, or \"*\" for all of them";
        return Err(Error::invalid("update_mask", nothing));
    }
    Ok(paths)
}
