//! Queries of policies, with their settings and pointers.

use sea_orm::{
    ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Select,
    sea_query::{Expr, ExprTrait as _},
};

use crate::domain::command::PageRequest;
use crate::domain::name::{NamespaceId, PolicyId, PolicyName};
use crate::domain::policy::Policy;
use crate::domain::{Error, Reason, Result};
use crate::store::entity::policies::{Column, Entity, Model};
use crate::store::error::failed;
use crate::store::tables::rows;
use crate::store::transaction::views::{ReadTx, WriteTx};

impl ReadTx {
    /// Returns a policy.
    ///
    /// # Errors
    /// `POLICY_NOT_FOUND`, or `NAMESPACE_NOT_FOUND` when the namespace does not exist either.
    pub async fn policy(&self, name: &PolicyName) -> Result<Policy> {
        match self.find_policy(name).await? {
            Some(policy) => Ok(policy),
            None => {
                self.namespace(&name.namespace).await?;
                Err(Error::new(Reason::PolicyNotFound, format!("{name} does not exist")).about(name))
            }
        }
    }

    /// Returns a policy, if it exists.
    pub async fn find_policy(&self, name: &PolicyName) -> Result<Option<Policy>> {
        let key = (name.namespace.to_string(), name.policy.to_string());
        let row = Entity::find_by_id(key).one(&self.tx).await.map_err(failed)?;
        row.map(|row| self.policy_of(row)).transpose()
    }

    /// Returns some policies of a namespace, in order of ids, in one query.
    pub async fn policies_named(&self, namespace: &NamespaceId, ids: &[&PolicyId]) -> Result<Vec<Policy>> {
        let query = Entity::find()
            .filter(Column::Namespace.eq(namespace.as_str()))
            .filter(Column::Id.is_in(ids.iter().map(|id| id.as_str())))
            .order_by_asc(Column::Id);
        self.policies_of(query).await
    }

    /// Returns the revision at which a pointer of a namespace moved last; 0 when none did.
    pub async fn last_move(&self, namespace: &NamespaceId) -> Result<i64> {
        let newest: Option<i64> = Entity::find()
            .select_only()
            .column(Column::ActiveRevision)
            .filter(Column::Namespace.eq(namespace.as_str()))
            .order_by_desc(Column::ActiveRevision)
            .limit(1)
            .into_tuple()
            .one(&self.tx)
            .await
            .map_err(failed)?;
        Ok(newest.unwrap_or_default())
    }

    async fn policies_of(&self, query: Select<Entity>) -> Result<Vec<Policy>> {
        let rows = query.all(&self.tx).await.map_err(failed)?.into_iter();
        rows.map(|row| self.policy_of(row)).collect()
    }

    /// Converts the row of a policy and authenticates it. In a write, it records the settings for the next event.
    fn policy_of(&self, row: Model) -> Result<Policy> {
        let policy = rows::policy(self.authenticated::<Entity>(row)?)?;
        self.ledger.note_policy(&policy);
        Ok(policy)
    }

    /// Returns a page of the policies of a namespace, in order of ids.
    pub async fn policies(&self, namespace: &NamespaceId, page: &PageRequest<PolicyId>) -> Result<Vec<Policy>> {
        let mut query = Entity::find()
            .filter(Column::Namespace.eq(namespace.as_str()))
            .order_by_asc(Column::Id)
            .limit(u64::from(page.size));
        if let Some(after) = &page.after {
            query = query.filter(Column::Id.gt(after.as_str()));
        }
        self.policies_of(query).await
    }
}

impl WriteTx {
    /// Adds a policy and increments the count of the namespace.
    pub async fn insert_policy(&mut self, policy: &Policy) -> Result<()> {
        self.usage_mut().policies += 1;
        self.insert_row::<Entity>(row(policy)?).await
    }

    /// Writes kind, description and settings.
    pub async fn update_policy(&self, policy: &Policy) -> Result<()> {
        let Model { kind, description, settings, etag, update_time, .. } = row(policy)?;
        let columns = [Column::Kind, Column::Description, Column::Settings, Column::Etag, Column::UpdateTime];
        let change = |row: &mut Model| *row = Model { kind, description, settings, etag, update_time, ..row.clone() };
        self.change_row::<Entity>(key(&policy.name.namespace, &policy.name.policy), &columns, change).await
    }

    /// Raises the highest version number in use.
    pub async fn set_latest_version(&self, policy: &PolicyName, number: i64) -> Result<()> {
        let raise = |row: &mut Model| row.latest_version = number;
        self.change_row::<Entity>(key(&policy.namespace, &policy.policy), &[Column::LatestVersion], raise).await
    }
}

fn key(namespace: &NamespaceId, policy: &PolicyId) -> Expr {
    Column::Namespace.eq(namespace.as_str()).and(Column::Id.eq(policy.as_str()))
}

fn row(policy: &Policy) -> Result<Model> {
    let kind = serde_json::to_value(policy.kind).map_err(|error| Error::internal(error.to_string()))?;
    Ok(Model {
        namespace: policy.name.namespace.to_string(),
        id: policy.name.policy.to_string(),
        kind: kind.as_str().unwrap_or_default().to_owned(),
        description: policy.description.clone(),
        settings: rows::to_json(&policy.settings)?,
        latest_version: policy.latest_version,
        active_version: policy.active_version,
        active_revision: policy.active_revision,
        etag: policy.edits,
        create_time: policy.create_time.0,
        update_time: policy.update_time.0,
        tag: Vec::new(),
    })
}
