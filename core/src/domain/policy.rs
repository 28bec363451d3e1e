//! Policies and what their owners decide about them.

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use super::etag::Etag;
use super::name::{PolicyId, PolicyName};
use super::time::Micros;

/// The media type of a content of several files: a tar of format ustar. No type is registered for it; this is the one that is in use.
pub const FILES_CONTENT_TYPE: &str = "application/x-tar";

/// The language of a policy's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[cfg_attr(not(feature = "exhaustive"), non_exhaustive)]
pub enum PolicyKind {
    /// One JSON document, or several files of one each.
    Json,
    /// One YAML document.
    Yaml,
    /// A Cedar policy set: one file, or several with their schema.
    Cedar,
    /// A Rego module, or several with their tests and data.
    Rego,
    /// Any bytes.
    Opaque,
    /// One JSON or YAML document from which contents of other policies are made.
    Template,
}

/// How a label must follow the highest published one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum BumpRule {
    /// Any higher one.
    #[default]
    Any,
    /// Exactly one step.
    Next,
}

/// The owner's decisions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicySettings {
    /// Open drafts at once; 0: no limit.
    pub max_open_drafts: u32,
    /// JSON Schema as JSON text; empty: none.
    pub json_schema: String,
    /// Whether a label may be lower than one already published.
    pub allow_backport: bool,
    /// How a label must follow the highest published one.
    pub bump_rule: BumpRule,
    /// Whether GetActive may serve a draft, marked as such, when nothing is active.
    pub allow_draft_fallback: bool,
    /// Approvals that Publish needs.
    pub required_approvals: u32,
    /// Whether a draft needs a change note. Left out when not, so that the text of older settings stays the same.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub require_change_note: bool,
    /// Whether a draft must start from the version that is active then. Left out when not, for the same reason.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub require_base_active: bool,
    /// Names of the members of JSON and YAML contents that hold references; empty: `DEFAULT_REFERENCE_KEY` alone. Left out when it is
    /// empty, for the same reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reference_keys: Vec<String>,
}

/// Name of the members that hold references, unless the settings of a policy name others.
pub const DEFAULT_REFERENCE_KEY: &str = "source_pointer";

impl PolicySettings {
    /// Returns the names of the members that hold references.
    pub fn reference_keys(&self) -> impl Iterator<Item = &str> {
        let default = self.reference_keys.is_empty().then_some(DEFAULT_REFERENCE_KEY);
        self.reference_keys.iter().map(String::as_str).chain(default)
    }
}

/// A named line of versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Its name.
    pub name: PolicyName,
    /// Its language.
    pub kind: PolicyKind,
    /// Text for people.
    pub description: String,
    /// The owner's decisions.
    pub settings: PolicySettings,
    /// The highest number ever used; 0 before the first draft.
    pub latest_version: i64,
    /// The version in force; 0: none.
    pub active_version: i64,
    /// The revision that moved the pointer last; 0: never.
    pub active_revision: i64,
    /// The number of writes: every change of description or settings raises it.
    #[serde(rename = "etag")]
    pub edits: i64,
    /// The time at which it was created.
    pub create_time: Micros,
    /// The time at which description or settings changed last.
    pub update_time: Micros,
}

/// A policy as the event of its import records it: as much as later decisions need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedPolicy {
    /// The policy.
    pub policy: PolicyId,
    /// The number of writes in the store that it comes from.
    #[serde(rename = "etag")]
    pub edits: i64,
    /// The highest number that was used where it is from.
    pub latest_version: i64,
    /// Approvals that Publish needs.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub required_approvals: u32,
    /// Open drafts at once; 0: no limit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub max_open_drafts: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl From<&Policy> for ImportedPolicy {
    fn from(policy: &Policy) -> Self {
        Self {
            policy: policy.name.policy.clone(),
            edits: policy.edits,
            latest_version: policy.latest_version,
            required_approvals: policy.settings.required_approvals,
            max_open_drafts: policy.settings.max_open_drafts,
        }
    }
}

impl Policy {
    /// Returns a policy as it begins: no version, nothing active, settings of its own to come.
    #[must_use]
    pub fn new(name: PolicyName, kind: PolicyKind, now: Micros) -> Self {
        Self {
            name,
            kind,
            description: String::new(),
            settings: PolicySettings::default(),
            latest_version: 0,
            active_version: 0,
            active_revision: 0,
            edits: 1,
            create_time: now,
            update_time: now,
        }
    }

    /// Returns its etag: which policy it is, and which of its descriptions and settings. A pointer that moves leaves it as it is.
    #[must_use]
    pub fn etag(&self) -> Etag {
        Etag::derive(
            "policy",
            &[
                self.name.to_string().as_bytes(),
                &self.create_time.0.to_be_bytes(),
                // After a restored backup another change may be counted by the same number.
                &self.update_time.0.to_be_bytes(),
                &self.edits.to_be_bytes(),
            ],
        )
    }
}

/// Returns whether a media type is that of a content of several files.
#[must_use]
pub fn is_of_several_files(content_type: &str) -> bool {
    essence(content_type) == FILES_CONTENT_TYPE
}

fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

impl PolicyKind {
    /// Returns the kind of a media type: JSON and YAML by RFC 8259, RFC 9512 and their `+json`, `+yaml` suffixes.
    #[must_use]
    pub fn of_content_type(content_type: &str) -> Self {
        match essence(content_type).as_str() {
            "application/json" | "text/json" => Self::Json,
            "application/yaml" | "application/x-yaml" | "text/yaml" | "text/x-yaml" => Self::Yaml,
            "application/vnd.cedar" => Self::Cedar,
            "application/vnd.openpolicyagent.rego" | "application/rego" => Self::Rego,
            "application/vnd.policyhub.template+json" | "application/vnd.policyhub.template+yaml" => Self::Template,
            other if other.ends_with("+json") => Self::Json,
            other if other.ends_with("+yaml") => Self::Yaml,
            _ => Self::Opaque,
        }
    }

    /// Returns the kind of a policy that is made for a draft: said, or that of the content type. Bytes of no known kind are not called OPAQUE
    /// by a caller's silence.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when neither is said, or only that the content has several files.
    pub fn of_draft(said: Option<Self>, content_type: &str) -> Result<Self> {
        if said.is_none() && content_type.is_empty() {
            let rule = "is required to make the policy, or kind is: application/yaml, application/json, or kind OPAQUE for bytes \
                        that are not checked";
            return Err(Error::invalid("content_type", rule));
        }
        if said.is_none() && is_of_several_files(content_type) {
            let rule = "is required to make the policy: several files may be of kind CEDAR, REGO or JSON, or OPAQUE for bytes that \
                        are not checked";
            return Err(Error::invalid("kind", rule));
        }
        Ok(said.unwrap_or_else(|| Self::of_content_type(content_type)))
    }

    /// Every kind, in the order of the proto.
    pub const ALL: [Self; 6] = [Self::Json, Self::Yaml, Self::Cedar, Self::Rego, Self::Opaque, Self::Template];

    /// Returns the word for it, as in the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Yaml => "YAML",
            Self::Cedar => "CEDAR",
            Self::Rego => "REGO",
            Self::Opaque => "OPAQUE",
            Self::Template => "TEMPLATE",
        }
    }

    /// Returns whether a content may have several files.
    #[must_use]
    pub fn may_have_several_files(self) -> bool {
        matches!(self, Self::Json | Self::Cedar | Self::Rego)
    }

    /// Refuses a media type of another language. OPAQUE content may have any; a template is a JSON or YAML document, so it may have theirs.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, with both.
    pub fn check_content_type(self, content_type: &str) -> Result<()> {
        let of_type = Self::of_content_type(content_type);
        let is_of_it = of_type == self
            || (self == Self::Template && matches!(of_type, Self::Json | Self::Yaml))
            || (self.may_have_several_files() && is_of_several_files(content_type));
        if self == Self::Opaque || content_type.is_empty() || is_of_it {
            return Ok(());
        }
        let (kind, own) = (self.as_str(), self.content_type());
        let rule = format!("{content_type:?} is no type of a {kind} policy: send {own}, or leave it empty");
        Err(Error::invalid("content_type", rule))
    }

    /// Refuses a JSON Schema that nothing would enforce.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`.
    pub fn check_json_schema(self, schema: &str) -> Result<()> {
        if schema.is_empty() || matches!(self, Self::Json | Self::Yaml) {
            return Ok(());
        }
        let rule = format!("is enforced on JSON and YAML alone, and the policy is {}", self.as_str());
        Err(Error::invalid("policy.settings.json_schema", rule))
    }

    /// Returns the media type of content whose author gave none.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Cedar => "application/vnd.cedar",
            Self::Rego => "application/vnd.openpolicyagent.rego",
            Self::Opaque => "application/octet-stream",
            Self::Template => "application/vnd.policyhub.template+yaml",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_from_before_have_the_same_text_and_read_their_default() {
        let text = serde_json::to_string(&PolicySettings::default()).expect("JSON");
        let added = ["reference_keys", "require_change_note", "require_base_active"];
        assert!(!added.iter().any(|setting| text.contains(setting)), "{text}");
        let keys = |text: &str| -> Vec<String> {
            let settings: PolicySettings = serde_json::from_str(text).expect("settings");
            settings.reference_keys().map(str::to_owned).collect()
        };
        assert_eq!(keys(&text), [DEFAULT_REFERENCE_KEY]);
        assert_eq!(keys(r#"{"reference_keys":["see"]}"#), ["see"]);
    }
}
