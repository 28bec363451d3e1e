//! Lists runs, newest first, and counts them by version and outcome.
//!
//! Each outcome is read by itself, from an index in the order of the list, so that runs of other outcomes cost nothing.

use std::collections::BTreeMap;

use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait as _, EntityTrait, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    Select, Statement,
};

use crate::domain::command::PageRequest;
use crate::domain::limits::RUNS_COUNTED_MAX;
use crate::domain::listing::RunFilter;
use crate::domain::name::PolicyId;
use crate::domain::run::{Run, RunCount, RunKey, RunOutcome};
use crate::domain::{Error, Result};
use crate::store::authenticated::Authenticated;
use crate::store::entity::{run_ends, run_policies, runs};
use crate::store::error::failed;
use crate::store::tables::ranges::within;
use crate::store::tables::run_rows;
use crate::store::transaction::views::ReadTx;

/// The columns by which a table of runs is listed.
struct RunColumns<E: EntityTrait> {
    namespace: E::Column,
    outcome: E::Column,
    create_time: E::Column,
    id: E::Column,
}

/// Returns the newest rows of one outcome after the previous page.
fn newest<E: EntityTrait>(
    columns: &RunColumns<E>,
    filter: &RunFilter,
    outcome: RunOutcome,
    page: &PageRequest<RunKey>,
) -> Select<E> {
    let RunColumns { namespace, outcome: ended, create_time, id } = columns;
    let mut query = E::find()
        .filter(namespace.eq(filter.namespace.as_str()))
        .filter(ended.eq(outcome.as_str()))
        .order_by_desc(*create_time)
        .order_by_desc(*id)
        .limit(u64::from(page.size));
    query = within(query, *create_time, filter.times);
    if let Some(RunKey { create_time: at, id: after }) = &page.after {
        let beside = Condition::all().add(create_time.eq(at.0)).add(id.lt(after.as_str()));
        // The first bound lets the database use the index; it would not for the second one alone.
        query = query.filter(create_time.lte(at.0)).filter(Condition::any().add(create_time.lt(at.0)).add(beside));
    }
    query
}

impl ReadTx {
    /// Returns a page of runs, each with one of its policies: the one asked for, otherwise its first. Rows are authenticated by their
    /// MACs.
    pub async fn runs(&self, filter: &RunFilter, page: &PageRequest<RunKey>) -> Result<Vec<Run>> {
        match &filter.policy {
            Some(policy) => self.runs_of_policy(filter, policy, page).await,
            None => self.runs_of_namespace(filter, page).await,
        }
    }

    async fn runs_of_namespace(&self, filter: &RunFilter, page: &PageRequest<RunKey>) -> Result<Vec<Run>> {
        use runs::Column as C;
        let columns =
            RunColumns { namespace: C::Namespace, outcome: C::Outcome, create_time: C::CreateTime, id: C::Id };
        let mut found: Vec<runs::Model> = Vec::new();
        for outcome in &filter.outcomes {
            let query = newest::<runs::Entity>(&columns, filter, *outcome, page);
            found.extend(query.all(&self.tx).await.map_err(failed)?);
        }
        found.sort_by(|one, other| (other.create_time, &other.id).cmp(&(one.create_time, &one.id)));
        found.truncate(page.size as usize);
        let ids: Vec<String> = found.iter().map(|row| row.id.clone()).collect();
        let mut ends = self.run_ends(filter, &ids).await?;
        found
            .into_iter()
            .map(|row| {
                let end = ends.remove(&row.id);
                run_rows::summary(&self.authenticated::<runs::Entity>(row)?, end)
            })
            .collect()
    }

    async fn runs_of_policy(
        &self,
        filter: &RunFilter,
        policy: &PolicyId,
        page: &PageRequest<RunKey>,
    ) -> Result<Vec<Run>> {
        use run_policies::Column as C;
        let columns =
            RunColumns { namespace: C::Namespace, outcome: C::Outcome, create_time: C::CreateTime, id: C::Id };
        let mut found: Vec<run_policies::Model> = Vec::new();
        for outcome in &filter.outcomes {
            let mut query = newest::<run_policies::Entity>(&columns, filter, *outcome, page);
            query = query.filter(C::Policy.eq(policy.as_str()));
            if let Some(version) = filter.version {
                query = query.filter(C::Version.eq(version));
            }
            found.extend(query.all(&self.tx).await.map_err(failed)?);
        }
        found.sort_by(|one, other| (other.create_time, &other.id).cmp(&(one.create_time, &one.id)));
        found.truncate(page.size as usize);
        let ids: Vec<String> = found.iter().map(|row| row.id.clone()).collect();
        let (mut runs, mut ends) = (self.run_rows(filter, &ids).await?, self.run_ends(filter, &ids).await?);
        found
            .into_iter()
            .map(|row| {
                let missing = || Error::data_loss(format!("run {}: a policy of a run that is not there", row.id));
                let run = runs.remove(&row.id).ok_or_else(missing)?;
                let run = run_rows::summary(&run, ends.remove(&row.id))?;
                let policy = run_rows::policy(&run, &self.authenticated::<run_policies::Entity>(row)?)?;
                Ok(Run { policies: vec![policy], ..run })
            })
            .collect()
    }

    async fn run_rows(
        &self,
        filter: &RunFilter,
        ids: &[String],
    ) -> Result<BTreeMap<String, Authenticated<runs::Model>>> {
        use runs::Column as C;
        let query = runs::Entity::find().filter(C::Namespace.eq(filter.namespace.as_str())).filter(C::Id.is_in(ids));
        let rows = query.all(&self.tx).await.map_err(failed)?;
        rows.into_iter().map(|row| Ok((row.id.clone(), self.authenticated::<runs::Entity>(row)?))).collect()
    }

    async fn run_ends(
        &self,
        filter: &RunFilter,
        ids: &[String],
    ) -> Result<BTreeMap<String, Authenticated<run_ends::Model>>> {
        use run_ends::Column as C;
        let query =
            run_ends::Entity::find().filter(C::Namespace.eq(filter.namespace.as_str())).filter(C::Id.is_in(ids));
        let rows = query.all(&self.tx).await.map_err(failed)?;
        rows.into_iter().map(|row| Ok((row.id.clone(), self.authenticated::<run_ends::Entity>(row)?))).collect()
    }

    /// Counts the runs that a list holds, by version of a policy and outcome, in order of versions. Returns none when an outcome has more
    /// than `RUNS_COUNTED_MAX`. The MACs of the rows are not checked.
    pub async fn run_counts(&self, filter: &RunFilter, policy: &PolicyId) -> Result<Option<Vec<RunCount>>> {
        if filter.outcomes.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let version = filter.version.map(|version| format!("AND version = {version} ")).unwrap_or_default();
        // Count from one index only, and stop at the bound, however many rows there are.
        let counted = filter.outcomes.iter().map(|outcome| {
            let word = outcome.as_str();
            format!(
                "SELECT version, '{word}' AS outcome, count(*) AS runs FROM (SELECT version FROM run_policies \
                 WHERE namespace = $1 AND policy = $2 {version}AND outcome = '{word}' AND create_time >= $3 AND create_time < $4 \
                 LIMIT {}) AS counted_{word} GROUP BY version",
                RUNS_COUNTED_MAX + 1
            )
        });
        let sql = format!("{} ORDER BY 1, 2", counted.collect::<Vec<_>>().join(" UNION ALL "));
        let start = filter.times.start.unwrap_or(i64::MIN);
        let end = filter.times.end.unwrap_or(i64::MAX);
        let values = [filter.namespace.as_str().into(), policy.as_str().into(), start.into(), end.into()];
        let statement = Statement::from_sql_and_values(self.tx.get_database_backend(), sql, values);
        let mut counts = Vec::new();
        let mut totals: BTreeMap<RunOutcome, i64> = BTreeMap::new();
        for row in self.tx.query_all_raw(statement).await.map_err(failed)? {
            let (version, word, runs): (i64, String, i64) = row.try_get_many_by_index().map_err(failed)?;
            let outcome = RunOutcome::of_word(&word).ok_or_else(|| Error::internal("an outcome nobody asked for"))?;
            *totals.entry(outcome).or_default() += runs;
            counts.push(RunCount { version, outcome, runs });
        }
        Ok(totals.values().all(|total| *total <= RUNS_COUNTED_MAX).then_some(counts))
    }
}
