//! Writes of several tables that belong together.
//!
//! They are sent together, so that a write rarely waits for an answer under its lock: to PostgreSQL as data-modifying statements in one
//! WITH (PostgreSQL manual, 7.8.4), to SQLite, which has none, in batches of statements.

use sea_orm::sea_query::{
    Alias, CommonTableExpression, Expr, InsertStatement, Query, ReturningClause, SelectStatement, SubQueryStatement,
    UpdateStatement, WithClause,
};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};

use crate::domain::{Error, Result};
use crate::store::error::failed;
use crate::store::transaction::views::Tx;

/// How many writes SQLite gets in one batch: those of the activation of one policy. More: an entry of the statement cache holds one prepared
/// statement for each write of its batch.
const BATCH_WRITES_MAX: usize = 4;

/// Writes, none of which depends on the rows of another, each with the number of rows that it must write.
#[derive(Debug, Default)]
pub(in crate::store) struct JointWrites(Vec<(JointWrite, u64)>);

#[derive(Debug)]
enum JointWrite {
    Insert(InsertStatement),
    Update(UpdateStatement),
}

impl JointWrites {
    /// Adds the insertion of `rows` rows.
    pub(in crate::store) fn insert(&mut self, insert: InsertStatement, rows: usize) {
        self.0.push((JointWrite::Insert(insert), rows as u64));
    }

    /// Adds the update of one row, named by its key. No two updates may be of the same row.
    pub(in crate::store) fn update_one(&mut self, update: UpdateStatement) {
        self.0.push((JointWrite::Update(update), 1));
    }

    /// Writes all.
    ///
    /// # Errors
    /// `INTERNAL` when the writes touched fewer rows than they must. No write can touch more, so the sum is enough.
    pub(in crate::store) async fn run(self, tx: &Tx) -> Result<()> {
        let wanted: u64 = self.0.iter().map(|(_, rows)| *rows).sum();
        let written = match tx.get_database_backend() {
            DbBackend::Postgres => self.run_as_one(tx).await,
            _ => self.run_in_batches(tx).await,
        };
        let written = written.map_err(failed)?;
        if written != wanted {
            return Err(Error::internal(format!("writes of {wanted} rows touched {written}")));
        }
        Ok(())
    }

    /// Runs the writes in batches, each write with its own values, and returns how many rows they touched.
    ///
    /// sqlx deprecates several statements in one query (sqlx#3108). If it ever runs only the first, the comparison of rows in `run` fails
    /// the write.
    async fn run_in_batches(self, tx: &impl ConnectionTrait) -> std::result::Result<u64, DbErr> {
        let (backend, mut written) = (tx.get_database_backend(), 0);
        for batch in self.0.chunks(BATCH_WRITES_MAX) {
            let built = batch.iter().map(|(write, _)| match write {
                JointWrite::Insert(insert) => backend.build(insert),
                JointWrite::Update(update) => backend.build(update),
            });
            let (mut texts, mut values) = (Vec::new(), Vec::new());
            for statement in built {
                texts.push(statement.sql);
                values.extend(statement.values.into_iter().flat_map(|values| values.0));
            }
            let all = Statement::from_sql_and_values(backend, texts.join("; "), values);
            written += tx.execute_raw(all).await?.rows_affected();
        }
        Ok(written)
    }

    /// Runs each write as a part of one statement, and returns how many rows they touched.
    async fn run_as_one(self, tx: &Tx) -> std::result::Result<u64, DbErr> {
        let (mut parts, mut counts) = (WithClause::new(), SelectStatement::new());
        let writes = self.0.len();
        for (number, (write, _)) in self.0.into_iter().enumerate() {
            let name = Alias::new(format!("w{number}"));
            let returning_one = || ReturningClause::Exprs(vec![Expr::val(1)]);
            let query: SubQueryStatement = match write {
                JointWrite::Insert(mut insert) => insert.returning(returning_one()).take().into(),
                JointWrite::Update(mut update) => update.returning(returning_one()).take().into(),
            };
            parts.cte(CommonTableExpression::new().query(query).table_name(name.clone()).to_owned());
            let count = Query::select().expr(Expr::cust("count(*)")).from(name).take();
            counts.expr(Expr::SubQuery(None, Box::new(count.into())));
        }
        let row = tx.query_one(&counts.with(parts)).await?;
        let row = row.ok_or_else(|| DbErr::RecordNotFound("the counts of writes".to_owned()))?;
        let count = |index| row.try_get_by_index::<i64>(index).map(i64::unsigned_abs);
        (0..writes).map(count).sum()
    }
}

#[cfg(test)]
mod tests {
    use policyhub_migrations::{Migrator, MigratorTrait as _};
    use sea_orm::{ColumnTrait as _, Database, EntityTrait as _, QueryFilter as _, QueryTrait as _, Set};

    use super::*;
    use crate::store::entity::store_meta::{ActiveModel, Column, Entity};

    fn update(name: &str) -> UpdateStatement {
        let row = ActiveModel { value: Set("new".to_owned()), ..Default::default() };
        Entity::update_many().set(row).filter(Column::Name.eq(name)).into_query()
    }

    /// Each write of each batch runs, and one that misses its row is missing from the count, whichever it is.
    #[tokio::test]
    async fn every_write_of_a_batch_counts() {
        let db = Database::connect("sqlite::memory:").await.expect("a database");
        Migrator::up(&db, None).await.expect("a schema");
        let names: Vec<String> = (0..2 * BATCH_WRITES_MAX + 1).map(|number| format!("name-{number}")).collect();
        let mut writes = JointWrites::default();
        for name in &names {
            let row = ActiveModel { name: Set(name.clone()), value: Set("old".to_owned()) };
            writes.insert(Entity::insert(row).into_query(), 1);
        }
        assert_eq!(writes.run_in_batches(&db).await.expect("insertions"), names.len() as u64);
        for missing in 0..names.len() {
            let mut writes = JointWrites::default();
            for (number, name) in names.iter().enumerate() {
                writes.update_one(update(if number == missing { "absent" } else { name }));
            }
            assert_eq!(writes.run_in_batches(&db).await.expect("updates"), names.len() as u64 - 1, "{missing}");
        }
        let rows = Entity::find().filter(Column::Value.eq("new")).all(&db).await.expect("rows");
        assert_eq!(rows.len(), names.len());
    }
}
