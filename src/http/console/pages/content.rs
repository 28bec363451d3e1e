//! The exact bytes of a version, as a file.

use crate::api::{pb, request};
use crate::domain::Result;
use crate::domain::access::Rpc;
use crate::http::console::rendered::Rendered;
use crate::http::console::visit::Visit;

/// Answers the bytes.
pub async fn show(visit: &Visit) -> Result<Rendered> {
    let asked = pb::GetVersionRequest { name: visit.version_name(), view: pb::VersionView::Full.into() };
    let context = visit.read(Rpc::GetVersion, &asked).await?;
    let (name, is_full) = request::get_version(&asked)?;
    let found = visit.service().policies.get_version(&context, &name, is_full).await?;
    let name = format!("{}-{}", found.version.policy.policy, found.version.number);
    Ok(Rendered::file(&name, found.content.unwrap_or_default()))
}
