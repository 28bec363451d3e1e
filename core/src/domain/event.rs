//! Events: what the log of a namespace says. One accepted change is one event.

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

use super::adopted::Adopted;
use super::approval::Approval;
use super::binding::AccessChange;
use super::digest::{ActiveSetRoot, Digest, Hash};
pub use super::event_kind::EventKind;
use super::name::{NamespaceId, PolicyId};
use super::policy::ImportedPolicy;
use super::schedule::ScheduleId;
use super::time::Micros;
use super::version::VersionState;

/// Addresses an event in a log. Cursors are ordered by epoch, then by revision: the order of the fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cursor {
    /// Raised when the store lost the tail of its log.
    pub epoch: i64,
    /// Position of an event: 1, 2, 3… with no gaps; 0 before the first.
    pub revision: i64,
}

/// Describes one pointer that moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointerChange {
    /// Names the policy of the pointer.
    pub policy: PolicyId,
    /// The version that it points to now; 0: none.
    pub version: i64,
    /// Digest of that version; none for 0.
    pub digest: Option<Digest>,
    /// The version that it pointed to before; 0: none.
    pub previous: i64,
}

/// Describes one version that changed its state, or was approved as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionChange {
    /// Its policy.
    pub policy: PolicyId,
    /// Its number.
    pub version: i64,
    /// Its state now.
    pub state: VersionState,
    /// Its digest.
    pub digest: Digest,
    /// Who wrote a version that existed before it came here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<Adopted>,
}

/// Describes one row that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowChange {
    /// Its table.
    pub table: String,
    /// Its primary key, parts between slashes, without the namespace of the log.
    pub key: String,
    /// Digest of what it says; none when it was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// Describes a change before the log gives it a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Names the kind of the change.
    pub kind: EventKind,
    /// Why, in the caller's words.
    pub reason: String,
    /// The one policy it is about.
    pub policy: Option<PolicyId>,
    /// Versions whose state changed, or the one that was approved.
    pub versions: Vec<VersionChange>,
    /// Pointers that moved.
    pub pointers: Vec<PointerChange>,
    /// Settings as they are now, for changes of a policy or namespace.
    pub settings: Option<serde_json::Value>,
    /// Whether checks were skipped on request.
    pub skipped_validation: bool,
    /// The role binding that changed.
    pub access: Option<AccessChange>,
    /// The approval that was given, or those that a publication or the activation of an imported version rests on.
    pub approvals: Vec<Approval>,
    /// The policies that an import brought.
    pub imported: Vec<ImportedPolicy>,
    /// The schedule that it is about, or that moved the pointers.
    pub schedule: Option<EventSchedule>,
}

/// Names the schedule of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventSchedule {
    /// Its id in the namespace.
    pub id: ScheduleId,
    /// Who made it, in an event that the server wrote by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creator: Option<String>,
    /// The time for which it ran, or was suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_time: Option<Micros>,
}

/// Is hashed and signed: written once to JSON, and stored as those exact bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the proto's Event and of Change")]
pub struct Payload {
    pub store: String,
    pub namespace: NamespaceId,
    pub epoch: i64,
    pub revision: i64,
    pub kind: EventKind,
    pub time: Micros,
    pub actor: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request_id: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<VersionChange>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<PointerChange>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skipped_validation: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<AccessChange>,
    /// The last revision of this log that changed a role binding, this one included; 0: none did.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub access_revision: i64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<Approval>,
    /// Digest of the statement that stands beside the payload, so that the chain covers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement_digest: Option<Digest>,
    /// Root of the active set after it; none in an event that was written before roots were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_set_root: Option<ActiveSetRoot>,
    /// The rows that were written beside it, in order of table and key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<RowChange>,
    /// The policies that an import brought; none in an event that was written before events named them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub imported: Vec<ImportedPolicy>,
    /// The settings that decided it, in order of the policies; none in an event that was written before events named them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings_read: Vec<SettingsRead>,
    /// The schedule that it is about, or that moved the pointers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<EventSchedule>,
}

/// The settings of a policy that a decision read. The log says what they were, so that older ones that somebody put back for a
/// moment are found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsRead {
    /// Names the policy of the settings.
    pub policy: PolicyId,
    /// The number of times they had been written.
    pub edits: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// One entry of a log, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The namespace of the log.
    pub namespace: NamespaceId,
    /// Its position in the log.
    pub cursor: Cursor,
    /// The exact bytes that were hashed.
    pub payload: Vec<u8>,
    /// Hash of the event before; zeros for the first.
    pub prev_hash: Hash,
    /// SHA-256 over `prev_hash` and `payload`.
    pub hash: Hash,
    /// Ed25519 signature over `hash`.
    pub seal: Vec<u8>,
    /// Key of the seal.
    pub seal_key_id: String,
    /// Activation statement, compact JWS; empty when no pointer moved.
    pub statement: String,
}

/// The first bytes of an event's hash. It distinguishes two events that had one cursor in two histories of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint(NonZeroU64);

/// A cursor with the fingerprint of its event, as far as that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The cursor.
    #[serde(flatten)]
    pub cursor: Cursor,
    /// The event there; none: not known, or there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Fingerprint>,
}

/// The end of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The cursor of the last event.
    pub cursor: Cursor,
    /// Its hash.
    pub hash: Hash,
}

impl Change {
    /// Returns a change about one policy, or none.
    #[must_use]
    pub fn new(kind: EventKind, policy: Option<&PolicyId>) -> Self {
        Self {
            kind,
            reason: String::new(),
            policy: policy.cloned(),
            versions: Vec::new(),
            pointers: Vec::new(),
            settings: None,
            skipped_validation: false,
            access: None,
            approvals: Vec::new(),
            imported: Vec::new(),
            schedule: None,
        }
    }
}

impl Cursor {
    /// Is before every event of every log, whose epochs begin at 1.
    pub const NONE: Self = Self { epoch: 0, revision: 0 };

    /// Returns the cursor; none for [`Cursor::NONE`].
    #[must_use]
    pub fn known(self) -> Option<Self> {
        (self != Self::NONE).then_some(self)
    }
}

impl Event {
    /// Returns the log as it was when this was its last event.
    #[must_use]
    pub fn head(&self) -> Head {
        Head { cursor: self.cursor, hash: self.hash }
    }

    /// Returns whether it stands right after `head`: the next revision, its hash, and an epoch that is raised by its own kind of
    /// event and by nothing else. Before the first event the epoch is whatever that one says.
    #[must_use]
    pub fn follows(&self, kind: EventKind, head: Head) -> bool {
        let epoch_follows = match kind {
            EventKind::BumpEpoch => self.cursor.epoch > head.cursor.epoch,
            _ => self.cursor.epoch == head.cursor.epoch,
        };
        self.cursor.revision == head.cursor.revision + 1
            && self.prev_hash == head.hash
            && (epoch_follows || head.cursor.revision == 0)
    }
}

impl Fingerprint {
    /// Returns the fingerprint of an event with this hash.
    #[must_use]
    pub fn of(hash: &Hash) -> Option<Self> {
        hash.first_chunk().and_then(|bytes| Self::from_number(u64::from_be_bytes(*bytes)))
    }

    /// Reads the number of a cursor on the wire; none for 0.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// Returns the number that a cursor on the wire carries.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0.get()
    }
}

impl Position {
    /// Returns whether it names this event, or none.
    #[must_use]
    pub fn may_be(self, event: Option<Fingerprint>) -> bool {
        self.event.is_none() || self.event == event
    }
}

impl From<Head> for Position {
    fn from(head: Head) -> Self {
        Self { cursor: head.cursor, event: Fingerprint::of(&head.hash) }
    }
}

impl From<Cursor> for Position {
    fn from(cursor: Cursor) -> Self {
        Self { cursor, event: None }
    }
}

impl Head {
    /// The end of a log without events.
    pub const EMPTY: Self = Self { cursor: Cursor::NONE, hash: [0; 32] };

    /// Returns where the next event will stand.
    #[must_use]
    pub fn next(&self) -> Cursor {
        Cursor { revision: self.cursor.revision + 1, ..self.cursor }
    }

    /// Returns where the event will stand that raises the epoch: the next revision, so that a log has no gap whatever was lost.
    #[must_use]
    pub fn next_epoch(&self, epoch: i64) -> Cursor {
        Cursor { epoch, revision: self.cursor.revision + 1 }
    }
}
