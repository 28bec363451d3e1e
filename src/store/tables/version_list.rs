//! The versions of a policy that decide about its next one: the open ones, and the labels of the published ones.
//!
//! A version whose row is deleted or whose state is changed, even for a moment, would not be counted. Invariant: a list is built from the
//! authenticated row of every number up to the policy's highest, or not at all. Numbers have no gaps, no row is ever deleted, and a closed
//! version stays closed, so closed ones are authenticated once and cached.

use sea_orm::{
    ColumnTrait as _, EntityTrait as _, Iterable as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    sea_query::Expr,
};

use crate::domain::event::Cursor;
use crate::domain::import::unfinished;
use crate::domain::label::Label;
use crate::domain::name::{NamespaceId, PolicyName};
use crate::domain::policy::Policy;
use crate::domain::version::{Version, VersionState};
use crate::domain::{Error, Result};
use crate::store::authenticated::authenticate;
use crate::store::entity::namespaces;
use crate::store::entity::versions::{Column, Entity, Model};
use crate::store::error::failed;
use crate::store::tables::closed_versions::Closed;
use crate::store::tables::rows;
use crate::store::transaction::views::ReadTx;

/// Number of rows read in one statement, each some 500 bytes.
const VERSIONS_PER_QUERY: u64 = 1_000;
/// The open versions of a policy, and the labels of its published ones, in order of numbers.
#[derive(Debug)]
pub struct VersionList {
    /// Drafts and staged versions.
    pub open: Vec<Version>,
    /// Labels of published versions.
    pub published_labels: Vec<Label>,
}

impl ReadTx {
    /// Returns the versions of a policy that decide about its next one. The policy is read in the same transaction.
    ///
    /// # Errors
    /// `DATA_LOSS` when a version is missing; `IMPORT_UNFINISHED` when an unfinished import may still bring it.
    pub async fn version_list(&self, policy: &Policy) -> Result<VersionList> {
        let name = &policy.name;
        let (head, is_importing) = self.head_and_import(&name.namespace).await?;
        let known = self.closed.of(name, head);
        let mut closed = Closed { head, ..Closed::clone(&known) };
        let mut list = VersionList { open: Vec::new(), published_labels: closed.labels.clone() };
        let mut number = known.through;
        loop {
            let page = self.versions_after(name, number).await?;
            let is_last = page.len() < usize::try_from(VERSIONS_PER_QUERY).unwrap_or(usize::MAX);
            for row in page {
                number += 1;
                if row.number != number {
                    return Err(missing(policy, number, is_importing));
                }
                self.sort_in(row, &mut list, &mut closed)?;
            }
            if is_last {
                break;
            }
        }
        if number != policy.latest_version {
            return Err(missing(policy, number + 1, is_importing));
        }
        // Do not cache what this write wrote: it may be rolled back.
        if closed.through > known.through && !self.ledger.has_written() {
            self.closed.learn(name, closed);
        }
        Ok(list)
    }

    fn sort_in(&self, row: Model, list: &mut VersionList, closed: &mut Closed) -> Result<()> {
        let state = VersionState::parse(&row.state).ok_or_else(|| Error::data_loss("unreadable state"))?;
        if state.is_open() {
            list.open.push(rows::version(self.authenticated::<Entity>(row)?)?);
            return Ok(());
        }
        // The MAC suffices: a closed version has no newer row.
        let version = rows::version(authenticate::<Entity>(self.macs.as_ref(), row)?)?;
        let is_next = closed.through + 1 == version.number;
        if is_next {
            closed.through = version.number;
        }
        if let Some(label) = version.label.filter(|_| state == VersionState::Published) {
            if is_next {
                closed.labels.push(label.clone());
            }
            list.published_labels.push(label);
        }
        Ok(())
    }

    /// Returns the next versions after a number, without their manifests.
    async fn versions_after(&self, policy: &PolicyName, number: i64) -> Result<Vec<Model>> {
        let columns = Column::iter().filter(|column| !matches!(column, Column::Manifest));
        let query = Entity::find()
            .select_only()
            .columns(columns)
            .column_as(Expr::cust("''"), Column::Manifest)
            .filter(Column::Namespace.eq(policy.namespace.as_str()))
            .filter(Column::Policy.eq(policy.policy.as_str()))
            .filter(Column::Number.gt(number))
            .order_by_asc(Column::Number)
            .limit(VERSIONS_PER_QUERY);
        query.all(&self.tx).await.map_err(failed)
    }

    /// Returns the head of a log, and whether its row states that an import is unfinished.
    async fn head_and_import(&self, namespace: &NamespaceId) -> Result<(Cursor, bool)> {
        use namespaces::Column as N;
        let columns = [N::Epoch, N::HeadRevision, N::Importing];
        let query = namespaces::Entity::find_by_id(namespace.as_str()).select_only().columns(columns);
        let row: Option<(i64, i64, i64)> = query.into_tuple().one(&self.tx).await.map_err(failed)?;
        let (epoch, revision, importing) = row.ok_or_else(|| namespace.not_found())?;
        Ok((Cursor { epoch, revision }, importing != 0))
    }
}

/// Returns the error for a list without the version of a number. An import writes policies before their versions; in both cases nothing is
/// decided.
fn missing(policy: &Policy, number: i64, is_importing: bool) -> Error {
    if is_importing {
        return unfinished(&policy.name.namespace);
    }
    let (name, latest) = (policy.name.version(number), policy.latest_version);
    tracing::error!(target: "policyhub::audit", version = name, latest, "a decision was refused: versions are not those of the policy");
    Error::data_loss(format!("{name}: the rows of versions are not those from 1 to {latest}"))
}
