//! The part of VerifyLog about imported history: each one is verified completely, by the keys of its own store, up to the head that the
//! import names.

use super::source_log::read_imported_log;
use super::use_cases::Archive;
use crate::domain::event::Head;
use crate::domain::import::Import;
use crate::domain::name::NamespaceId;
use crate::domain::{Error, Reason, Result};
use crate::signing::chain::LogCheck;
use crate::signing::digest_of;
use crate::store::ReadTx;

/// Returns the value. A row that does not verify becomes a finding and does not fail the check.
fn note_if_invalid<T>(check: &mut LogCheck, row: &str, read: Result<T>) -> Result<Option<T>> {
    match read {
        Err(Error { reason: Reason::DataLoss, internal, message, .. }) => {
            check.findings.add(0, row, internal.unwrap_or(message));
            Ok(None)
        }
        read => read.map(Some),
    }
}

impl Archive {
    /// Compares imported events with the rows of the imports, which were compared with the log before.
    pub(super) async fn compare_imports(
        &self,
        tx: &ReadTx,
        namespace: &NamespaceId,
        check: &mut LogCheck,
    ) -> Result<()> {
        let read = tx.imports(namespace).await;
        let Some(imports) = note_if_invalid(check, "imports", read)? else { return Ok(()) };
        for position in tx.imported_positions(namespace).await? {
            if !imports.iter().any(|import| import.position == position) {
                check.findings.add(0, &format!("imported_events {position}"), "no import has them");
            }
        }
        let is_unfinished = imports.iter().any(|import| !import.is_finished);
        if tx.is_importing(namespace).await? != is_unfinished {
            let row = format!("namespaces {namespace}");
            check.findings.add(0, &row, "it says something else than its imports do about one that is not finished");
        }
        for import in imports {
            self.compare_import(tx, namespace, &import, check).await?;
        }
        Ok(())
    }

    async fn compare_import(
        &self,
        tx: &ReadTx,
        namespace: &NamespaceId,
        import: &Import,
        check: &mut LogCheck,
    ) -> Result<()> {
        let row = format!("imported_events {}", import.position);
        let read = read_imported_log(tx, namespace, import).await;
        let Some(imported) = note_if_invalid(check, &row, read)? else { return Ok(()) };
        for finding in &imported.findings.kept {
            let (name, stored) = (format!("{row}/{}", finding.revision), finding.digest.clone());
            check.findings.add_found(0, &name, &finding.message, stored);
        }
        let reached: Head = imported.head();
        if reached != import.reached || (import.is_finished && reached != import.source.head) {
            check.findings.add_found(0, &row, "they do not end where the import says", Some(digest_of(&reached.hash)));
        }
        Ok(())
    }
}
