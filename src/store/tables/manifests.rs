//! Queries of manifests of published versions. The first one stays in the version's row; later ones are in `manifests`.
//!
//! Reading a version returns the newest of them. The key that signed one is found by its first characters, which are equal for all tokens
//! of one kind and key; nothing here verifies anything.

use sea_orm::sea_query::{Expr, SimpleExpr};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, EntityTrait as _, Iterable as _, QueryFilter as _, QuerySelect as _,
    Select, Statement,
};

use crate::domain::event::Event;
use crate::domain::name::{NamespaceId, PolicyId, PolicyName};
use crate::domain::time::Micros;
use crate::domain::{Error, Result};
use crate::store::entity::{events, manifests, versions};
use crate::store::error::failed;
use crate::store::tables::rows;
use crate::store::transaction::views::{ReadTx, WriteTx};

/// Maximum of rows that one statement scans. A statement may take 2.4 s.
pub const VERSIONS_PER_SCAN: usize = 2_000;

/// Selects the newest manifest of a row of `versions`.
pub(super) const NEWEST: &str = "COALESCE((SELECT m.manifest FROM manifests m WHERE m.namespace = versions.namespace \
     AND m.policy = versions.policy AND m.number = versions.number ORDER BY m.revision DESC LIMIT 1), versions.manifest)";

/// Selects published versions of a namespace after a key, and the beginning of their newest manifest.
const SCAN: &str = "SELECT versions.policy, versions.number, substr(";
const SCAN_FROM: &str = ", 1, $4) FROM versions WHERE versions.namespace = $1 AND versions.state = 'PUBLISHED' \
     AND (versions.policy, versions.number) > ($2, $3) ORDER BY versions.policy, versions.number LIMIT $5";

/// Selects active versions, the beginning of their manifest, and the beginning of the statement that moved the pointer to them. With CROSS
/// JOIN SQLite begins with the policies: with JOIN it may read every version there is.
pub(super) const SCAN_ACTIVE: &str = "SELECT versions.policy, versions.number, substr(";
pub(super) const SCAN_ACTIVE_FROM: &str = ", 1, $3) AS manifest_head, substr(e.statement, 1, $4) AS statement_head \
     FROM policies p CROSS JOIN versions CROSS JOIN events e \
     WHERE versions.namespace = p.namespace AND versions.policy = p.id AND versions.number = p.active_version \
     AND e.namespace = p.namespace AND e.revision = p.active_revision \
     AND p.namespace = $1 AND p.active_version > 0 AND p.id > $2 ORDER BY p.id LIMIT $5";

/// Selects active versions of all namespaces, with the beginnings of their manifest and of the statement that moved the pointer to them.
pub(super) const ACTIVE_BY: &str = "SELECT versions.namespace, versions.policy, versions.number, substr(";
pub(super) const ACTIVE_BY_FROM: &str = ", 1, $1) AS manifest_head, substr(e.statement, 1, $2) AS statement_head \
     FROM policies p CROSS JOIN versions CROSS JOIN events e \
     WHERE versions.namespace = p.namespace AND versions.policy = p.id AND versions.number = p.active_version \
     AND e.namespace = p.namespace AND e.revision = p.active_revision AND p.active_version > 0";

/// A version and the first characters of its tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begins {
    /// Its policy.
    pub policy: PolicyId,
    /// Its number.
    pub number: i64,
    /// The beginning of its newest manifest.
    pub manifest: String,
    /// The beginning of the statement that activated it; empty when it was not asked for.
    pub statement: String,
}

/// Adds the newest manifest to a query of `versions`.
pub(in crate::store) fn with_newest_manifest(query: Select<versions::Entity>) -> Select<versions::Entity> {
    use versions::Column as V;
    let columns = V::iter().filter(|column| !matches!(column, V::Manifest));
    query.select_only().columns(columns).column_as(newest(), V::Manifest)
}

fn newest() -> SimpleExpr {
    Expr::cust(NEWEST)
}

impl ReadTx {
    /// Returns the beginnings of the manifests of published versions after a key, in order of policies, at most `VERSIONS_PER_SCAN`.
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

    /// Returns the same for the active versions after a policy, in order of policies, at most `VERSIONS_PER_SCAN`.
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

    /// Returns the active versions of all namespaces whose manifest, or whose statement, begins with one of these texts, in order of names,
    /// at most `limit`, each with the index of that text. All texts of one kind have one length, as those of the keys of one store have.
    pub async fn active_beginning_with(
        &self,
        manifests: &[String],
        statements: &[String],
        limit: u32,
    ) -> Result<Vec<(usize, PolicyName, i64)>> {
        let length = |heads: &[String]| chars(heads.first().map_or(0, String::len));
        let mut values: Vec<sea_orm::Value> = vec![length(manifests).into(), length(statements).into()];
        let mut placeholders = |heads: &[String]| {
            let placeholders = heads.iter().map(|head| {
                values.push(head.as_str().into());
                format!("${}", values.len())
            });
            placeholders.collect::<Vec<_>>().join(", ")
        };
        let (of_manifests, of_statements) = (placeholders(manifests), placeholders(statements));
        values.push(i64::from(limit).into());
        let sql = format!(
            "SELECT * FROM ({ACTIVE_BY}{NEWEST}{ACTIVE_BY_FROM}) found WHERE found.manifest_head IN ({of_manifests}) \
             OR found.statement_head IN ({of_statements}) ORDER BY found.namespace, found.policy LIMIT ${}",
            values.len()
        );
        let rows = self.tx.query_all_raw(Statement::from_sql_and_values(self.tx.get_database_backend(), sql, values));
        let mut found = Vec::new();
        for row in rows.await.map_err(failed)? {
            let (namespace, policy, number, manifest, statement): (String, String, i64, String, String) =
                row.try_get_many_by_index().map_err(failed)?;
            let index_of = |heads: &[String], head: &str| heads.iter().position(|each| each == head);
            let by = index_of(manifests, &manifest).or_else(|| index_of(statements, &statement));
            let by = by.ok_or_else(|| Error::internal("a version was found by no key"))?;
            found.push((by, rows::policy_name(&namespace, &policy)?, number));
        }
        Ok(found)
    }

    /// Returns the events about some policies at some times: the times at which their versions were published.
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
    /// Adds manifests that were signed again by the event at `revision`.
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

/// Returns a length as both databases accept it: PostgreSQL has no `substr` for wider integers.
fn chars(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn rows_of_a_scan() -> i64 {
    i64::try_from(VERSIONS_PER_SCAN).unwrap_or(i64::MAX)
}
