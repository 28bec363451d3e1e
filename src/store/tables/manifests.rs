//! Manifests of published versions: the first one is the version's own for ever, later ones stand beside it.
//!
//! Whoever reads a version gets the newest of them. Which key made one is read from how it begins, since a key's tokens of
//! one kind all begin the same; nothing here verifies anything.

use sea_orm::sea_query::{Expr, SimpleExpr};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, EntityTrait as _, Iterable as _, QueryFilter as _, QuerySelect as _,
    Select, Statement,
};

use crate::domain::Result;
use crate::domain::event::Event;
use crate::domain::name::{NamespaceId, PolicyId};
use crate::domain::time::Micros;
use crate::store::entity::{events, manifests, versions};
use crate::store::error::failed;
use crate::store::tables::rows;
use crate::store::transaction::views::{ReadTx, WriteTx};

/// Rows that one statement looks at. A statement has 2.4 s.
pub const VERSIONS_PER_SCAN: usize = 2_000;

/// The manifest that counts, of a row of `versions`.
const NEWEST: &str = "COALESCE((SELECT m.manifest FROM manifests m WHERE m.namespace = versions.namespace \
     AND m.policy = versions.policy AND m.number = versions.number ORDER BY m.revision DESC LIMIT 1), versions.manifest)";

/// Published versions of a namespace after a key, and how their newest manifest begins.
const SCAN: &str = "SELECT versions.policy, versions.number, substr(";
const SCAN_FROM: &str = ", 1, $4) FROM versions WHERE versions.namespace = $1 AND versions.state = 'PUBLISHED' \
     AND (versions.policy, versions.number) > ($2, $3) ORDER BY versions.policy, versions.number LIMIT $5";

/// What policies point to, how the manifest begins, and how the statement begins that moved the pointer there.
const SCAN_ACTIVE: &str = "SELECT versions.policy, versions.number, substr(";
const SCAN_ACTIVE_FROM: &str = ", 1, $3) AS manifest_head, substr(e.statement, 1, $4) AS statement_head \
     FROM policies p JOIN versions ON versions.namespace = p.namespace AND versions.policy = p.id \
     AND versions.number = p.active_version JOIN events e ON e.namespace = p.namespace AND e.revision = p.active_revision \
     WHERE p.namespace = $1 AND p.active_version > 0 AND p.id > $2 ORDER BY p.id LIMIT $5";

/// A version and what its tokens begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begins {
    /// Its policy.
    pub policy: PolicyId,
    /// Its number.
    pub number: i64,
    /// The beginning of its newest manifest.
    pub manifest: String,
    /// The beginning of the statement that put it in force; empty when that was not asked for.
    pub statement: String,
}

/// Rows of `versions`, each with the manifest that counts.
pub(in crate::store) fn with_newest_manifest(query: Select<versions::Entity>) -> Select<versions::Entity> {
    use versions::Column as V;
    let columns = V::iter().filter(|column| !matches!(column, V::Manifest));
    query.select_only().columns(columns).column_as(newest(), V::Manifest)
}

fn newest() -> SimpleExpr {
    Expr::cust(NEWEST)
}

impl ReadTx {
    /// Returns how the manifests of published versions begin, in the order of the policies, after a key, at most
    /// `VERSIONS_PER_SCAN`.
    pub async fn manifest_heads(
        &self,
        namespace: &NamespaceId,
        after: Option<&(PolicyId, i64)>,
        head_chars: usize,
    ) -> Result<Vec<Begins>> {
        let (policy, number) = after.map_or(("", 0), |(policy, number)| (policy.as_str(), *number));
        let values = [
            namespace.as_str().into(),
            policy.into(),
            number.into(),
            chars(head_chars).into(),
            rows_of_a_scan().into(),
        ];
        let sql = format!("{SCAN}{NEWEST}{SCAN_FROM}");
        let rows = self.tx.query_all_raw(Statement::from_sql_and_values(self.tx.get_database_backend(), sql, values));
        let mut found = Vec::new();
        for row in rows.await.map_err(failed)? {
            let (policy, number, manifest): (String, i64, String) = row.try_get_many_by_index().map_err(failed)?;
            let policy = rows::policy_name(namespace.as_str(), &policy)?.policy;
            found.push(Begins { policy, number, manifest, statement: String::new() });
        }
        Ok(found)
    }

    /// What is in force, in the order of the policies, after one of them, at most `VERSIONS_PER_SCAN`.
    pub async fn active_heads(
        &self,
        namespace: &NamespaceId,
        after: Option<&PolicyId>,
        manifest_chars: usize,
        statement_chars: usize,
    ) -> Result<Vec<Begins>> {
        let values = [
            namespace.as_str().into(),
            after.map_or("", PolicyId::as_str).into(),
            chars(manifest_chars).into(),
            chars(statement_chars).into(),
            rows_of_a_scan().into(),
        ];
        let sql = format!("{SCAN_ACTIVE}{NEWEST}{SCAN_ACTIVE_FROM}");
        let rows = self.tx.query_all_raw(Statement::from_sql_and_values(self.tx.get_database_backend(), sql, values));
        let mut found = Vec::new();
        for row in rows.await.map_err(failed)? {
            let (policy, number, manifest, statement): (String, i64, String, String) =
                row.try_get_many_by_index().map_err(failed)?;
            let policy = rows::policy_name(namespace.as_str(), &policy)?.policy;
            found.push(Begins { policy, number, manifest, statement });
        }
        Ok(found)
    }

    /// The events about some policies at some times: where versions say that they were published.
    pub async fn events_at_times(
        &self,
        namespace: &NamespaceId,
        policies: &[&PolicyId],
        times: &[Micros],
    ) -> Result<Vec<Event>> {
        use events::Column as E;
        let query = events::Entity::find()
            .filter(E::Namespace.eq(namespace.as_str()))
            .filter(E::Policy.is_in(policies.iter().map(|policy| policy.as_str())))
            .filter(E::Time.is_in(times.iter().map(|time| time.0)));
        query.all(&self.tx).await.map_err(failed)?.into_iter().map(rows::event).collect()
    }
}

impl WriteTx {
    /// Adds manifests signed again, of the event that stands at `revision`.
    pub async fn insert_manifests(
        &self,
        key_id: &str,
        signed: &[(PolicyId, i64, String)],
        revision: i64,
    ) -> Result<()> {
        for (policy, number, manifest) in signed {
            let row = manifests::Model {
                namespace: self.namespace().to_string(),
                policy: policy.to_string(),
                number: *number,
                key_id: key_id.to_owned(),
                manifest: manifest.clone(),
                revision,
                tag: Vec::new(),
            };
            self.insert_row::<manifests::Entity>(row).await?;
        }
        Ok(())
    }
}

/// A length as both databases want it: PostgreSQL has no `substr` over wider numbers.
fn chars(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn rows_of_a_scan() -> i64 {
    i64::try_from(VERSIONS_PER_SCAN).unwrap_or(i64::MAX)
}
