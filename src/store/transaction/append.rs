//! Appends events to a locked log, and moves its head and the pointers.

use sea_orm::sea_query::ExprTrait as _;
use sea_orm::{ColumnTrait as _, EntityTrait, IntoActiveModel as _, QueryFilter as _, QueryTrait as _, Set};

use crate::domain::event::{Event, Head, Payload, PointerChange};
use crate::domain::name::PolicyId;
use crate::domain::{Error, Result};
use crate::store::entity::{events, namespaces, pointer_changes, policies};
use crate::store::transaction::joint_writes::JointWrites;
use crate::store::transaction::views::WriteTx;

impl WriteTx {
    /// Appends an event with `payload` and moves its pointers and the head. Only PublishVersions appends several.
    ///
    /// # Errors
    /// `INTERNAL` when the event is not at head + 1 with the head's hash.
    pub async fn append(&mut self, event: &Event, payload: &Payload) -> Result<()> {
        if event.cursor != self.head.next() {
            return Err(Error::internal("an event was made for another cursor of the log"));
        }
        self.add(event, payload.policy.as_ref(), &payload.changes).await
    }

    /// Appends the event that raises the epoch of this log. It moves no pointer.
    ///
    /// # Errors
    /// `INTERNAL` when the event is not at the next revision of a higher epoch with the head's hash.
    pub async fn raise_epoch(&mut self, event: &Event) -> Result<()> {
        let is_raised = event.cursor.epoch > self.head.cursor.epoch;
        if !is_raised || event.cursor != self.head.next_epoch(event.cursor.epoch) {
            return Err(Error::internal("an epoch was raised at another cursor of the log"));
        }
        self.add(event, None, &[]).await
    }

    /// Adds the event, and moves the head and the pointers.
    async fn add(&mut self, event: &Event, policy: Option<&PolicyId>, pointers: &[PointerChange]) -> Result<()> {
        if event.prev_hash != self.head.hash || event.namespace != self.namespace {
            return Err(Error::internal("an event was made for another log"));
        }
        let mut writes = JointWrites::default();
        let row = events::Model {
            namespace: self.namespace.to_string(),
            revision: event.cursor.revision,
            epoch: event.cursor.epoch,
            policy: policy.map(ToString::to_string),
            time: self.time().0,
            payload: event.payload.clone(),
            prev_hash: event.prev_hash.to_vec(),
            hash: event.hash.to_vec(),
            seal: event.seal.clone(),
            seal_key_id: event.seal_key_id.clone(),
            statement: event.statement.clone(),
        };
        writes.insert(events::Entity::insert(row.into_active_model()).into_query(), 1);
        let head = namespaces::ActiveModel {
            epoch: Set(event.cursor.epoch),
            head_revision: Set(event.cursor.revision),
            head_hash: Set(event.hash.to_vec()),
            policies: Set(self.usage.policies),
            versions: Set(self.usage.versions),
            content_bytes: Set(self.usage.content_bytes),
            ..Default::default()
        };
        let own = namespaces::Column::Id.eq(self.namespace.as_str());
        writes.update_one(namespaces::Entity::update_many().set(head).filter(own).into_query());
        self.move_pointers(&mut writes, event.cursor.revision, pointers);
        writes.run(self.tx()).await?;
        self.head = Head { cursor: event.cursor, hash: event.hash };
        Ok(())
    }

    /// Adds the writes that move the pointers of policies, and those of their history.
    fn move_pointers(&self, writes: &mut JointWrites, revision: i64, pointers: &[PointerChange]) {
        if pointers.is_empty() {
            return;
        }
        for PointerChange { policy, version, .. } in pointers {
            let row = policies::ActiveModel {
                active_version: Set(*version),
                active_revision: Set(revision),
                ..Default::default()
            };
            let own =
                policies::Column::Namespace.eq(self.namespace.as_str()).and(policies::Column::Id.eq(policy.as_str()));
            writes.update_one(policies::Entity::update_many().set(row).filter(own).into_query());
        }
        let history = pointers.iter().map(|change| {
            pointer_changes::Model {
                namespace: self.namespace.to_string(),
                policy: change.policy.to_string(),
                revision,
                version: change.version,
            }
            .into_active_model()
        });
        writes.insert(pointer_changes::Entity::insert_many(history).into_query(), pointers.len());
    }
}
