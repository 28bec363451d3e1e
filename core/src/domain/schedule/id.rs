//! Names of schedules.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::error::{Error, Reason, Result};
use crate::domain::name::{NamespaceId, PolicyId, parse_member};

/// The collection of schedules in a namespace.
const COLLECTION: &str = "schedules";

/// Id of a schedule, by the grammar of the id of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ScheduleId(String);

/// A schedule in its namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ScheduleName {
    /// The tenant.
    pub namespace: NamespaceId,
    /// The schedule.
    pub id: ScheduleId,
}

impl ScheduleId {
    /// Takes an id; `field` is named in the error.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        PolicyId::parse(field, text).map_err(|_| {
            Error::invalid_text(field, text, "schedule id must match ^[a-z]([a-z0-9_-]{0,61}[a-z0-9])?$")
        })?;
        Ok(Self(text.to_owned()))
    }

    /// Returns the id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name in a namespace.
    #[must_use]
    pub fn name(&self, namespace: &NamespaceId) -> String {
        format!("{}/{COLLECTION}/{}", namespace.name(), self.0)
    }
}

impl ScheduleName {
    /// Takes `namespaces/{namespace}/schedules/{schedule}`.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        let (namespace, id) = parse_member(field, text, COLLECTION)?;
        Ok(Self { namespace, id: ScheduleId::parse(field, id)? })
    }

    /// Returns the error for a schedule that is not there.
    #[must_use]
    pub fn not_found(&self) -> Error {
        Error::new(Reason::ScheduleNotFound, format!("{self} does not exist")).about(self)
    }
}

impl fmt::Display for ScheduleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ScheduleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id.name(&self.namespace))
    }
}
