//! Checks whether the server's role has the rights that docs/operations/deploy.md lists. With some missing, the server serves until it
//! needs them.

use sea_orm::{ConnectionTrait as _, Statement};

use crate::domain::Result;
use crate::store::error::failed;
use crate::store::handle::Store;

/// The tables of the schema.
const TABLES: [&str; 25] = [
    "approvals",
    "contents",
    "denials",
    "events",
    "guardrails",
    "idempotency",
    "imported_events",
    "imports",
    "manifests",
    "namespaces",
    "pointer_changes",
    "policies",
    "replicas",
    "reports",
    "revoked_tokens",
    "role_bindings",
    "row_changes",
    "run_ends",
    "run_policies",
    "runs",
    "schedules",
    "signing_keys",
    "store_meta",
    "subscribers",
    "versions",
];
/// The rights that the role needs on each of them.
const RIGHTS: [&str; 4] = ["SELECT", "INSERT", "UPDATE", "DELETE"];

/// Builds the query for the missing rights, as one text.
fn missing() -> String {
    let list = |names: &[&str]| names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ");
    format!(
        "SELECT coalesce(string_agg(priv || ' on ' || tab, ', ' ORDER BY tab, priv), '') \
         FROM unnest(ARRAY[{}]) AS tab, unnest(ARRAY[{}]) AS priv \
         WHERE NOT has_table_privilege(to_regclass(tab), priv)",
        list(&TABLES),
        list(&RIGHTS)
    )
}

impl Store {
    /// Returns the rights that the server's role lacks in the database; none when it has all. SQLite has no rights.
    #[must_use]
    pub fn missing_rights(&self) -> Option<String> {
        self.inner.health.write_blockers.missing_rights()
    }

    /// Reads which rights are missing.
    pub(in crate::store) async fn look_for_rights(&self) -> Result<()> {
        let reader = self.reader()?;
        let asked = Statement::from_string(reader.get_database_backend(), missing());
        let row = reader.query_one_raw(asked).await.map_err(failed)?;
        let found: Option<String> = row.map(|row| row.try_get_by_index(0)).transpose().map_err(failed)?;
        self.inner.health.write_blockers.note_missing_rights(found.filter(|missing| !missing.is_empty()));
        Ok(())
    }
}
