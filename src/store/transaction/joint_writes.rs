//! Writes of several tables that belong together.
//!
//! They run at once, so that a write waits for one answer under its lock: on PostgreSQL as data-modifying statements in one WITH
//! (PostgreSQL manual, 7.8.4). SQLite has no such statements; there they are several in one text, which sqlx hands to the thread of the
//! connection together.

use sea_orm::sea_query::{
    Alias, CommonTableExpression, Expr, InsertStatement, Query, ReturningClause, SelectStatement, SubQueryStatement,
    UpdateStatement, WithClause,
};
use sea_orm::{ConnectionTrait as _, DbBackend, DbErr, Statement};

use crate::domain::{Error, Result};
use crate::store::error::failed;
use crate::store::transaction::views::Tx;

/// Number of writes in one text for SQLite: those of an activation of one policy. More: activations of many policies fill the cache of
/// prepared statements, which has an entry for each text.
const WRITES_PER_TEXT: usize = 4;

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
    /// `INTERNAL` when they touched another number of rows in all: none can touch more than it must.
    pub(in crate::store) async fn run(self, tx: &Tx) -> Result<()> {
        let wanted: u64 = self.0.iter().map(|(_, rows)| *rows).sum();
        let written = match tx.get_database_backend() {
            DbBackend::Postgres => self.run_as_one(tx).await,
            backend => self.run_in_turn(backend, tx).await,
        };
        let written = written.map_err(failed)?;
        if written != wanted {
            return Err(Error::internal(format!("writes of {wanted} rows touched {written}")));
        }
        Ok(())
    }

    /// Runs the writes as statements of one text, each with its own values, and returns how many rows they touched.
    async fn run_in_turn(self, backend: DbBackend, tx: &Tx) -> std::result::Result<u64, DbErr> {
        let mut written = 0;
        for group in self.0.chunks(WRITES_PER_TEXT) {
            let built = group.iter().map(|(write, _)| match write {
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
