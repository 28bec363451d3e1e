//! An open write transaction of one namespace: it records events, then stores the answer, commits and wakes the watches.
//!
//! A call records one event (ADR 0002). Only PublishVersions records one for each version, under one lock and with one commit (ADR 0064):
//! what was proven of the log for the first one holds for the next.

use std::sync::Arc;

use serde::Serialize;

use super::active_sets::ProvenActiveSet;
use super::idempotency::IdempotentCall;
use super::signed_event::sign_event;
use crate::domain::event::{Change, Cursor, EventKind, Payload, Position, RowChange};
use crate::domain::import::{Import, unfinished};
use crate::domain::name::{NamespaceId, PolicyId};
use crate::domain::outcome::Activated;
use crate::domain::time::Micros;
use crate::domain::{Error, Reason, Result};
use crate::service::context::Context;
use crate::signing::digest_of;
use crate::store::WriteTx;

/// A write transaction of a locked namespace.
#[derive(Debug)]
pub struct Write<'a> {
    call: &'a IdempotentCall<'a>,
    namespace: NamespaceId,
    recorded: RecordedEvents,
    /// Policies whose pointers the decision relies on, besides those that it moves.
    pointers_read: Vec<PolicyId>,
    /// Whether it is refused when the namespace is frozen by the time of its commit.
    needs_thawed: bool,
    pub tx: WriteTx,
}

/// The state after the events that this write has recorded so far.
#[derive(Debug, Default)]
struct RecordedEvents {
    /// The active set after the last event; none when there was no event.
    active_set: Option<ProvenActiveSet>,
    /// The rows that each event names, with its cursor.
    rows: Vec<(Cursor, Vec<RowChange>)>,
    /// The last revision that changed a role binding, once it was proven.
    access_revision: Option<i64>,
    /// Whether this write found that no import is unfinished.
    no_import: bool,
}

/// A recorded event; without cursor and statement with `validate_only`.
#[derive(Debug, Clone)]
pub struct RecordedEvent {
    pub cursor: Option<Position>,
    pub statement: String,
}

/// Returns whether an event may be written while an import is unfinished: it adds no policy and no version.
fn may_interrupt_import(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::ImportNamespace
            | EventKind::ThawNamespace
            | EventKind::CreateRoleBinding
            | EventKind::DeleteRoleBinding
            | EventKind::Resign
            | EventKind::BumpEpoch
    )
}

/// Sorts the members of settings: their order in an event must not depend on the features of the JSON library, which dependencies turn on.
fn with_sorted_members(mut settings: serde_json::Value) -> serde_json::Value {
    settings.sort_all_objects();
    settings
}

impl<'a> Write<'a> {
    pub fn new(call: &'a IdempotentCall<'a>, namespace: NamespaceId, tx: WriteTx, needs_thawed: bool) -> Self {
        Self { call, namespace, recorded: RecordedEvents::default(), pointers_read: Vec::new(), needs_thawed, tx }
    }
}

impl Write<'_> {
    /// Returns the time of this write, which all its rows and events have.
    pub fn time(&self) -> Micros {
        self.tx.time()
    }

    /// Returns the context of the call.
    pub fn context(&self) -> &Context {
        self.call.context()
    }

    /// Returns the namespace that is locked.
    pub fn namespace(&self) -> &NamespaceId {
        &self.namespace
    }

    /// Notes that the decision relies on where these policies point: their rows must match the log when the event is recorded.
    pub fn rely_on_pointers<'a>(&mut self, policies: impl IntoIterator<Item = &'a PolicyId>) {
        self.pointers_read.extend(policies.into_iter().cloned());
    }

    /// Compares the rows that were read so far with the newest event about each.
    ///
    /// # Errors
    /// `DATA_LOSS`.
    pub async fn check_read(&self) -> Result<()> {
        self.call.writer().rows.check_read(&self.tx).await
    }

    /// Returns whether an import is unfinished. The row of the namespace must match its imports: otherwise an attacker who can change the
    /// row could end or begin an import.
    ///
    /// # Errors
    /// `DATA_LOSS`.
    pub fn check_importing(&self, imports: &[Import]) -> Result<bool> {
        let is_unfinished = imports.iter().any(|import| !import.is_finished);
        if is_unfinished == self.tx.is_importing() {
            return Ok(is_unfinished);
        }
        let namespace = &self.namespace;
        Err(Error::data_loss(format!("{namespace}: its row and its imports differ about one that is not finished")))
    }

    /// Refuses a change while an import is unfinished: only the import may add policies and versions.
    async fn check_no_import(&mut self) -> Result<()> {
        if self.recorded.no_import {
            return Ok(());
        }
        let imports = self.tx.imports().await?;
        if self.check_importing(&imports)? {
            return Err(unfinished(&self.namespace));
        }
        self.recorded.no_import = true;
        Ok(())
    }

    /// Records a change: builds its event, signs it and appends it to the log.
    pub async fn record(&mut self, change: Change) -> Result<RecordedEvent> {
        let context = self.call.context();
        if !may_interrupt_import(change.kind) && !self.namespace.is_system() {
            self.check_no_import().await?;
        }
        let signer = &self.call.writer().log.signer;
        let (head, now, actor) = (self.tx.head(), self.time(), context.actor());
        if change.kind != EventKind::Resign {
            // Signing again proves each version by the event that published it, and skips those without one.
            self.check_read().await?;
        }
        let before = self.read_active_set(&change).await?;
        if context.options.validate_only {
            return Ok(RecordedEvent { cursor: None, statement: String::new() });
        }
        let active_set = before.after(&change.pointers, head.next());
        let root = active_set.root();
        let statement = if change.pointers.is_empty() {
            String::new()
        } else {
            signer.statement(&self.namespace, head, &change, root, &actor, now)?
        };
        let access_revision = self.find_access_revision(&change).await?;
        let Change {
            kind,
            reason,
            policy,
            versions,
            pointers,
            settings,
            skipped_validation,
            access,
            approvals,
            imported,
            schedule,
        } = change;
        let settings = settings.map(with_sorted_members);
        let cursor = head.next();
        let payload = Payload {
            store: signer.store().to_owned(),
            namespace: self.namespace.clone(),
            epoch: cursor.epoch,
            revision: cursor.revision,
            kind,
            time: now,
            actor,
            request_id: context.options.request_id.clone(),
            reason,
            policy,
            versions,
            changes: pointers,
            settings,
            skipped_validation,
            access,
            access_revision,
            approvals,
            statement_digest: (!statement.is_empty()).then(|| digest_of(statement.as_bytes())),
            active_set_root: Some(root),
            rows: self.tx.take_written(),
            imported,
            settings_read: self.tx.take_settings_read(),
            schedule,
        };
        let event = sign_event(signer, head, &payload, statement)?;
        self.tx.append(&event, &payload).await?;
        self.recorded.active_set = Some(active_set.at(event.head()));
        self.recorded.rows.push((event.cursor, payload.rows));
        self.recorded.access_revision = Some(access_revision);
        Ok(RecordedEvent { cursor: Some(event.head().into()), statement: event.statement })
    }

    /// Returns the last revision that changed a role binding, proven, for an event to name.
    async fn find_access_revision(&self, change: &Change) -> Result<i64> {
        match (&change.access, self.recorded.access_revision) {
            // The bindings were proven before they were changed.
            (Some(_), _) => Ok(self.tx.access_revision()),
            (None, Some(proven)) => Ok(proven),
            (None, None) => self.call.writer().roles.revision(&self.namespace, &self.tx).await,
        }
    }

    /// Returns the proven active set at the head, in which the pointers that a change moves must match their rows. Freezes the namespace
    /// when its pointers do not make that set.
    async fn read_active_set(&self, change: &Change) -> Result<ProvenActiveSet> {
        let found = self.read_active_set_at_head(change).await;
        if found.as_ref().is_err_and(|error| error.reason == Reason::DataLoss) {
            let (hub, tx) = (&self.call.writer().log.hub, &self.tx);
            hub.freeze_if_moved(tx.read(), &self.namespace, tx.head()).await?;
        }
        found
    }

    async fn read_active_set_at_head(&self, change: &Change) -> Result<ProvenActiveSet> {
        let (log, head, tx) = (&self.call.writer().log, self.tx.head(), self.tx.read());
        let before = match &self.recorded.active_set {
            Some(after_the_event_before) => after_the_event_before.clone(),
            None => log.active_sets.read_at_head(&log.signer, tx, &self.namespace, head).await?,
        };
        if !change.pointers.is_empty() {
            let moved = change.pointers.iter().map(|moved| &moved.policy).chain(&self.pointers_read);
            let moved: Vec<_> = moved.collect();
            before.check_pointed(&tx.pointed(&self.namespace, &moved).await?)?;
        }
        Ok(before)
    }

    /// Records an activation and returns what it did.
    pub async fn record_activation(&mut self, change: Change) -> Result<(Activated, RecordedEvent)> {
        debug_assert!(matches!(
            change.kind,
            EventKind::Activate | EventKind::Rollback | EventKind::Deactivate | EventKind::BreakGlass
        ));
        let changes = change.pointers.clone();
        let recorded = self.record(change).await?;
        let watching_streams = match self.call.writer().log.hub.existing(&self.namespace) {
            Some(feed) if recorded.cursor.is_none() => u32::try_from(feed.streams()).unwrap_or(u32::MAX),
            _ => 0,
        };
        let activated = Activated {
            cursor: recorded.cursor,
            changes,
            statement: recorded.statement.clone(),
            watching_streams,
            namespace: self.namespace.clone(),
        };
        Ok((activated, recorded))
    }

    /// Stores the answer, commits, and wakes the watches. With `validate_only` it rolls back instead. Only `mutate` calls it.
    ///
    /// # Errors
    /// `DATA_LOSS` when the namespace was frozen meanwhile, `OUTCOME_UNKNOWN` when it is unknown whether it was committed.
    pub async fn commit<T: Serialize>(self: Box<Self>, answer: T) -> Result<T> {
        if self.recorded.rows.is_empty() {
            // Nothing changes, but the rows behind that decision have to be current too.
            self.check_read().await?;
        }
        if self.call.context().options.validate_only {
            return Ok(answer);
        }
        if let Some((key, kept)) = self.call.kept(&answer)? {
            self.tx.keep_answer(key, kept, self.call.context().now).await?;
        }
        let writer = self.call.writer();
        if self.needs_thawed {
            // A check may have frozen the namespace since the lock was taken.
            writer.log.store.check_thawed(&self.namespace)?;
        }
        let (hub, sets) = (Arc::clone(&writer.log.hub), Arc::clone(&writer.log.active_sets));
        let rows_seen = Arc::clone(&writer.rows);
        let (namespace, cursor, recorded) = (self.namespace, self.tx.head().cursor, self.recorded);
        let (unknown_hub, unknown_namespace) = (Arc::clone(&hub), namespace.clone());
        let committed = move || {
            for (at, rows) in recorded.rows {
                rows_seen.learn(&namespace, at, rows);
            }
            if let Some(set) = recorded.active_set {
                sets.keep(&namespace, set);
            }
            hub.committed(&namespace, cursor);
        };
        // It may be committed all the same.
        self.tx.commit(committed).await.inspect_err(|_| unknown_hub.note_moved([unknown_namespace]))?;
        Ok(answer)
    }
}
