//! Writes of several tables that belong together.
//!
//! On PostgreSQL they run as data-modifying statements in one WITH (PostgreSQL manual, 7.8.4), so that a write waits for one answer under
//! its lock. SQLite has no such statements, and no network to wait for.

use sea_orm::sea_query::{
    Alias, CommonTableExpression, Expr, InsertStatement, Query, ReturningClause, SelectStatement, SubQueryStatement,
    UpdateStatement, WithClause,
};
use sea_orm::{ConnectionTrait as _, DbBackend, DbErr};

use crate::domain::{Error, Result};
use crate::store::error::failed;
use crate::store::transaction::views::Tx;

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

    /// Adds the update of one row. No two updates may be of the same row.
    pub(in crate::store) fn update_one(&mut self, update: UpdateStatement) {
        self.0.push((JointWrite::Update(update), 1));
    }

    /// Writes all.
    ///
    /// # Errors
    /// `INTERNAL` when a write touched another number of rows.
    pub(in crate::store) async fn run(self, tx: &Tx) -> Result<()> {
        let wanted: Vec<u64> = self.0.iter().map(|(_, rows)| *rows).collect();
        let written = match tx.get_database_backend() {
            DbBackend::Postgres => self.run_as_one(tx).await,
            _ => self.run_each(tx).await,
        };
        let written = written.map_err(failed)?;
        if written != wanted {
            return Err(Error::internal(format!("writes of {wanted:?} rows touched {written:?}")));
        }
        Ok(())
    }

    async fn run_each(self, tx: &Tx) -> std::result::Result<Vec<u64>, DbErr> {
        let mut written = Vec::with_capacity(self.0.len());
        for (write, _) in self.0 {
            let done = match write {
                JointWrite::Insert(insert) => tx.execute(&insert).await?,
                JointWrite::Update(update) => tx.execute(&update).await?,
            };
            written.push(done.rows_affected());
        }
        Ok(written)
    }

    /// Runs each write as a part of one statement that counts the rows of each.
    async fn run_as_one(self, tx: &Tx) -> std::result::Result<Vec<u64>, DbErr> {
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
        (0..writes).map(count).collect()
    }
}
