//! The decisions of a version's life: facts in, one decision or one error out.
//!
//! Pure and total. The caller has locked the namespace, so the facts hold until the decision is written.

mod activate;
mod approve;
mod draft;
mod pointer_stack;
mod preconditions;
mod publish;
mod replay;
mod requirements;

#[cfg(test)]
mod tests;

pub use activate::{
    TargetFacts, activate, check_activate, check_expected, check_reason, check_unmoved, deactivate, no_active, point,
    rollback,
};
pub use approve::{ApproveFacts, Review, approve, check_copy, counting, reject, reviewed};
pub use draft::{DraftDecision, DraftFacts, abandon, check_base_is_active, draft, resolve_open};
pub use pointer_stack::{PointerMove, rollback_target};
pub use preconditions::{check_etag, check_note};
pub use publish::{
    PublishBasis, PublishFacts, StageDecision, check_report, check_reports, check_stageable, publish, stage,
};
pub use replay::Replay;
pub use requirements::check_dependents;
