//! The versions of a policy that decide about its next one: those that are open, and the labels of those that are published.
//!
//! A version that is hidden for a moment, by taking its row away or by changing its state, is one that nobody counts. Invariant:
//! a list is made of the proven row of every number up to the policy's highest, or there is none. Numbers have no gaps, no row
//! is ever deleted, and a version that is closed stays closed: so those are proven once, and remembered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sea_orm::{
    ColumnTrait as _, EntityTrait as _, Iterable as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    sea_query::Expr,
};

use super::entity::namespaces;
use super::entity::versions::{Column, Entity, Model};
use super::error::failed;
use super::rows;
use super::tagged::prove;
use super::transaction::ReadTx;
use crate::domain::event::Cursor;
use crate::domain::import::unfinished;
use crate::domain::label::Label;
use crate::domain::name::{NamespaceId, PolicyName};
use crate::domain::policy::Policy;
use crate::domain::version::{Version, VersionState};
use crate::domain::{Error, Result};

/// Rows read in one statement, each some 500 bytes.
const VERSIONS_PER_QUERY: u64 = 1_000;
/// Policies and labels that are remembered, some 100 bytes each. When there are more, all are forgotten, and their rows read
/// again.
const REMEMBERED_MAX: usize = 200_000;

/// The open versions of a policy, and the labels of its published ones, in order of their numbers.
#[derive(Debug)]
pub struct VersionList {
    /// Drafts and staged versions.
    pub open: Vec<Version>,
    /// Labels of published versions.
    pub published_labels: Vec<Label>,
}

/// What this server proved of the first versions of each policy: that they are closed, and the labels of those published.
#[derive(Debug, Default)]
pub(super) struct ClosedVersions(Mutex<HashMap<PolicyName, Arc<Closed>>>);

#[derive(Debug, Clone)]
struct Closed {
    /// The head of the log where it was proven. It counts in that epoch alone, since a log that lost its tail goes on in another; and
    /// not in a view of before, where what is closed by now is still open, or not there yet.
    head: Cursor,
    /// Each number up to this one is closed.
    through: i64,
    labels: Vec<Label>,
}

impl ClosedVersions {
    fn policies(&self) -> MutexGuard<'_, HashMap<PolicyName, Arc<Closed>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known in a view of the log up to `head`.
    fn of(&self, policy: &PolicyName, head: Cursor) -> Arc<Closed> {
        let is_of_view = |known: &Closed| known.head.epoch == head.epoch && known.head <= head;
        let known = self.policies().get(policy).filter(|known| is_of_view(known)).cloned();
        known.unwrap_or_else(|| Arc::new(Closed { head, through: 0, labels: Vec::new() }))
    }

    /// Remembers what was proven, unless a later view proved more.
    fn learn(&self, policy: &PolicyName, closed: Closed) {
        let mut policies = self.policies();
        if policies.get(policy).is_some_and(|known| known.head > closed.head) {
            return;
        }
        if policies.values().map(|known| known.labels.len() + 1).sum::<usize>() >= REMEMBERED_MAX {
            policies.clear();
        }
        policies.insert(policy.clone(), Arc::new(closed));
    }
}

impl ReadTx {
    /// The versions of a policy that decide about its next one. The policy is read in the same transaction.
    ///
    /// # Errors
    /// `DATA_LOSS` when a version is missing; `IMPORT_UNFINISHED` when it may be on its way.
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
        // What this write wrote may be undone.
        if closed.through > known.through && !self.ledger.has_written() {
            self.closed.learn(name, closed);
        }
        Ok(list)
    }

    fn sort_in(&self, row: Model, list: &mut VersionList, closed: &mut Closed) -> Result<()> {
        let state = VersionState::parse(&row.state).ok_or_else(|| Error::data_loss("unreadable state"))?;
        if state.is_open() {
            list.open.push(rows::version(self.proven::<Entity>(row)?)?);
            return Ok(());
        }
        // Its tag is enough: there is no newer row of a version that is closed.
        let version = rows::version(prove::<Entity>(self.tags.as_ref(), row)?)?;
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

    /// The next versions after a number, without their manifests.
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

    /// The head of a log, and whether its row says that an import is not finished.
    async fn head_and_import(&self, namespace: &NamespaceId) -> Result<(Cursor, bool)> {
        use namespaces::Column as N;
        let columns = [N::Epoch, N::HeadRevision, N::Importing];
        let query = namespaces::Entity::find_by_id(namespace.as_str()).select_only().columns(columns);
        let row: Option<(i64, i64, i64)> = query.into_tuple().one(&self.tx).await.map_err(failed)?;
        let (epoch, revision, importing) = row.ok_or_else(|| namespace.not_found())?;
        Ok((Cursor { epoch, revision }, importing != 0))
    }
}

/// The refusal of a list without the version of a number. An import brings policies before their versions; nothing is decided
/// in either case.
fn missing(policy: &Policy, number: i64, is_importing: bool) -> Error {
    if is_importing {
        return unfinished(&policy.name.namespace);
    }
    let (name, latest) = (policy.name.version(number), policy.latest_version);
    tracing::error!(target: "policyhub::audit", version = name, latest, "a decision was refused: versions are not those of the policy");
    Error::data_loss(format!("{name}: the rows of versions are not those from 1 to {latest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_proven_later_is_nothing_to_an_earlier_view() {
        let closed_versions = ClosedVersions::default();
        let policy = PolicyName {
            namespace: NamespaceId::parse("namespace", "default").expect("a namespace"),
            policy: crate::domain::name::PolicyId::parse("policy", "p").expect("a policy"),
        };
        let at = |epoch, revision| Cursor { epoch, revision };
        let closed = |head, through| Closed { head, through, labels: Vec::new() };
        let through = |head| closed_versions.of(&policy, head).through;
        closed_versions.learn(&policy, closed(at(1, 5), 2));
        assert_eq!((through(at(1, 4)), through(at(1, 5)), through(at(1, 6))), (0, 2, 2));
        assert_eq!((through(at(2, 6)), through(at(0, 9))), (0, 0), "another epoch");
        closed_versions.learn(&policy, closed(at(1, 4), 1));
        assert_eq!(through(at(1, 5)), 2, "an earlier view does not make it forgotten");
        closed_versions.learn(&policy, closed(at(2, 1), 1));
        assert_eq!((through(at(2, 1)), through(at(1, 9))), (1, 0));
    }
}
