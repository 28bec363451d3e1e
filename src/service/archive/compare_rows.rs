//! The part of VerifyLog about rows: each is compared with the log.

use std::collections::BTreeMap;

use super::use_cases::Archive;
use crate::domain::digest::Digest;
use crate::domain::name::{NamespaceId, PolicyId, SYSTEM_NAMESPACE};
use crate::domain::version::VersionState;
use crate::domain::{Reason, Result};
use crate::service::log::prove_bindings;
use crate::signing::chain::{LogCheck, RowState};
use crate::signing::digest_of;
use crate::store::{ReadTx, StoredRow, decides};

impl Archive {
    /// Compares pointers, rows and published versions with the state that the log adds up to. Returns how many rows were compared.
    pub(super) async fn compare_rows(&self, tx: &ReadTx, namespace: &NamespaceId, check: &mut LogCheck) -> Result<i64> {
        let mut stored = tx.pointers(namespace).await?;
        for (policy, pointer) in &check.pointers {
            let at = stored.remove(policy.as_str());
            if at != Some((pointer.version, pointer.revision)) {
                let row = format!("policies {policy}");
                let message = format!("its pointer is not at {}", pointer.version);
                check.findings.add_found(pointer.revision, &row, message, at.map(pointer_digest));
            }
        }
        for (policy, at) in stored {
            let (row, message) = (format!("policies {policy}"), "its pointer moved without an event");
            check.findings.add_found(0, &row, message, Some(pointer_digest(at)));
        }
        compare_index(check, &tx.row_changes(namespace).await?);
        let mut rows = 0;
        tx.stored_rows(namespace, |row| {
            rows += 1;
            compare_row(check, row);
        })
        .await?;
        self.find_lost_revocations(tx, namespace, check).await?;
        for ((table, key), written) in std::mem::take(&mut check.rows) {
            if written.digest.is_some() {
                check.findings.add(written.revision, &format!("{table} {key}"), "it is not there");
            }
        }
        self.compare_namespace(tx, namespace, check).await?;
        self.compare_imports(tx, namespace, check).await?;
        self.compare_bundles(tx, namespace, check).await?;
        Ok(rows)
    }

    /// Compares the row of the namespace: its usage, and which event changed a role binding last.
    async fn compare_namespace(&self, tx: &ReadTx, namespace: &NamespaceId, check: &mut LogCheck) -> Result<()> {
        let row = format!("namespaces {namespace}");
        let (stated, counted) = tx.usage(namespace).await?;
        if stated != counted {
            check.findings.add(0, &row, format!("it says it uses {stated:?}, and uses {counted:?}"));
        }
        let Some(state) = tx.log_state(namespace).await? else { return Ok(()) };
        match prove_bindings(&self.log.signer, tx, namespace, state).await {
            Err(error) if error.reason == Reason::DataLoss => {
                check.findings.add(0, &row, error.internal.unwrap_or(error.message));
            }
            proven => drop(proven?),
        }
        Ok(())
    }

    /// Verifies every published version, with the bytes that were signed.
    async fn compare_bundles(&self, tx: &ReadTx, namespace: &NamespaceId, check: &mut LogCheck) -> Result<()> {
        let mut after = None;
        loop {
            let (page, next) = tx.published_page(namespace, after).await?;
            for version in page {
                let row = format!("versions {}/{}", version.policy.policy, version.number);
                match (self.log.signer.published(&version), tx.content(&version.digest).await) {
                    (Ok(_), Ok(content)) => {
                        check.content(&content);
                        check.manifest(&version.policy.policy, version.number, &version.manifest);
                    }
                    (Err(error), _) | (_, Err(error)) => {
                        let stored = Some(digest_of(version.manifest.as_bytes()));
                        check.findings.add_found(0, &row, error.internal.unwrap_or(error.message), stored);
                    }
                }
            }
            if next.is_none() {
                check.end();
                return Ok(());
            }
            after = next;
        }
    }
}

/// Compares the index of rows, by which decisions find events, with the newest event about each row.
fn compare_index(check: &mut LogCheck, index: &BTreeMap<(String, String), i64>) {
    let LogCheck { rows, findings, .. } = check;
    for ((table, key), written) in rows.iter().filter(|((table, _), _)| decides(table)) {
        let leads_to = index.get(&(table.clone(), key.clone()));
        if leads_to != Some(&written.revision) {
            let message = "the index of rows leads to another event";
            let found = leads_to.map(|revision| digest_of(&revision.to_be_bytes()));
            findings.add_found(written.revision, &format!("{table} {key}"), message, found);
        }
    }
    for (table, key) in index.keys().filter(|name| !rows.contains_key(*name)) {
        findings.add(0, &format!("{table} {key}"), "the index of rows has what no event wrote");
    }
}

/// Compares a row with the newest event about it.
fn compare_row(check: &mut LogCheck, found: StoredRow) {
    let StoredRow { row, is_authentic } = found;
    let name = format!("{} {}", row.table, row.key);
    let revision_of = |written: &Option<RowState>| written.as_ref().map_or(0, |written| written.revision);
    let written = check.rows.remove(&(row.table.clone(), row.key.clone()));
    let revision = revision_of(&written);
    if !is_authentic {
        let message = "its tag does not hold: this server did not write it";
        return check.findings.add_found(revision, &name, message, row.digest);
    }
    if written.is_some_and(|written| written.digest == row.digest) || may_differ(check, &row.table, &row.key) {
        return;
    }
    let message = if revision == 0 { "no event wrote it" } else { "the newest event about it wrote something else" };
    check.findings.add_found(revision, &name, message, row.digest);
}

/// Returns the digest of a pointer: its version, and the revision that moved it.
fn pointer_digest((version, revision): (i64, i64)) -> Digest {
    digest_of(format!("{version} {revision}").as_bytes())
}

/// Returns whether a row is written without an event: that of the namespace `system`, when the store is created, and reports of failed
/// checks, which only unpublished versions have.
fn may_differ(check: &LogCheck, table: &str, key: &str) -> bool {
    match table {
        "namespaces" => key == SYSTEM_NAMESPACE,
        "reports" => {
            let Some((policy, number)) = key.rsplit_once('/') else { return false };
            let Ok(policy) = PolicyId::parse("policy", policy) else { return false };
            let state = number.parse().ok().and_then(|number| check.versions.get(&(policy, number)));
            state.is_some_and(|(state, _)| *state != VersionState::Published)
        }
        _ => false,
    }
}
