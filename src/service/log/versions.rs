//! Finds versions by name, and reads their proven contents.

use bytes::Bytes;

use super::reader::LogReader;
use crate::domain::lifecycle;
use crate::domain::name::{VersionName, VersionRef};
use crate::domain::policy::Policy;
use crate::domain::version::{Version, VersionState};
use crate::domain::{Error, Result};
use crate::signing::digest_of;
use crate::store::ReadTx;
use crate::watch::Verify as _;

impl LogReader {
    /// Finds the version of a name, and its policy.
    pub async fn resolve_version(&self, tx: &ReadTx, name: &VersionName) -> Result<(Policy, Version)> {
        let policy = tx.policy(&name.policy).await?;
        let version = match &name.version {
            VersionRef::Number(number) => tx.version(&name.policy, *number).await?,
            VersionRef::Label(label) => tx.labelled(&name.policy, label).await?,
            VersionRef::Latest => tx.version(&name.policy, policy.latest_version).await?,
            VersionRef::Active if policy.active_version == 0 => return Err(lifecycle::no_active(&name.policy)),
            VersionRef::Active => tx.version(&name.policy, policy.active_version).await?,
        };
        Ok((policy, version))
    }

    /// Reads the content of a version, and proves that it is the accepted bytes.
    pub async fn read_content(&self, tx: &ReadTx, version: &Version) -> Result<Bytes> {
        let content = tx.content(&version.digest).await?;
        if version.state == VersionState::Published {
            self.signer.bundle(version, &content)?;
        } else if digest_of(&content) != version.digest {
            return Err(Error::data_loss(format!("{}: its content is not that of its digest", version.name())));
        }
        Ok(content)
    }
}
