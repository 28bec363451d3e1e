//! The verification of stored rows: only data that a key signed is served (docs/security.md#t21).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::signer::Signer;
use crate::domain::approval::Approval;
use crate::domain::bundle::{ActiveBundle, Bundle};
use crate::domain::event::{Cursor, Event, EventKind, Payload};
use crate::domain::key::KeyState;
use crate::domain::version::{Version, VersionState};
use crate::domain::{Error, Reason, Result};
use crate::signing::chain::verify_event;
use crate::signing::payload::{Manifest, Statement};
use crate::signing::{TYP_BUNDLE, digest_of, jws, verify_statement};
use crate::store::{ActiveRow, ApprovalRow};
use crate::watch::Verify;

/// Returns the refusal of data that a revoked key signed.
fn by_revoked_key(key_id: &str) -> Error {
    let message =
        format!("it is signed by key {key_id}, which is revoked; have it signed again, or use another version");
    Error::new(Reason::KeyStateWrong, message).with("key_id", key_id).with("state", KeyState::Revoked.as_str())
}

impl Signer {
    /// Verifies a version as `published` does, and that the key of its manifest was not revoked: then it may be activated.
    ///
    /// # Errors
    /// `DATA_LOSS`, `KEY_STATE_WRONG`.
    pub fn publishable(&self, version: &Version) -> Result<()> {
        self.published(version)?;
        self.trusted(&mut std::iter::once(version.manifest.as_str())).map_err(|error| error.about(version.name()))
    }

    /// Verifies that the row of a published version matches its manifest, and that a known key signed the manifest.
    ///
    /// # Errors
    /// `DATA_LOSS`.
    pub fn published(&self, version: &Version) -> Result<Manifest> {
        let invalid = |what: String| Err(Error::data_loss(format!("{}: {what}", version.name())));
        if version.state != VersionState::Published {
            return invalid("it is not published".to_owned());
        }
        let signed = jws::verify(&version.manifest, TYP_BUNDLE, self.view().known());
        let manifest = match signed.and_then(|signed| Manifest::from_bytes(&signed.payload)) {
            Ok(manifest) => manifest,
            Err(error) => return invalid(format!("its manifest does not verify: {error}")),
        };
        let origin = version.origin_manifests.first().map(|origin| digest_of(origin.as_bytes()));
        let same = manifest.store == self.store()
            && manifest.namespace == version.policy.namespace
            && manifest.policy == version.policy.policy
            && manifest.version == version.number
            && manifest.digest == version.digest
            && i64::try_from(manifest.size) == Ok(version.size_bytes)
            && manifest.label == version.label.as_ref().map(ToString::to_string)
            && manifest.content_type == version.content_type
            && manifest.author == version.author
            && manifest.publisher == version.publisher
            && manifest.annotations == version.annotations
            && manifest.requires == version.requires
            && manifest.adopted == version.adopted
            && manifest.template == version.template
            && manifest.origin.as_ref().map(|origin| &origin.manifest) == origin.as_ref();
        if same { Ok(manifest) } else { invalid("its row says something else than its manifest".to_owned()) }
    }
}

impl Signer {
    /// Returns an approval as its event has it. The row must match, because both are written together.
    ///
    /// # Errors
    /// `DATA_LOSS`.
    pub fn approval(&self, row: ApprovalRow) -> Result<Approval> {
        let policy = &row.policy;
        let payload = self.event(&row.event)?;
        let is_given = payload.kind == EventKind::ApproveVersion && payload.policy.as_ref() == Some(&policy.policy);
        if let ([logged], [version]) = (payload.approvals.as_slice(), payload.versions.as_slice())
            && is_given
            && (&version.policy, version.version, &version.digest) == (&policy.policy, row.version, &row.digest)
            && (&payload.actor, payload.time, &payload.reason) == (&row.approver, row.create_time, &row.reason)
            && (&logged.approver, &logged.digest) == (&row.approver, &row.digest)
            && (logged.create_time, logged.expire_time) == (row.create_time, row.expire_time)
            && logged.revision == payload.revision
        {
            return Ok(Approval { reason: row.reason, ..logged.clone() });
        }
        let name = policy.version(row.version);
        Err(Error::data_loss(format!("{name}: event {} is not the approval its row tells of", payload.revision)))
    }
}

impl Signer {
    /// Returns whether a statement puts a version in force at this place of the log of its namespace.
    fn activates(&self, statement: &Statement, version: &Version, at: Cursor) -> bool {
        statement.store == self.store()
            && statement.namespace == version.policy.namespace
            && (statement.epoch, statement.revision) == (at.epoch, at.revision)
            && statement.changes.iter().any(|change| {
                change.policy == version.policy.policy
                    && change.version == version.number
                    && change.digest.as_ref() == Some(&version.digest)
            })
    }
}

impl Verify for Signer {
    fn event(&self, event: &Event) -> Result<Payload> {
        verify_event(event, &self.trust()).map_err(|problem| {
            Error::data_loss(format!("{} event {}: {problem}", event.namespace, event.cursor.revision))
        })
    }

    fn bundle(&self, version: &Version, content: &[u8]) -> Result<()> {
        self.published(version)?;
        if digest_of(content) == version.digest && i64::try_from(content.len()) == Ok(version.size_bytes) {
            return Ok(());
        }
        Err(Error::data_loss(format!("{}: its content is not the one that was signed", version.name())))
    }

    fn trusted(&self, tokens: &mut dyn Iterator<Item = &str>) -> Result<()> {
        let view = self.view();
        if view.none_revoked() {
            return Ok(());
        }
        let revoked = tokens.filter_map(jws::named_key).find(|key_id| view.trusted().is_revoked(key_id));
        revoked.map_or(Ok(()), |key_id| Err(by_revoked_key(&key_id)))
    }

    fn keys_number(&self) -> u64 {
        self.view().number()
    }

    fn key_statements(&self, held: Cursor) -> (Vec<String>, Cursor) {
        let view = self.view();
        (view.statements_after(held).map(str::to_owned).collect(), view.newest_statement_at())
    }

    fn active_bundles(&self, rows: Vec<ActiveRow>) -> Result<Vec<ActiveBundle>> {
        let view = self.view();
        let mut statements: BTreeMap<Cursor, (Arc<str>, Statement)> = BTreeMap::new();
        let verified = |row: ActiveRow| {
            let ActiveRow { version, content, activation, statement } = row;
            self.bundle(&version, &content)?;
            if statements.get(&activation).is_none_or(|(text, _)| *text != statement) {
                let read = verify_statement(&statement, view.known()).map_err(|error| {
                    Error::data_loss(format!("{}: its statement does not verify: {error}", version.name()))
                })?;
                statements.insert(activation, (Arc::clone(&statement), read));
            }
            if !statements.get(&activation).is_some_and(|(_, read)| self.activates(read, &version, activation)) {
                let message = format!("{}: its statement puts something else in force", version.name());
                return Err(Error::data_loss(message));
            }
            let bundle = Arc::new(Bundle { version, content });
            Ok(ActiveBundle { bundle, activation, statement, preview: false })
        };
        rows.into_iter().map(verified).collect()
    }
}
