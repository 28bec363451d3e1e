//! Queries of pointers and their history: the active set, now and at any revision.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, EntityTrait as _, FromQueryResult as _, QueryFilter as _, QueryOrder as _,
    QueryResult, QuerySelect as _, Statement, sea_query::Expr, sea_query::ExprTrait as _,
};

use crate::domain::bundle::ActiveEntry;
use crate::domain::digest::Digest;
use crate::domain::event::Cursor;
use crate::domain::name::{NamespaceId, PolicyId, PolicyName};
use crate::domain::version::Version;
use crate::domain::{Error, Result};
use crate::store::entity::pointer_changes::{Column, Entity, Model};
use crate::store::entity::{contents, events, policies, versions};
use crate::store::error::failed;
use crate::store::tables::manifests::with_newest_manifest;
use crate::store::tables::rows;
use crate::store::transaction::views::ReadTx;

/// An active version, with all that proves it. Nothing in it is verified yet.
#[derive(Debug, Clone)]
pub struct ActiveRow {
    /// The version it points to.
    pub version: Version,
    /// The version's bytes.
    pub content: Bytes,
    /// Cursor of the activation.
    pub activation: Cursor,
    /// Statement of the activation. Policies that one activation moved share it.
    pub statement: Arc<str>,
}

/// Selects a part of an active set.
#[derive(Debug, Clone, Copy)]
pub struct ActivePart<'a> {
    /// Revision right after which the set is read.
    pub revision: i64,
    /// The policies asked for; empty means all.
    pub policies: &'a BTreeSet<PolicyId>,
    /// Only policies after this one.
    pub after: Option<&'a PolicyId>,
}

/// A part of an active set.
#[derive(Debug)]
pub struct ActiveRows {
    /// The rows in byte order of their policies.
    pub rows: Vec<ActiveRow>,
    /// Whether this is the last part.
    pub is_last: bool,
}

/// The statement of an event that moved pointers.
#[derive(Debug, Clone)]
pub struct StatementRow {
    /// The event's cursor.
    pub cursor: Cursor,
    /// The statement, a compact JWS.
    pub statement: Arc<str>,
}

/// Number of rows read in one statement. PostgreSQL takes 65,535 parameters, SQLite 32,766; a version takes three.
const ROWS_PER_QUERY: usize = 500;
/// Bytes of content after which a statement reads no more. A statement may take 2.4 s: more bytes would never arrive over a slow network.
const BYTES_PER_QUERY: i64 = 8 * 1024 * 1024;

/// Selects the newest pointer of each policy up to a revision. It steps from one policy to the next in the primary key, so it takes no
/// longer the more often pointers have moved. With CROSS JOIN SQLite keeps the order of the tables: with JOIN it reads all policies again
/// for each pointer.
pub(super) const POINTERS_AT: &str = "WITH RECURSIVE moved(policy) AS ( \
     SELECT MIN(policy) FROM pointer_changes WHERE namespace = $1 UNION ALL \
     SELECT (SELECT MIN(c.policy) FROM pointer_changes c WHERE c.namespace = $1 AND c.policy > moved.policy) \
     FROM moved WHERE moved.policy IS NOT NULL) \
     SELECT p.namespace, p.policy, p.revision, p.version FROM moved CROSS JOIN pointer_changes p \
     WHERE p.namespace = $1 AND p.policy = moved.policy AND p.revision = ( \
     SELECT MAX(c.revision) FROM pointer_changes c WHERE c.namespace = $1 AND c.policy = moved.policy \
     AND c.revision <= $2) ORDER BY p.policy";

/// Selects the same, of the policies whose pointer moved after revision $3, by those moves alone.
const POINTERS_MOVED: &str = "SELECT p.namespace, p.policy, p.revision, p.version FROM pointer_changes p \
     WHERE p.namespace = $1 AND p.revision > $3 AND p.revision <= $2 AND NOT EXISTS ( \
     SELECT 1 FROM pointer_changes c WHERE c.namespace = $1 AND c.policy = p.policy \
     AND c.revision > p.revision AND c.revision <= $2)";

impl ReadTx {
    /// Returns the active set right after a revision, in byte order of its policies.
    pub async fn active_set(&self, namespace: &NamespaceId, revision: i64) -> Result<Vec<ActiveRow>> {
        let pointers = self.pointers_at(namespace, revision).await?;
        self.resolve(namespace, pointers).await
    }

    async fn pointers_at(&self, namespace: &NamespaceId, revision: i64) -> Result<Vec<Model>> {
        let backend = self.tx.get_database_backend();
        let values = [namespace.as_str().into(), revision.into()];
        let statement = Statement::from_sql_and_values(backend, POINTERS_AT, values);
        let rows = self.tx.query_all_raw(statement).await.map_err(failed)?;
        rows.iter().map(|row| Model::from_query_result(row, "")).collect::<Result<_, _>>().map_err(failed)
    }

    /// Returns a part of an active set, in byte order of its policies: as many rows as `takes` accepts by the sizes of their contents.
    pub async fn active_page(
        &self,
        namespace: &NamespaceId,
        part: ActivePart<'_>,
        mut takes: impl FnMut(usize) -> bool + Send,
    ) -> Result<ActiveRows> {
        let ActivePart { revision, policies, after } = part;
        let mut pointers = self.pointers_at(namespace, revision).await?;
        let is_wanted = |policy: &str| policies.is_empty() || policies.iter().any(|wanted| wanted.as_str() == policy);
        let is_after = |policy: &str| after.is_none_or(|after| policy > after.as_str());
        pointers.retain(|row| row.version > 0 && is_after(&row.policy) && is_wanted(&row.policy));
        let targets = |rows: &[Model]| -> Result<Vec<(PolicyId, i64)>> {
            let target = |row: &Model| Ok((rows::policy_name(namespace.as_str(), &row.policy)?.policy, row.version));
            rows.iter().map(target).collect()
        };
        let mut taken = 0;
        'pages: for chunk in pointers.chunks(ROWS_PER_QUERY) {
            let targets = targets(chunk)?;
            let sizes = self.content_sizes(namespace, &targets).await?;
            for target in &targets {
                let bytes = sizes.get(target).copied().unwrap_or_default();
                if !takes(usize::try_from(bytes).unwrap_or(usize::MAX)) {
                    break 'pages;
                }
                taken += 1;
            }
        }
        let is_last = taken == pointers.len();
        pointers.truncate(taken);
        Ok(ActiveRows { rows: self.resolve(namespace, pointers).await?, is_last })
    }

    /// Returns the entries of the active set's root right after a revision, for policies whose pointer moved after another revision; none
    /// for a pointer to nothing. In byte order of the policies.
    pub async fn active_entries(
        &self,
        namespace: &NamespaceId,
        after: i64,
        revision: i64,
    ) -> Result<Vec<(PolicyId, Option<ActiveEntry>)>> {
        let mut values = vec![namespace.as_str().into(), revision.into()];
        let pointers = if after == 0 {
            POINTERS_AT
        } else {
            values.push(after.into());
            POINTERS_MOVED
        };
        let statement = Statement::from_sql_and_values(self.tx.get_database_backend(), entries_of(pointers), values);
        let rows = self.tx.query_all_raw(statement).await.map_err(failed)?;
        rows.into_iter().map(|row| active_entry(namespace, &row)).collect()
    }

    /// Returns the entries of the active set's root for some policies, by their current rows; none for a pointer to nothing.
    ///
    /// # Errors
    /// `DATA_LOSS` when a pointer names a version that does not exist.
    pub async fn pointed(
        &self,
        namespace: &NamespaceId,
        policies: &[&PolicyId],
    ) -> Result<Vec<(PolicyId, Option<ActiveEntry>)>> {
        let mut found = Vec::with_capacity(policies.len());
        for chunk in policies.chunks(ROWS_PER_QUERY) {
            let named = (2..chunk.len() + 2).map(|number| format!("${number}")).collect::<Vec<_>>().join(", ");
            let sql = format!(
                "SELECT p.id, p.active_version, v.digest, e.epoch, p.active_revision FROM policies p \
                 LEFT JOIN events e ON e.namespace = p.namespace AND e.revision = p.active_revision \
                 LEFT JOIN versions v ON v.namespace = p.namespace AND v.policy = p.id AND v.number = p.active_version \
                 WHERE p.namespace = $1 AND p.id IN ({named})"
            );
            let values = std::iter::once(namespace.as_str()).chain(chunk.iter().map(|policy| policy.as_str()));
            let statement = Statement::from_sql_and_values(
                self.tx.get_database_backend(),
                sql,
                values.map(Into::into).collect::<Vec<_>>(),
            );
            for row in self.tx.query_all_raw(statement).await.map_err(failed)? {
                found.push(active_entry(namespace, &row)?);
            }
        }
        Ok(found)
    }

    /// Returns the active set right after the head. The pointers of the policies must match the history.
    ///
    /// # Errors
    /// `DATA_LOSS` when they differ.
    pub async fn active_now(&self, namespace: &NamespaceId, head: i64) -> Result<Vec<ActiveRow>> {
        use policies::Column as P;
        let rows = self.active_set(namespace, head).await?;
        let pointers: Vec<(String, i64, i64)> = policies::Entity::find()
            .select_only()
            .columns([P::Id, P::ActiveVersion, P::ActiveRevision])
            .filter(P::Namespace.eq(namespace.as_str()))
            .filter(P::ActiveVersion.gt(0))
            .order_by_asc(P::Id)
            .into_tuple()
            .all(&self.tx)
            .await
            .map_err(failed)?;
        let history =
            rows.iter().map(|row| (row.version.policy.policy.as_str(), row.version.number, row.activation.revision));
        let pointers = pointers.iter().map(|(policy, version, revision)| (policy.as_str(), *version, *revision));
        if history.eq(pointers) {
            return Ok(rows);
        }
        Err(Error::data_loss(format!("{namespace}: the pointers of its policies are not where the log put them")))
    }

    /// Returns the active version of one policy right after a revision.
    pub async fn active_at(&self, policy: &PolicyName, revision: i64) -> Result<Option<ActiveRow>> {
        let newest = pointers_of(policy)
            .filter(Column::Revision.lte(revision))
            .order_by_desc(Column::Revision)
            .one(&self.tx)
            .await
            .map_err(failed)?;
        Ok(self.resolve(&policy.namespace, newest.into_iter().collect()).await?.pop())
    }

    /// Reads the active rows that pointers name. Pointers to nothing are left out.
    async fn resolve(&self, namespace: &NamespaceId, pointers: Vec<Model>) -> Result<Vec<ActiveRow>> {
        let pointers: Vec<Model> = pointers.into_iter().filter(|row| row.version > 0).collect();
        let mut active = Vec::with_capacity(pointers.len());
        let mut statements = BTreeMap::new();
        for chunk in pointers.chunks(ROWS_PER_QUERY) {
            let unread: BTreeSet<i64> =
                chunk.iter().map(|row| row.revision).filter(|revision| !statements.contains_key(revision)).collect();
            if !unread.is_empty() {
                statements.extend(self.statements(namespace, unread.into_iter()).await?);
            }
            let targets: Vec<(&str, i64)> = chunk.iter().map(|row| (row.policy.as_str(), row.version)).collect();
            let mut bundles = self.bundles(namespace, &targets).await?;
            for row in chunk {
                let missing = || Error::data_loss(format!("{namespace}/{}: nothing behind its pointer", row.policy));
                let (version, content) = bundles.remove(&(row.policy.clone(), row.version)).ok_or_else(missing)?;
                let StatementRow { cursor, statement } = statements.get(&row.revision).cloned().ok_or_else(missing)?;
                active.push(ActiveRow { version, content, activation: cursor, statement });
            }
        }
        Ok(active)
    }

    /// Returns published versions with their bytes, by policy and number.
    pub async fn published(
        &self,
        namespace: &NamespaceId,
        targets: &[(PolicyId, i64)],
    ) -> Result<Vec<(Version, Bytes)>> {
        let targets: Vec<(&str, i64)> = targets.iter().map(|(policy, number)| (policy.as_str(), *number)).collect();
        let mut found = Vec::with_capacity(targets.len());
        for chunk in targets.chunks(ROWS_PER_QUERY) {
            found.extend(self.bundles(namespace, chunk).await?.into_values());
        }
        Ok(found)
    }

    /// Returns the sizes of the contents of versions, by policy and number.
    pub async fn content_sizes(
        &self,
        namespace: &NamespaceId,
        targets: &[(PolicyId, i64)],
    ) -> Result<BTreeMap<(PolicyId, i64), i64>> {
        use versions::Column as V;
        let mut sizes = BTreeMap::new();
        for chunk in targets.chunks(ROWS_PER_QUERY) {
            let targets: Vec<(&str, i64)> = chunk.iter().map(|(policy, number)| (policy.as_str(), *number)).collect();
            let rows: Vec<(String, i64, i64)> = versions_of(namespace, &targets)
                .select_only()
                .columns([V::Policy, V::Number, V::SizeBytes])
                .into_tuple()
                .all(&self.tx)
                .await
                .map_err(failed)?;
            for (policy, number, size) in rows {
                sizes.insert((rows::policy_name(namespace.as_str(), &policy)?.policy, number), size);
            }
        }
        Ok(sizes)
    }

    async fn bundles(
        &self,
        namespace: &NamespaceId,
        targets: &[(&str, i64)],
    ) -> Result<BTreeMap<(String, i64), (Version, Bytes)>> {
        let rows = with_newest_manifest(versions_of(namespace, targets)).all(&self.tx).await.map_err(failed)?;
        let contents = self.contents(&rows).await?;
        rows.into_iter()
            .map(|row| {
                let content = contents.get(&row.digest).cloned();
                let content = content.ok_or_else(|| Error::data_loss(format!("no content for {}", row.digest)))?;
                Ok((
                    (row.policy.clone(), row.number),
                    (rows::version(self.authenticated::<versions::Entity>(row)?)?, content),
                ))
            })
            .collect()
    }

    /// Returns the bytes of versions by digest. Each statement reads no more than fits in its time limit.
    async fn contents(&self, rows: &[versions::Model]) -> Result<BTreeMap<String, Bytes>> {
        let mut sizes: BTreeMap<&str, i64> = BTreeMap::new();
        for row in rows {
            sizes.insert(&row.digest, row.size_bytes);
        }
        let mut contents = BTreeMap::new();
        let mut sizes = sizes.into_iter().peekable();
        while sizes.peek().is_some() {
            let mut bytes = 0;
            let digests = std::iter::from_fn(|| {
                bytes += sizes.peek().filter(|_| bytes < BYTES_PER_QUERY).map(|(_, size)| *size)?;
                sizes.next().map(|(digest, _)| digest)
            });
            let query = contents::Entity::find().filter(contents::Column::Digest.is_in(digests));
            let found = query.all(&self.tx).await.map_err(failed)?;
            contents.extend(found.into_iter().map(|row| (row.digest, Bytes::from(row.bytes))));
        }
        Ok(contents)
    }

    /// Returns the statements of events, by revision.
    pub async fn statements(
        &self,
        namespace: &NamespaceId,
        revisions: impl Iterator<Item = i64>,
    ) -> Result<BTreeMap<i64, StatementRow>> {
        use events::Column as E;
        let query = events::Entity::find()
            .select_only()
            .columns([E::Epoch, E::Revision, E::Statement])
            .filter(E::Namespace.eq(namespace.as_str()))
            .filter(E::Revision.is_in(revisions));
        let rows: Vec<(i64, i64, String)> = query.into_tuple().all(&self.tx).await.map_err(failed)?;
        let row = |(epoch, revision, statement): (i64, i64, String)| {
            (revision, StatementRow { cursor: Cursor { epoch, revision }, statement: statement.into() })
        };
        Ok(rows.into_iter().map(row).collect())
    }
}

/// Returns the query for the entries of the active set that some pointers make.
pub(super) fn entries_of(pointers: &str) -> String {
    format!(
        "SELECT a.policy, a.version, v.digest, e.epoch, a.revision FROM ({pointers}) a \
         LEFT JOIN events e ON e.namespace = a.namespace AND e.revision = a.revision \
         LEFT JOIN versions v ON v.namespace = a.namespace AND v.policy = a.policy AND v.number = a.version \
         ORDER BY a.policy"
    )
}

/// Reads a pointer: policy, version, digest, epoch and revision of its activation.
fn active_entry(namespace: &NamespaceId, row: &QueryResult) -> Result<(PolicyId, Option<ActiveEntry>)> {
    type Columns = (String, i64, Option<String>, Option<i64>, i64);
    let (policy, version, digest, epoch, revision): Columns = row.try_get_many_by_index().map_err(failed)?;
    let unreadable = |error: Error| Error::data_loss(format!("unreadable pointer: {}", error.message));
    let policy = PolicyId::parse("policy", &policy).map_err(unreadable)?;
    if version == 0 {
        return Ok((policy, None));
    }
    let missing = || Error::data_loss(format!("{namespace}/{policy}: nothing behind its pointer"));
    let digest = Digest::parse("digest", &digest.ok_or_else(missing)?).map_err(unreadable)?;
    let activation = Cursor { epoch: epoch.ok_or_else(missing)?, revision };
    Ok((policy, Some(ActiveEntry { version, digest, activation })))
}

pub(super) fn pointers_of(policy: &PolicyName) -> sea_orm::Select<Entity> {
    Entity::find()
        .filter(Column::Namespace.eq(policy.namespace.as_str()))
        .filter(Column::Policy.eq(policy.policy.as_str()))
}

fn versions_of(namespace: &NamespaceId, targets: &[(&str, i64)]) -> sea_orm::Select<versions::Entity> {
    use versions::Column as V;
    let key = Expr::tuple([Expr::col(V::Policy), Expr::col(V::Number)]);
    // SQLite uses no index for the pairs alone; the list of policies lets it use one.
    versions::Entity::find()
        .filter(V::Namespace.eq(namespace.as_str()))
        .filter(V::Policy.is_in(targets.iter().map(|(policy, _)| *policy)))
        .filter(key.in_tuples(targets.iter().copied()))
}
