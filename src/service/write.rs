//! The one way a change is written: replay or lock, decide elsewhere, record its event, keep the answer, commit, wake.
//!
//! A call records one event (ADR 0002). PublishVersions alone records one for each version, under one lock and with one commit
//! (ADR 0064): what the first of them proved of the log holds for the next.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::active_sets::ActiveSet;
use super::{Context, Service, Signer};
use crate::defect::{Defect, planted};
use crate::domain::event::{Change, Cursor, Event, EventKind, Head, Payload, Position, RowChange};
use crate::domain::import::{Import, unfinished};
use crate::domain::name::NamespaceId;
use crate::domain::outcome::Activated;
use crate::domain::time::Micros;
use crate::domain::{Error, Reason, Result};
use crate::signing::{digest_of, event_hash};
use crate::store::{IdempotencyKey, KeptAnswer, ReadTx, WriteTx};

/// A mutation, known by its request id and the digest of its request.
#[derive(Debug)]
pub(super) struct Call<'a> {
    service: &'a Service,
    context: &'a Context,
    key: Option<IdempotencyKey>,
    fingerprint: String,
}

/// A mutation whose namespace is locked.
#[derive(Debug)]
pub(super) struct Write<'a> {
    call: &'a Call<'a>,
    namespace: NamespaceId,
    recorded: RecordedEvents,
    pub(super) tx: WriteTx,
}

/// What the events that this write recorded so far leave behind.
#[derive(Debug, Default)]
struct RecordedEvents {
    /// The active set after the last of them; none when there was no event.
    active_set: Option<ActiveSet>,
    /// The rows that each of them names, with its place.
    rows: Vec<(Cursor, Vec<RowChange>)>,
    /// The last revision that changed a role binding, once it was proven.
    access_revision: Option<i64>,
    /// Whether it was seen that no import is unfinished.
    no_import: bool,
}

/// What a mutation finds when it begins.
#[derive(Debug)]
pub(super) enum Begun<'a, T> {
    /// It was answered before: this is the answer.
    Replayed(T),
    /// Nobody answered it yet.
    Fresh(Box<Write<'a>>),
}

/// The event that was written; neither cursor nor statement with `validate_only`.
#[derive(Debug, Clone)]
pub(super) struct Recorded {
    pub(super) cursor: Option<Position>,
    pub(super) statement: String,
}

impl Service {
    /// Names a call. `request` is what its fingerprint is made of.
    pub(super) fn call<'a>(
        &'a self,
        context: &'a Context,
        method: &'static str,
        request: &impl Serialize,
    ) -> Result<Call<'a>> {
        let text = serde_json::to_vec(request).map_err(|error| Error::internal(error.to_string()))?;
        let keeps = !context.options.validate_only && !planted(Defect::NoIdempotency);
        let key = (!context.options.request_id.is_empty() && keeps).then(|| IdempotencyKey {
            principal: context.actor(),
            method,
            request_id: context.options.request_id.clone(),
        });
        Ok(Call { service: self, context, key, fingerprint: digest_of(&text).to_string() })
    }
}

/// The event that says `payload`, chained to `head` and sealed.
pub(super) fn sealed(signer: &Signer, head: Head, payload: &Payload, statement: String) -> Result<Event> {
    let bytes = serde_json::to_vec(payload).map_err(|error| Error::internal(error.to_string()))?;
    let hash = event_hash(&head.hash, &bytes);
    Ok(Event {
        namespace: payload.namespace.clone(),
        cursor: Cursor { epoch: payload.epoch, revision: payload.revision },
        payload: bytes,
        prev_hash: head.hash,
        hash,
        seal: signer.seal(&hash)?,
        seal_key_id: signer.sealing().key_id().to_owned(),
        statement,
    })
}

impl<'a> Call<'a> {
    /// The answer this very request got before.
    ///
    /// # Errors
    /// `REQUEST_ID_REUSED` when another request had its id.
    pub(super) async fn replayed<T: DeserializeOwned>(&self, tx: &ReadTx) -> Result<Option<T>> {
        let Some(key) = &self.key else { return Ok(None) };
        let Some(kept) = tx.kept_answer(key, self.context.now).await? else { return Ok(None) };
        if kept.fingerprint != self.fingerprint {
            let message = format!("request_id {} was used for another {} request", key.request_id, key.method);
            return Err(Error::new(Reason::RequestIdReused, message).with("request_id", &key.request_id));
        }
        let answer = serde_json::from_str(&kept.answer);
        answer.map(Some).map_err(|error| Error::data_loss(format!("unreadable kept answer: {error}")))
    }

    /// An answer, and the request id it is kept under; none without an id.
    pub(super) fn kept(&self, answer: &impl Serialize) -> Result<Option<(&IdempotencyKey, KeptAnswer)>> {
        let Some(key) = &self.key else { return Ok(None) };
        let answer = serde_json::to_string(answer).map_err(|error| Error::internal(error.to_string()))?;
        Ok(Some((key, KeptAnswer { fingerprint: self.fingerprint.clone(), answer })))
    }

    /// Locks a namespace, unless this replica can't sign what would come of it.
    pub(super) async fn begin<T: DeserializeOwned>(&'a self, namespace: &NamespaceId) -> Result<Begun<'a, T>> {
        // First: what was lost may be the very event that says who signs.
        self.service.store.check_no_suspected_loss()?;
        self.service.hub.check_thawed(namespace).await?;
        self.begin_frozen(namespace).await
    }

    /// The same of a namespace that may be frozen: for what ends that.
    pub(super) async fn begin_frozen<T: DeserializeOwned>(&'a self, namespace: &NamespaceId) -> Result<Begun<'a, T>> {
        self.service.store.check_no_suspected_loss()?;
        self.service.check_may_sign(self.context.now).await?;
        let begun = self.begin_unsigned(namespace).await?;
        if let Begun::Fresh(write) = &begun {
            // Under the lock: from here on nobody who signs again what a key signed can miss this write.
            self.service.check_keys_level(write.tx.read(), self.context.now).await?;
        }
        Ok(begun)
    }

    /// Locks a namespace for what needs no signing key.
    pub(super) async fn begin_unsigned<T: DeserializeOwned>(&'a self, namespace: &NamespaceId) -> Result<Begun<'a, T>> {
        // Read before the lock: what this replica had read by then must be in the log.
        let read = self.service.hub.read_up_to(namespace);
        let tx = self.service.store.begin(namespace).await?;
        // Otherwise a revision could be used twice.
        read.check_reaches(namespace, tx.head().cursor);
        self.service.store.check_no_suspected_loss()?;
        self.service.hub.note_found_head(namespace, tx.head().cursor);
        if let Some(answer) = self.replayed(tx.read()).await? {
            return Ok(Begun::Replayed(answer));
        }
        Ok(Begun::Fresh(Box::new(Write {
            call: self,
            namespace: namespace.clone(),
            recorded: RecordedEvents::default(),
            tx,
        })))
    }
}

/// What may change a namespace while its import is not finished: what brings no policy and no version.
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

impl Write<'_> {
    /// The time of the event of this write: that of all it writes.
    pub(super) fn time(&self) -> Micros {
        self.tx.time()
    }

    /// The call that writes.
    pub(super) fn context(&self) -> &Context {
        self.call.context
    }

    /// The namespace that is locked.
    pub(super) fn namespace(&self) -> &NamespaceId {
        &self.namespace
    }

    /// The row of the namespace must say what its imports say of one that is not finished: whoever can change it could end or
    /// begin an import by it.
    ///
    /// # Errors
    /// `DATA_LOSS`.
    pub(super) fn check_importing(&self, imports: &[Import]) -> Result<bool> {
        let is_unfinished = imports.iter().any(|import| !import.is_finished);
        if is_unfinished == self.tx.is_importing() {
            return Ok(is_unfinished);
        }
        let namespace = &self.namespace;
        Err(Error::data_loss(format!("{namespace}: its row and its imports differ about one that is not finished")))
    }

    /// Until an import is finished nothing else brings policies and versions.
    async fn check_no_import(&mut self) -> Result<()> {
        if self.recorded.no_import {
            return Ok(());
        }
        let imports = self.tx.read().imports(&self.namespace).await?;
        if imports.is_empty() {
            self.tx.note_no_import();
        }
        if self.check_importing(&imports)? {
            return Err(unfinished(&self.namespace));
        }
        self.recorded.no_import = true;
        Ok(())
    }

    /// Signs, chains and appends an event of this write.
    pub(super) async fn record(&mut self, change: Change) -> Result<Recorded> {
        let context = self.call.context;
        if !may_interrupt_import(change.kind) && !self.namespace.is_system() {
            self.check_no_import().await?;
        }
        let (service, signer) = (self.call.service, &self.call.service.signer);
        let (head, now, actor) = (self.tx.head(), self.time(), context.actor());
        if change.kind != EventKind::Resign {
            // Whoever signs again proves each version by the event that published it, and goes on without those that are not.
            service.check_read(&self.tx).await?;
        }
        let before = self.active_set(&change).await?;
        if context.options.validate_only {
            return Ok(Recorded { cursor: None, statement: String::new() });
        }
        let active_set = before.after(&change.pointers, head.next());
        let root = active_set.root();
        let statement = if change.pointers.is_empty() {
            String::new()
        } else {
            signer.statement(&self.namespace, head, &change, root, &actor, now)?
        };
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
        } = change;
        let access_revision = match (&access, self.recorded.access_revision) {
            // The bindings were proven before this one changed them.
            (Some(_), _) => self.tx.access_revision(),
            (None, Some(proven)) => proven,
            (None, None) => self.call.service.access.revision(signer, &self.namespace, &self.tx).await?,
        };
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
        };
        let event = sealed(signer, head, &payload, statement)?;
        self.tx.append(&event, &payload).await?;
        self.recorded.active_set = Some(active_set.at(event.head()));
        self.recorded.rows.push((event.cursor, payload.rows));
        self.recorded.access_revision = Some(access_revision);
        Ok(Recorded { cursor: Some(event.head().into()), statement: event.statement })
    }

    /// The active set at the head, proven, with the pointers that a change moves where it has them. A namespace is frozen whose
    /// pointers do not make it.
    async fn active_set(&self, change: &Change) -> Result<ActiveSet> {
        let found = self.active_set_at_head(change).await;
        if found.as_ref().is_err_and(|error| error.reason == Reason::DataLoss) {
            let (hub, tx) = (&self.call.service.hub, &self.tx);
            hub.freeze_if_moved(tx.read(), &self.namespace, tx.head()).await?;
        }
        found
    }

    async fn active_set_at_head(&self, change: &Change) -> Result<ActiveSet> {
        let (service, head, tx) = (self.call.service, self.tx.head(), self.tx.read());
        let before = match &self.recorded.active_set {
            Some(after_the_event_before) => after_the_event_before.clone(),
            None => service.active_sets.at_head(&service.signer, tx, &self.namespace, head).await?,
        };
        if !change.pointers.is_empty() {
            let moved: Vec<_> = change.pointers.iter().map(|moved| &moved.policy).collect();
            before.check_pointed(&tx.pointed(&self.namespace, &moved).await?)?;
        }
        Ok(before)
    }

    /// Records an activation and says what it did.
    pub(super) async fn record_activation(&mut self, change: Change) -> Result<(Activated, Recorded)> {
        debug_assert!(matches!(
            change.kind,
            EventKind::Activate | EventKind::Rollback | EventKind::Deactivate | EventKind::BreakGlass
        ));
        let changes = change.pointers.clone();
        let recorded = self.record(change).await?;
        let watching_streams = match self.call.service.hub.existing(&self.namespace) {
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

    /// Keeps the answer, commits, and wakes the watches. With `validate_only` it undoes everything instead.
    ///
    /// # Errors
    /// `OUTCOME_UNKNOWN` when nobody knows whether it was committed.
    pub(super) async fn finish<T: Serialize>(self: Box<Self>, answer: T) -> Result<T> {
        if self.recorded.rows.is_empty() {
            // What was decided is that nothing changes.
            self.call.service.check_read(&self.tx).await?;
        }
        if self.call.context.options.validate_only {
            return Ok(answer);
        }
        if let Some((key, kept)) = self.call.kept(&answer)? {
            self.tx.keep_answer(key, kept, self.call.context.now).await?;
        }
        let (hub, sets) = (Arc::clone(&self.call.service.hub), Arc::clone(&self.call.service.active_sets));
        let known = Arc::clone(&self.call.service.known_rows);
        let (namespace, cursor, recorded) = (self.namespace, self.tx.head().cursor, self.recorded);
        let committed = move || {
            for (at, rows) in recorded.rows {
                known.learn(&namespace, at, rows);
            }
            if let Some(set) = recorded.active_set {
                sets.keep(&namespace, set);
            }
            hub.committed(&namespace, cursor);
        };
        self.tx.commit(committed).await?;
        Ok(answer)
    }
}
