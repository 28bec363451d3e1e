//! What a version was made from: a template and the parameters that were put into it.
//!
//! Invariant: it is within the bounds of `limits`, wherever it was read from.

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::limits::TEMPLATE_PARAMETERS_MAX_BYTES;
use super::name::PolicyId;

/// Holds which version of a template a content was made from, and with which parameters. It never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "UncheckedSource")]
pub struct TemplateSource {
    policy: PolicyId,
    version: i64,
    digest: Digest,
    /// A text, because the numbers of a manifest are whole, and those of parameters may not be.
    parameters: String,
}

/// Holds the text as it was read.
#[derive(Deserialize)]
struct UncheckedSource {
    policy: String,
    version: i64,
    digest: Digest,
    parameters: String,
}

impl TemplateSource {
    /// Makes one of the version of a template, its digest, and the parameters: a JSON object as text, its members in order.
    ///
    /// # Errors
    /// The number is below 1, or the parameters are over `TEMPLATE_PARAMETERS_MAX_BYTES`.
    pub fn new(policy: PolicyId, version: i64, digest: Digest, parameters: String) -> Result<Self, String> {
        if version < 1 {
            return Err("version is below 1".to_owned());
        }
        if parameters.len() > TEMPLATE_PARAMETERS_MAX_BYTES {
            return Err(format!("parameters are over {TEMPLATE_PARAMETERS_MAX_BYTES} bytes"));
        }
        Ok(Self { policy, version, digest, parameters })
    }

    /// Returns the policy of the template, in the namespace of the version.
    #[must_use]
    pub fn policy(&self) -> &PolicyId {
        &self.policy
    }

    /// Returns the number of the template's version.
    #[must_use]
    pub fn version(&self) -> i64 {
        self.version
    }

    /// Returns the digest of the template's content.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Returns the parameters as the text of a JSON object.
    #[must_use]
    pub fn parameters(&self) -> &str {
        &self.parameters
    }
}

impl TryFrom<UncheckedSource> for TemplateSource {
    type Error = String;

    fn try_from(UncheckedSource { policy, version, digest, parameters }: UncheckedSource) -> Result<Self, String> {
        let policy = PolicyId::parse("policy", &policy).map_err(|error| error.message)?;
        Self::new(policy, version, digest, parameters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_written_and_read_within_its_bounds() {
        let digest = Digest::from_sha256(&[7; 32]);
        let policy = PolicyId::parse("policy", "limits").expect("an id");
        let source = TemplateSource::new(policy, 3, digest.clone(), r#"{"max":0.5}"#.to_owned()).expect("a source");
        let text = serde_json::to_string(&source).expect("JSON");
        let written =
            format!(r#"{{"policy":"limits","version":3,"digest":"{digest}","parameters":"{{\"max\":0.5}}"}}"#);
        assert_eq!(text, written);
        assert_eq!(serde_json::from_str::<TemplateSource>(&text).ok(), Some(source));
        let long = "x".repeat(TEMPLATE_PARAMETERS_MAX_BYTES + 1);
        for (from, to) in [
            ("limits", "../limits"),
            (r#""version":3"#, r#""version":0"#),
            ("sha256", "sha1"),
            (r#""{\"max\":0.5}""#, "{}"),
            (r#"{\"max\":0.5}"#, &long),
        ] {
            assert!(text.contains(from), "{from}");
            assert!(serde_json::from_str::<TemplateSource>(&text.replace(from, to)).is_err(), "{from}");
        }
    }
}
