//! Compares a move of pointers with other policies: whether the reports of its checks still say what is active there,
//! and whether the move breaks what active versions of them require.

use super::use_cases::Policies;
use crate::domain::event::{Change, PointerChange};
use crate::domain::lifecycle;
use crate::domain::lifecycle::TargetFacts;
use crate::domain::name::PolicyId;
use crate::domain::report::Report;
use crate::domain::{Error, Reason, Result};
use crate::service::checking::is_still_active;
use crate::service::log::Write;

impl Policies {
    /// Returns whether what a report looked up in other policies is still active. `moved` are the pointers that the call moves.
    pub(super) async fn is_still_active(
        &self,
        write: &mut Write<'_>,
        report: &Report,
        moved: &[PointerChange],
    ) -> Result<bool> {
        if report.looked_up.is_empty() {
            return Ok(true);
        }
        write.rely_on_pointers(report.looked_up.iter().map(|found| &found.policy));
        is_still_active(write.tx.read(), write.namespace(), &report.looked_up, moved).await
    }

    /// Refuses the move of a pointer by a report whose checks looked up something in other policies that changed since, and a move that
    /// breaks what they require. Without a report, the checks are skipped, and so is this.
    ///
    /// # Errors
    /// `CONCURRENT_CHANGE`, `REQUIREMENT_BROKEN`.
    pub(super) async fn check_others(
        &self,
        write: &mut Write<'_>,
        report: Option<&Report>,
        change: &Change,
        target: TargetFacts<'_>,
    ) -> Result<()> {
        let Some(report) = report else { return Ok(()) };
        if !self.is_still_active(write, report, &change.pointers).await? {
            let message =
                "what is active of other policies that the version names changed while it was checked; try again";
            return Err(Error::new(Reason::ConcurrentChange, message));
        }
        self.check_dependents(write, &[target]).await
    }

    /// Refuses moves of pointers that break what active versions of other policies require.
    ///
    /// # Errors
    /// `REQUIREMENT_BROKEN`.
    pub(super) async fn check_dependents(&self, write: &mut Write<'_>, moves: &[TargetFacts<'_>]) -> Result<()> {
        let policies: Vec<&PolicyId> = moves.iter().map(|moved| &moved.policy.name.policy).collect();
        let dependents = write.tx.active_requiring(&policies).await?;
        if dependents.is_empty() {
            return Ok(());
        }
        write.rely_on_pointers(dependents.iter().map(|dependent| &dependent.policy.policy));
        let pointed = moves.iter().map(|moved| (&moved.policy.name.policy, moved.policy.active_version));
        let pointed: Vec<(&PolicyId, i64)> = pointed.filter(|(_, number)| *number > 0).collect();
        let before = if pointed.is_empty() {
            Vec::new()
        } else {
            write.tx.read().versions_named(write.namespace(), &pointed).await?
        };
        lifecycle::check_dependents(moves, &before, &dependents)
    }
}
