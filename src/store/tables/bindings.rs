//! Queries of role bindings, and of the revision of the log that changed them last.

use sea_orm::{ColumnTrait as _, Condition, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _};

use crate::domain::access::Role;
use crate::domain::binding::{BindingName, RoleBinding};
use crate::domain::command::PageRequest;
use crate::domain::event::Head;
use crate::domain::name::NamespaceId;
use crate::domain::time::Micros;
use crate::domain::{Error, Result};
use crate::store::authenticated::Authenticated;
use crate::store::entity::namespaces;
use crate::store::entity::role_bindings::{Column, Entity, Model};
use crate::store::error::failed;
use crate::store::handle::Store;
use crate::store::tables::rows;
use crate::store::transaction::views::{ReadTx, WriteTx};

/// The state of a log, as recorded in the row of its namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogState {
    /// The end of the log.
    pub head: Head,
    /// The last revision that changed a role binding; 0 when none did.
    pub access_revision: i64,
}

impl Store {
    /// Reads the states of the logs of some namespaces in one query. A namespace that does not exist is left out.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`, `DATA_LOSS`.
    pub async fn log_states(&self, ids: &[&NamespaceId]) -> Result<Vec<(NamespaceId, LogState)>> {
        let ids = ids.iter().map(|id| id.as_str());
        let query = namespaces::Entity::find().filter(namespaces::Column::Id.is_in(ids));
        let rows = query.all(&self.reader()?).await.map_err(failed)?;
        rows.into_iter().map(|row| Ok((rows::namespace_id(&row.id)?, state(&row)?))).collect()
    }
}

impl Store {
    /// Returns the roles that any of the members has in any namespace. The rows are not authenticated. A text that is no role is skipped.
    ///
    /// # Errors
    /// `DATABASE_UNAVAILABLE`.
    pub async fn roles_of(&self, members: &[String]) -> Result<(Vec<Role>, Option<NamespaceId>)> {
        let mine = Entity::find().filter(Column::Member.is_in(members));
        let query = mine
            .select_only()
            .column(Column::Role)
            .column_as(Column::Namespace.min(), "first_place")
            .column_as(Column::Namespace.max(), "last_place")
            .group_by(Column::Role);
        let found: Vec<(String, String, String)> = query.into_tuple().all(&self.reader()?).await.map_err(failed)?;
        let first = found.iter().map(|(_, first, _)| first.as_str()).min();
        let only = first.filter(|first| found.iter().all(|(_, _, last)| last.as_str() == *first));
        let only = only.and_then(|id| NamespaceId::parse("namespace", id).ok());
        Ok((found.iter().filter_map(|(role, ..)| rows::parse_enum("role", role).ok()).collect(), only))
    }
}

fn state(row: &namespaces::Model) -> Result<LogState> {
    Ok(LogState { head: rows::head(row)?, access_revision: row.access_revision })
}

impl ReadTx {
    /// Returns what the row of a namespace states of its log, if the namespace exists.
    pub async fn log_state(&self, id: &NamespaceId) -> Result<Option<LogState>> {
        let row = namespaces::Entity::find_by_id(id.as_str()).one(&self.tx).await.map_err(failed)?;
        row.as_ref().map(state).transpose()
    }

    /// Returns every binding of a log, in order of ids. `limits::ROLE_BINDINGS_PER_NAMESPACE_MAX` bounds their number.
    pub async fn bindings(&self, namespace: &NamespaceId) -> Result<Vec<RoleBinding>> {
        let query = Entity::find().filter(Column::Namespace.eq(namespace.as_str())).order_by_asc(Column::Id);
        let rows = query.all(&self.tx).await.map_err(failed)?.into_iter();
        rows.map(|row| binding(self.authenticated::<Entity>(row)?)).collect()
    }

    /// Returns a page of the namespaces in which one of the members has a role, in order of ids.
    pub async fn namespaces_of(&self, members: &[String], page: &PageRequest<NamespaceId>) -> Result<Vec<NamespaceId>> {
        let mut mine = Condition::all().add(Column::Member.is_in(members));
        if let Some(after) = &page.after {
            mine = mine.add(Column::Namespace.gt(after.as_str()));
        }
        let query = Entity::find().select_only().column(Column::Namespace).distinct().filter(mine);
        let query = query.order_by_asc(Column::Namespace).limit(u64::from(page.size));
        let ids: Vec<String> = query.into_tuple().all(&self.tx).await.map_err(failed)?;
        let parse = |id: String| NamespaceId::parse("namespace", &id);
        ids.into_iter().map(|id| parse(id).map_err(|error| Error::data_loss(error.message))).collect()
    }
}

fn binding(Authenticated(row): Authenticated<Model>) -> Result<RoleBinding> {
    let namespace = NamespaceId::parse("namespace", &row.namespace);
    Ok(RoleBinding {
        name: BindingName { namespace: namespace.map_err(|error| Error::data_loss(error.message))?, id: row.id },
        role: rows::parse_enum("role", &row.role)?,
        member: row.member,
        creator: row.creator,
        create_time: Micros(row.create_time),
    })
}

impl WriteTx {
    /// Adds a binding. The next event of this write names its row.
    pub async fn insert_binding(&mut self, binding: &RoleBinding) -> Result<()> {
        let row = Model {
            namespace: self.namespace().to_string(),
            id: binding.name.id.clone(),
            role: binding.role.as_str().to_owned(),
            member: binding.member.clone(),
            creator: binding.creator.clone(),
            create_time: binding.create_time.0,
            revision: self.head().next().revision,
            tag: Vec::new(),
        };
        self.insert_row::<Entity>(row).await?;
        self.access_changes().await
    }

    /// Deletes a binding. The next event of this write names its row.
    pub async fn delete_binding(&mut self, name: &BindingName) -> Result<()> {
        let key = (self.namespace().to_string(), name.id.clone());
        let row = Entity::find_by_id(key).one(self.tx()).await.map_err(failed)?;
        self.delete_row::<Entity>(&row.ok_or_else(|| name.not_found())?).await?;
        self.access_changes().await
    }
}
