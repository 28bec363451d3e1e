//! The request to publish many versions, each by itself.

use serde::Serialize;

use crate::domain::Result;
use crate::domain::etag::Etag;
use crate::domain::name::{NamespaceId, PolicyOrVersion};

/// Publishes versions of one namespace, in this order.
#[derive(Debug, Clone, Serialize)]
pub struct PublishVersions {
    /// The namespace that all of them are in.
    pub namespace: NamespaceId,
    /// Names the versions, at least one.
    pub versions: Vec<VersionToPublish>,
    /// Why, for the event of each.
    pub reason: String,
}

/// Names one version of the request.
#[derive(Debug, Clone, Serialize)]
pub struct VersionToPublish {
    /// The name as it was sent: the result repeats it.
    pub name: String,
    /// The etag as it was sent.
    pub etag: String,
    /// The meaning of both, or why this version is refused. The two texts stand in for it in the fingerprint of the request.
    #[serde(skip)]
    pub target: Result<(PolicyOrVersion, Option<Etag>)>,
}
