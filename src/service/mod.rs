//! The use cases, one file per verb, in groups: authorize, read, decide (pure), sign, write, commit, wake.
//!
//! They never see the wire: requests and answers are domain types.

mod access;
mod archive;
mod checking;
mod context;
mod fair_slots;
mod keys;
mod log;
mod long_reads;
mod meters;
mod page_reader;
mod policies;
mod proof;
mod readiness;
mod stored_quotas;
mod sync;
mod use_cases;

pub use crate::store::{OneWait, wait_once};
pub use crate::watch::{Encode, InForce, Lease, Leases, SentKeyStatements, StreamContext, Subscription, WatchStep};
pub use access::Access;
pub use access::FIRST_ADMIN;
pub use archive::Archive;
pub use archive::ArchiveExport;
pub use archive::AuditPosition;
pub use archive::AuditStep;
pub use archive::EpochBump;
pub use archive::EpochBumpOutcome;
pub use archive::LastLogCheck;
pub use archive::LogProgress;
pub use archive::RowExport;
pub use archive::bump_epoch;
pub use checking::{CheckInput, CheckKind, ContentChecks, NAMESPACE_CHECKS_MAX, ParsedCheck, SlotUse};
pub use context::{AuthorizedBy, Context};
pub use fair_slots::FairSlot;
pub use keys::ActiveSignedBy;
pub use keys::SigningKeys;
pub use long_reads::LongReads;
pub use meters::StreamPermit;
pub use policies::Policies;
pub use policies::StagedVersion;
pub use proof::{Signer, verified_head};
pub use readiness::Readiness;
pub use sync::ActiveAnswer;
pub use sync::ActivePage;
pub use sync::FoundLine;
pub use sync::NamespaceStamp;
pub use sync::Sync;
pub use sync::{ActiveMatch, ActiveMatches, SearchActive};
pub use use_cases::Service;
