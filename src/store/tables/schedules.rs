//! Queries of schedules.
//!
//! Invariant: a schedule is carried out, or changed, only by its authenticated row; the index of due ones only leads to it.

use sea_orm::sea_query::{Expr, ExprTrait as _, Func};
use sea_orm::{
    ColumnTrait as _, EntityTrait as _, PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    Select,
};

use crate::domain::Result;
use crate::domain::command::PageRequest;
use crate::domain::event::{Cursor, RowChange};
use crate::domain::limits::{ID_MAX_CHARS, SCHEDULES_OPEN_PER_NAMESPACE_MAX};
use crate::domain::name::NamespaceId;
use crate::domain::schedule::{Schedule, ScheduleId, ScheduleName};
use crate::domain::time::Micros;
use crate::store::authenticated::{Authenticated, table};
use crate::store::entity::schedules::{Column, Entity, Model};
use crate::store::error::failed;
use crate::store::tables::rows;
use crate::store::transaction::views::{ReadTx, WriteTx};

/// The condition of the index of open schedules, word for word: with parameters no database would use it, and a count would read every
/// schedule that ever ended.
const OPEN: &str = "state IN ('PENDING', 'SUSPENDED')";

/// A schedule that the index of due ones names. Ordered by time, then by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DueSchedule {
    /// Its next time.
    pub time: Micros,
    /// Its name.
    pub name: ScheduleName,
}

/// One page of the index of due schedules.
#[derive(Debug)]
pub struct DuePage {
    /// The schedules, in order. Rows without a valid name are left out.
    pub due: Vec<DueSchedule>,
    /// The last row of the page, after which the next page begins; none when there is no further one.
    pub last_row: Option<DueRow>,
}

/// A row of the index as it is stored: its next time, namespace and id, which may be no valid name.
#[derive(Debug, Clone)]
pub struct DueRow(i64, String, String);

impl ReadTx {
    /// Returns a schedule, if it exists.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`, `DATA_LOSS`.
    pub async fn find_schedule(&self, name: &ScheduleName) -> Result<Option<Schedule>> {
        let key = (name.namespace.to_string(), name.id.to_string());
        match Entity::find_by_id(key).one(&self.tx).await.map_err(failed)? {
            Some(row) => schedule(self.authenticated::<Entity>(row)?).map(Some),
            None => {
                // A row that was deleted must not be taken for one that never was.
                let key = name.id.to_string();
                self.note_absent_row(RowChange { table: table::<Entity>(), key, digest: None });
                Ok(None)
            }
        }
    }

    /// Returns a schedule.
    ///
    /// # Errors
    /// `SCHEDULE_NOT_FOUND`, `DATABASE_UNAVAILABLE`, `DATA_LOSS`.
    pub async fn schedule(&self, name: &ScheduleName) -> Result<Schedule> {
        self.find_schedule(name).await?.ok_or_else(|| name.not_found())
    }

    /// Returns a page of the schedules of a namespace, in order of ids.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`, `DATA_LOSS`.
    pub async fn schedules(&self, namespace: &NamespaceId, page: &PageRequest<ScheduleId>) -> Result<Vec<Schedule>> {
        let mut query = Entity::find().filter(Column::Namespace.eq(namespace.as_str()));
        if let Some(after) = &page.after {
            query = query.filter(Column::Id.gt(after.as_str()));
        }
        let query = query.order_by_asc(Column::Id).limit(u64::from(page.size));
        let rows = query.all(&self.tx).await.map_err(failed)?.into_iter();
        rows.map(|row| schedule(self.authenticated::<Entity>(row)?)).collect()
    }

    /// Returns how many schedules of a namespace are pending or suspended.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub async fn count_open_schedules(&self, namespace: &NamespaceId) -> Result<u64> {
        open(namespace).count(&self.tx).await.map_err(failed)
    }

    /// Returns the schedules of a namespace that are pending or suspended, in order of ids.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`, `DATA_LOSS`.
    pub async fn open_schedules(&self, namespace: &NamespaceId) -> Result<Vec<Schedule>> {
        let query = open(namespace).order_by_asc(Column::Id).limit(SCHEDULES_OPEN_PER_NAMESPACE_MAX);
        let rows = query.all(&self.tx).await.map_err(failed)?.into_iter();
        rows.map(|row| schedule(self.authenticated::<Entity>(row)?)).collect()
    }

    /// Returns the first schedules that are due until a time, after a row if one is given.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub async fn due_schedules(&self, until: Micros, after: Option<&DueRow>, limit: u64) -> Result<DuePage> {
        // The index has the rows of which this is said.
        let mut query =
            Entity::find().filter(Column::NextTime.is_not_null()).filter(Column::NextTime.lte(until.0)).limit(limit);
        if let Some(DueRow(time, namespace, id)) = after {
            let columns = [Column::NextTime, Column::Namespace, Column::Id].map(Expr::col);
            let key = [Expr::val(*time), Expr::val(namespace.as_str()), Expr::val(id.as_str())];
            query = query.filter(Expr::tuple(columns).gt(Expr::tuple(key)));
        }
        for column in [Column::NextTime, Column::Namespace, Column::Id] {
            query = query.order_by_asc(column);
        }
        let query = query.select_only().columns([Column::NextTime, Column::Namespace, Column::Id]);
        let found: Vec<(i64, String, String)> = query.into_tuple().all(&self.tx).await.map_err(failed)?;
        let due = |(time, namespace, id): (i64, String, String)| {
            let namespace = NamespaceId::parse("namespace", &namespace).ok()?;
            let name = ScheduleName { namespace, id: ScheduleId::parse("schedule", &id).ok()? };
            Some(DueSchedule { time: Micros(time), name })
        };
        // Of the rows, and not of the schedules: otherwise a page of rows without a valid name would look like the last one.
        let is_full = found.len() as u64 >= limit;
        let last_row =
            found.last().filter(|_| is_full).cloned().map(|(time, namespace, id)| DueRow(time, namespace, id));
        Ok(DuePage { due: found.into_iter().filter_map(due).collect(), last_row })
    }
}

fn open(namespace: &NamespaceId) -> Select<Entity> {
    Entity::find().filter(Column::Namespace.eq(namespace.as_str())).filter(Expr::cust(OPEN))
}

fn schedule(Authenticated(row): Authenticated<Model>) -> Result<Schedule> {
    let namespace = NamespaceId::parse("namespace", &row.namespace).map_err(rows::unreadable("namespace"))?;
    let id = ScheduleId::parse("schedule", &row.id).map_err(rows::unreadable("schedule"))?;
    Ok(Schedule {
        name: ScheduleName { namespace, id },
        entries: rows::json("entries", &row.entries)?,
        time_zone: row.time_zone,
        state: rows::parse_enum("state", &row.state)?,
        creator: row.creator,
        reason: row.reason,
        base: Cursor { epoch: row.base_epoch, revision: row.base_revision },
        handled_until: Micros(row.handled_until),
        next_time: row.next_time.map(Micros),
        last_due_time: row.last_due_time.map(Micros),
        problem: row.problem,
        edits: row.etag,
        create_time: Micros(row.create_time),
        update_time: Micros(row.update_time),
    })
}

impl WriteTx {
    /// Removes a schedule of the locked namespace by the key of its row, which may be no valid id; whatever the row holds, and also when it is
    /// not there. The next event of this write names it as removed, if an event named it before. Returns whether there was one.
    pub async fn remove_schedule(&self, key: &str, is_of_log: bool) -> Result<bool> {
        if is_of_log {
            self.note(RowChange { table: table::<Entity>(), key: key.to_owned(), digest: None });
        }
        // No schedule has such an id, and a finding names only the beginning of one that is longer still.
        let is_row = if key.chars().count() > ID_MAX_CHARS {
            Expr::expr(Func::char_length(Expr::col(Column::Id))).gt(ID_MAX_CHARS as u64)
        } else {
            Column::Id.eq(key)
        };
        let row = Entity::delete_many().filter(Column::Namespace.eq(self.namespace().as_str())).filter(is_row);
        Ok(row.exec(self.tx()).await.map_err(failed)?.rows_affected > 0)
    }

    /// Writes a schedule of the locked namespace. The next event of this write names its row.
    pub async fn put_schedule(&self, schedule: &Schedule) -> Result<()> {
        let row = Model {
            namespace: schedule.name.namespace.to_string(),
            id: schedule.name.id.to_string(),
            entries: rows::to_json(&schedule.entries)?,
            time_zone: schedule.time_zone.clone(),
            state: schedule.state.as_str().to_owned(),
            creator: schedule.creator.clone(),
            reason: schedule.reason.clone(),
            base_epoch: schedule.base.epoch,
            base_revision: schedule.base.revision,
            handled_until: schedule.handled_until.0,
            next_time: schedule.next_time.map(|time| time.0),
            last_due_time: schedule.last_due_time.map(|time| time.0),
            problem: schedule.problem.clone(),
            etag: schedule.edits,
            create_time: schedule.create_time.0,
            update_time: schedule.update_time.0,
            tag: Vec::new(),
        };
        self.put_row::<Entity>(row).await
    }
}
