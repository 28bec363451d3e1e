//! The log of one namespace: its versions, and what was in force after each event.
//!
//! Boundary: synchronous, without I/O or clock. Invariant: an event is appended whole or not at all, and never changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::error::TestHubError;
use super::signer::{ACTOR, TestSigner};
use policyhub_core::domain::bundle::{Activation, ActiveBundle, Bundle};
use policyhub_core::domain::digest::ActiveSetRoot;
use policyhub_core::domain::event::{Cursor, EventKind, Head, PointerChange, Position};
use policyhub_core::domain::limits::{ACTIVATION_CONTENT_MAX_BYTES, ACTIVATION_TARGETS_MAX, CONTENT_MAX_BYTES};
use policyhub_core::domain::name::{NamespaceId, PolicyId, PolicyName};
use policyhub_core::domain::time::Micros;
use policyhub_core::domain::version::{Version, VersionState};
use policyhub_core::domain::{Error, Reason, Result};
use policyhub_core::signing::{ActiveLeaf, ActiveSetTree, digest_of, event_hash};

/// The epoch of every log: a testing hub never loses a tail.
const EPOCH: i64 = 1;

/// The log of a namespace.
#[derive(Debug)]
pub(super) struct NamespaceLog {
    namespace: NamespaceId,
    /// The versions of each policy: number n stands at n - 1.
    versions: BTreeMap<PolicyId, Vec<Arc<Bundle>>>,
    /// The state after each revision: that of revision n stands at n, and the empty one before the first event at 0.
    states: Vec<Arc<StateAt>>,
    newest: Arc<StateAt>,
}

/// Holds what was in force after an event.
#[derive(Debug)]
pub(super) struct StateAt {
    /// The event.
    pub(super) head: Head,
    /// Holds what the event moved; none when it moved no pointer.
    pub(super) activation: Option<Activation>,
    /// Everything in force, by its ids.
    pub(super) active: BTreeMap<PolicyId, ActiveBundle>,
    tree: ActiveSetTree,
}

/// A pointer that moves; to nothing, when `to` is none.
struct MovedPointer {
    policy: PolicyId,
    to: Option<Arc<Bundle>>,
}

impl StateAt {
    pub(super) fn root(&self) -> ActiveSetRoot {
        ActiveSetRoot(self.tree.root())
    }

    /// Proves what is in force of these policies; nothing when they are none, which stands for all.
    pub(super) fn prove(&self, policies: &BTreeSet<PolicyId>) -> Bytes {
        if policies.is_empty() { Bytes::new() } else { self.tree.prove(policies).into() }
    }
}

impl NamespaceLog {
    /// Begins a log with the event that makes the namespace. `store` makes its hashes differ from those of every other hub.
    pub(super) fn new(namespace: NamespaceId, store: &str) -> Self {
        let state =
            |head| Arc::new(StateAt { head, activation: None, active: BTreeMap::new(), tree: ActiveSetTree::new() });
        let empty = Head { cursor: Cursor { epoch: EPOCH, revision: 0 }, ..Head::EMPTY };
        let event = format!("{} {store} {namespace}", EventKind::CreateNamespace.as_str());
        let made = state(Head { cursor: empty.next(), hash: event_hash(&empty.hash, event.as_bytes()) });
        Self { namespace, versions: BTreeMap::new(), states: vec![state(empty), Arc::clone(&made)], newest: made }
    }

    pub(super) fn namespace(&self) -> &NamespaceId {
        &self.namespace
    }

    pub(super) fn newest(&self) -> &Arc<StateAt> {
        &self.newest
    }

    /// Returns whether there is a version of the policy, in force or not.
    pub(super) fn knows(&self, policy: &PolicyId) -> bool {
        self.versions.contains_key(policy)
    }

    /// Returns the state after the next event.
    pub(super) fn after(&self, at: Cursor) -> Option<&Arc<StateAt>> {
        usize::try_from(at.revision).ok().and_then(|revision| self.states.get(revision.checked_add(1)?))
    }

    /// Returns the state after the event at a position. Epoch 0 without a fingerprint names whichever event has the revision.
    ///
    /// # Errors
    /// `RESUME_POINT_GONE` when this log has no such event.
    pub(super) fn at(&self, position: Position) -> Result<&Arc<StateAt>> {
        let Position { cursor, event } = position;
        let is_any_epoch = cursor.epoch == 0 && event.is_none();
        let found = usize::try_from(cursor.revision).ok().and_then(|revision| self.states.get(revision));
        let is_named = |state: &&Arc<StateAt>| {
            (is_any_epoch || cursor.epoch == EPOCH) && position.may_be(Position::from(state.head).event)
        };
        found.filter(is_named).ok_or_else(|| {
            let Cursor { epoch, revision } = cursor;
            let message = format!("this log has no event at epoch {epoch} revision {revision}; start without a cursor");
            Error::new(Reason::ResumePointGone, message)
                .with("resume_epoch", epoch)
                .with("resume_revision", revision)
                .with("current_epoch", EPOCH)
        })
    }

    /// Publishes the next version of each policy, and puts all of them in force by one event.
    pub(super) fn activate(
        &mut self,
        signer: &TestSigner,
        contents: Vec<(PolicyId, Bytes)>,
        content_type: &str,
        now: Micros,
    ) -> Result<Cursor, TestHubError> {
        let total_bytes: usize = contents.iter().map(|(_, content)| content.len()).sum();
        if i64::try_from(total_bytes).is_ok_and(|bytes| bytes > ACTIVATION_CONTENT_MAX_BYTES) {
            let rule = format!("are over {ACTIVATION_CONTENT_MAX_BYTES} bytes together");
            return Err(Error::invalid("contents", rule).into());
        }
        let publish = |(policy, content)| {
            let to = Some(self.next_version(signer, &policy, content, content_type, now)?);
            Ok::<_, Error>(MovedPointer { policy, to })
        };
        let moves = contents.into_iter().map(publish).collect::<Result<Vec<_>>>()?;
        let published: Vec<_> =
            moves.iter().filter_map(|moved| Some((moved.policy.clone(), moved.to.clone()?))).collect();
        let cursor = self.append(signer, EventKind::Activate, moves, now)?;
        for (policy, bundle) in published {
            self.versions.entry(policy).or_default().push(bundle);
        }
        Ok(cursor)
    }

    /// Puts a version in force that was published before.
    pub(super) fn activate_version(
        &mut self,
        signer: &TestSigner,
        policy: PolicyId,
        version: i64,
        now: Micros,
    ) -> Result<Cursor, TestHubError> {
        let index = usize::try_from(version).ok().and_then(|number| number.checked_sub(1));
        let found = index.and_then(|index| self.versions.get(&policy)?.get(index)).cloned();
        let Some(bundle) = found else { return Err(TestHubError::UnknownVersion { policy, version }) };
        let is_older = self.newest.active.get(&policy).is_some_and(|held| held.bundle.version.number > version);
        let kind = if is_older { EventKind::Rollback } else { EventKind::Activate };
        Ok(self.append(signer, kind, vec![MovedPointer { policy, to: Some(bundle) }], now)?)
    }

    /// Takes policies out of force by one event.
    pub(super) fn deactivate(
        &mut self,
        signer: &TestSigner,
        policies: Vec<PolicyId>,
        now: Micros,
    ) -> Result<Cursor, TestHubError> {
        if let Some(policy) = policies.iter().find(|policy| !self.newest.active.contains_key(*policy)) {
            return Err(TestHubError::NotActive(policy.clone()));
        }
        let moves = policies.into_iter().map(|policy| MovedPointer { policy, to: None }).collect();
        Ok(self.append(signer, EventKind::Deactivate, moves, now)?)
    }

    /// Makes the next version of a policy. It is not kept yet.
    fn next_version(
        &self,
        signer: &TestSigner,
        policy: &PolicyId,
        content: Bytes,
        content_type: &str,
        now: Micros,
    ) -> Result<Arc<Bundle>> {
        if content.is_empty() || content.len() > CONTENT_MAX_BYTES {
            return Err(Error::invalid(
                format!("content of {policy}"),
                format!("must be 1 to {CONTENT_MAX_BYTES} bytes"),
            ));
        }
        let number = self.versions.get(policy).map_or(0, Vec::len) + 1;
        let mut version = Version {
            policy: PolicyName { namespace: self.namespace.clone(), policy: policy.clone() },
            number: i64::try_from(number).unwrap_or(i64::MAX),
            state: VersionState::Published,
            label: None,
            digest: digest_of(&content),
            size_bytes: i64::try_from(content.len()).unwrap_or(i64::MAX),
            content_type: content_type.to_owned(),
            change_note: String::new(),
            requires: Vec::new(),
            base_version: 0,
            source_version: 0,
            author: ACTOR.to_owned(),
            publisher: ACTOR.to_owned(),
            manifest: String::new(),
            edits: 1,
            create_time: now,
            stage_time: Some(now),
            publish_time: Some(now),
            origin_manifests: Vec::new(),
            annotations: Default::default(),
            adopted: None,
            template: None,
        };
        version.manifest = signer.manifest(&version, content.len() as u64, now)?;
        Ok(Arc::new(Bundle { version, content }))
    }

    /// Signs and appends the event that moves these pointers.
    fn append(
        &mut self,
        signer: &TestSigner,
        kind: EventKind,
        moves: Vec<MovedPointer>,
        now: Micros,
    ) -> Result<Cursor> {
        check_targets(&moves)?;
        let before = &self.newest;
        let cursor = before.head.next();
        let mut tree = before.tree.clone();
        for moved in &moves {
            match &moved.to {
                Some(bundle) => tree.insert(leaf(&moved.policy, &bundle.version, cursor)),
                None => drop(tree.remove(&moved.policy)),
            }
        }
        let previous = |policy: &PolicyId| before.active.get(policy).map_or(0, |held| held.bundle.version.number);
        let change = |moved: &MovedPointer| PointerChange {
            policy: moved.policy.clone(),
            version: moved.to.as_ref().map_or(0, |bundle| bundle.version.number),
            digest: moved.to.as_ref().map(|bundle| bundle.version.digest.clone()),
            previous: previous(&moved.policy),
        };
        let changes: Vec<PointerChange> = moves.iter().map(change).collect();
        let root = ActiveSetRoot(tree.root());
        let event = (kind, cursor, before.head.hash);
        let statement: Arc<str> = signer.statement(&self.namespace, event, &changes, root, now)?.into();
        let hash = event_hash(&before.head.hash, statement.as_bytes());

        let mut active = before.active.clone();
        let (mut bundles, mut tombstones) = (Vec::new(), Vec::new());
        for MovedPointer { policy, to } in moves {
            if let Some(bundle) = to {
                let statement = Arc::clone(&statement);
                bundles.push(Arc::clone(&bundle));
                active.insert(policy, ActiveBundle { bundle, activation: cursor, statement, preview: false });
            } else {
                active.remove(&policy);
                tombstones.push(policy);
            }
        }
        let activation = Activation { cursor, event_hash: hash, statement, root: Some(root), bundles, tombstones };
        let head = Head { cursor, hash };
        self.newest = Arc::new(StateAt { head, activation: Some(activation), active, tree });
        self.states.push(Arc::clone(&self.newest));
        Ok(cursor)
    }
}

fn leaf<'a>(policy: &'a PolicyId, version: &'a Version, activated_at: Cursor) -> ActiveLeaf<'a> {
    ActiveLeaf { policy, version: version.number, digest: &version.digest, activated_at }
}

/// Refuses an activation that no subscriber would take.
fn check_targets(moves: &[MovedPointer]) -> Result<()> {
    if moves.is_empty() || moves.len() > ACTIVATION_TARGETS_MAX {
        return Err(Error::invalid("policies", format!("must be 1 to {ACTIVATION_TARGETS_MAX}")));
    }
    let mut seen = BTreeSet::new();
    match moves.iter().find(|moved| !seen.insert(&moved.policy)) {
        Some(twice) => Err(Error::invalid("policies", format!("has {} twice", twice.policy))),
        None => Ok(()),
    }
}
