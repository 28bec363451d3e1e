//! What a set says of itself, and what it remembers from before a restart.
//!
//! Invariant: what was saved is verified like what comes over a stream; a cursor remembered only raises the bar.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ActiveSet;
use super::unsigned::{check_hint, fingerprint};
use crate::bundle::ActivePolicy;
use crate::evidence::{Evidence, ProofDocument};
use crate::refusal::Refusal;
use crate::snapshot::{Collected, whole};
use policyhub_core::api::pb;
use policyhub_core::domain::event::{Cursor, Position};
use policyhub_core::domain::limits::HEARTBEAT_INTERVAL_MAX;
use policyhub_core::domain::name::PolicyId;
use policyhub_core::signing::KeySet;

impl ActiveSet {
    /// Returns the request that opens a stream for it.
    #[must_use]
    pub fn request(
        &self,
        subscriber_id: String,
        attributes: BTreeMap<String, String>,
        resume: Option<Cursor>,
    ) -> pb::WatchActiveRequest {
        let mode = if self.latest { pb::WatchMode::Latest } else { pb::WatchMode::All };
        let target = pb::WatchTarget {
            parent: self.trust.namespace.name(),
            policies: self.wanted.iter().map(ToString::to_string).collect(),
            resume: resume.map(|cursor| self.position_of(cursor).into()),
        };
        pb::WatchActiveRequest {
            targets: vec![target],
            subscriber_id,
            attributes: attributes.into_iter().collect(),
            mode: mode.into(),
            metadata_only: self.trust.metadata_only,
            key_cursor: self.key_cursor().map(|at| pb::Cursor {
                epoch: at.epoch,
                revision: at.revision,
                fingerprint: 0,
            }),
            heartbeat_interval: self
                .heartbeat_interval
                .and_then(|interval| interval.min(HEARTBEAT_INTERVAL_MAX).try_into().ok()),
        }
    }

    /// Returns the cursor held and the event that the server says stands there: what it wants to have back.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.cursor.map(|cursor| Position { cursor, event: self.event })
    }

    fn position_of(&self, cursor: Cursor) -> Position {
        self.position().filter(|held| held.cursor == cursor).unwrap_or_else(|| cursor.into())
    }

    /// Returns the cursor to go on from: none while what is held is not all there is at that cursor.
    #[must_use]
    pub fn resume_point(&self) -> Option<Cursor> {
        self.cursor.filter(|_| self.whole)
    }

    /// Begins a new stream: drops the parts of an unfinished snapshot, and forgets a refusal of the old stream.
    pub fn begin_stream(&mut self) {
        self.collected = Collected::default();
        self.refused = false;
        if self.cursor.is_none() && !self.knows_store {
            // A document that was refused, and may have been copied from another store, does not say whose set this is.
            self.refused_store = self.trust.store.take().or(self.refused_store.take());
        }
    }

    /// Remembers whose documents were taken before a restart: those of another store are refused from here on.
    pub fn remember_store(&mut self, store: String) {
        self.trust.store.get_or_insert(store);
        self.knows_store = true;
    }

    /// Returns whose documents it takes: known once one verified.
    #[must_use]
    pub fn store(&self) -> Option<&str> {
        self.trust.store.as_deref()
    }

    /// Returns the policies asked for; empty: all.
    #[must_use]
    pub fn wanted(&self) -> &BTreeSet<PolicyId> {
        &self.wanted
    }

    /// Returns the keys it trusts.
    #[must_use]
    pub fn keys(&self) -> &KeySet {
        &self.trust.keys
    }

    /// Returns until when a checkpoint proves that what is held is the newest, in seconds since the Unix epoch; 0: none does.
    #[must_use]
    pub fn fresh_until_seconds(&self) -> i64 {
        self.fresh_until_seconds
    }

    /// Returns how many seconds the newest checkpoint is ahead of this machine's clock, when it is so far ahead that it proves nothing:
    /// the server's clock is wrong, or this one. What is held is not fresh by it, and stays in force.
    #[must_use]
    pub fn clock_ahead_seconds(&self) -> Option<i64> {
        self.trust.clock_ahead_seconds
    }

    /// Returns what is held, by its ids.
    #[must_use]
    pub fn held(&self) -> BTreeMap<PolicyId, Arc<ActivePolicy>> {
        self.policies.clone()
    }

    /// Returns what proves the policies held; none while they are not all that was asked for.
    #[must_use]
    pub fn evidence(&self) -> Option<Arc<Evidence>> {
        self.evidence.clone()
    }

    /// Returns the newest statement or checkpoint that verified, also when its message was refused: nothing older is taken any more.
    #[must_use]
    pub fn newest_verified(&self) -> Cursor {
        self.newest_verified
    }

    /// Returns the place of a checkpoint that verifies. It says how far the log has come; nothing held changes by it.
    pub fn cursor_of_checkpoint(&mut self, checkpoint: String) -> Option<Cursor> {
        self.trust.document(&ProofDocument::Checkpoint(checkpoint)).ok().map(|(at, _)| at.cursor)
    }

    /// Takes up what was held before a restart: each bundle is verified, and `evidence` must prove them all to have been in force
    /// at the saved cursor. Nothing proves that they are the newest.
    ///
    /// # Errors
    /// The refusal. Nothing changed.
    pub fn restore(&mut self, saved: &pb::Snapshot, evidence: Evidence) -> Result<(), Refusal> {
        let policies = self.collect(saved)?;
        let (at, root) = self.trust.document(&evidence.document)?;
        check_hint(saved.cursor.as_ref(), at.cursor)?;
        let (policies, tree) = whole(policies);
        self.check_proves("saved set", root, &evidence.set_proof, &tree, policies.values())?;
        let event = at.event.or_else(|| fingerprint(saved.cursor.as_ref()));
        self.hold(policies, tree, Position { event, ..at }, evidence);
        Ok(())
    }

    /// Remembers the newest cursor that was verified before a restart: nothing older is taken from here on. `same_set`: what
    /// is held was the set there, too; else it waits for a snapshot.
    pub fn remember(&mut self, newest: Position, same_set: bool) {
        self.newest_verified = self.newest_verified.max(newest.cursor);
        if self.cursor.is_none_or(|held| held < newest.cursor) {
            (self.cursor, self.event) = (Some(newest.cursor), newest.event);
            self.whole = self.whole && same_set;
        }
    }
}
