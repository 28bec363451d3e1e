//! The engines of policies: Cedar and Rego, each a feature of the build. They run in a worker process alone.
//!
//! Boundary: texts in, findings out. Nothing here bounds time, memory or stack: the limits of the process do.

#[cfg(feature = "cedar")]
mod cedar;
#[cfg(feature = "rego")]
mod rego;
#[cfg(feature = "rego")]
mod rego_builtins;
#[cfg(feature = "rego")]
mod rego_error;
#[cfg(feature = "rego")]
mod rego_tests;
mod texts;

use serde::{Deserialize, Serialize};

pub use texts::TextFile;
pub(super) use texts::{file_name, has_extension, is_cedar_schema};

use crate::domain::policy::PolicyKind;
use crate::domain::report::CheckFinding;
use crate::domain::{Error, Reason, Result};

/// An engine that this build has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Engine {
    /// Cedar, by `cedar-policy`.
    #[cfg(feature = "cedar")]
    Cedar,
    /// Rego, by `regorus`.
    #[cfg(feature = "rego")]
    Rego,
}

impl Engine {
    /// Returns the engine of a kind; `None` when it needs none, or this build has none.
    #[must_use]
    pub fn of(kind: PolicyKind) -> Option<Self> {
        match kind {
            #[cfg(feature = "cedar")]
            PolicyKind::Cedar => Some(Self::Cedar),
            #[cfg(feature = "rego")]
            PolicyKind::Rego => Some(Self::Rego),
            _ => None,
        }
    }

    /// Parses every text. An error is a finding; without one, the findings say what the texts hold.
    #[cfg_attr(not(any(feature = "cedar", feature = "rego")), expect(unused_variables, reason = "there is no engine"))]
    pub(super) fn parse(self, files: &[TextFile]) -> Vec<CheckFinding> {
        match self {
            #[cfg(feature = "cedar")]
            Self::Cedar => cedar::parse(files),
            #[cfg(feature = "rego")]
            Self::Rego => rego::parse(files),
        }
    }

    /// Checks what the texts mean together.
    ///
    /// # Errors
    /// They do not parse: why nothing was checked.
    #[cfg_attr(not(any(feature = "cedar", feature = "rego")), expect(unused_variables, reason = "there is no engine"))]
    pub(super) fn check(self, files: &[TextFile]) -> std::result::Result<Vec<CheckFinding>, &'static str> {
        match self {
            #[cfg(feature = "cedar")]
            Self::Cedar => cedar::validate(files),
            #[cfg(feature = "rego")]
            Self::Rego => rego::compile_and_test(files),
        }
    }
}

/// Refuses a kind whose versions could be drafted and never staged, since this build has no parser for it.
///
/// # Errors
/// `UNIMPLEMENTED`, with what works instead.
pub fn check_has_parser(kind: PolicyKind) -> Result<()> {
    if !matches!(kind, PolicyKind::Cedar | PolicyKind::Rego) || Engine::of(kind).is_some() {
        return Ok(());
    }
    let (kind, content_type) = (kind.as_str(), kind.content_type());
    let message = format!(
        "this build has no parser for {kind}: make the policy OPAQUE and draft with content_type {content_type}; \
         its bytes are kept, signed and served, and not checked"
    );
    Err(Error::new(Reason::Unimplemented, message).with("kind", kind))
}
