//! The lease of a watch.

use super::use_cases::Sync;
use crate::domain::principal::Principal;
use crate::domain::quota::Quota;
use crate::domain::subscriber::{Profile, SubscriberClaim, SubscriberName};
use crate::domain::{Error, Reason, Result};
use crate::watch::Lease;

impl Sync {
    /// Opens the lease of a principal's stream, which ends when it is dropped.
    ///
    /// # Errors
    /// `LIMIT_EXCEEDED`, `QUOTA_EXCEEDED`, `SUBSCRIBER_ID_TAKEN`. When the owner of the id is not known yet, the lease reports the latter.
    pub fn lease(&self, principal: &Principal, name: SubscriberName, profile: Profile) -> Result<Lease> {
        let lease = self.leases.open(SubscriberClaim { name, owner: principal.actor() }, profile);
        lease.inspect_err(|error| self.count_refused_subscriber(error))
    }

    /// Counts a subscriber that its quota refused.
    pub(super) fn count_refused_subscriber(&self, refused: &Error) {
        if refused.reason == Reason::QuotaExceeded {
            self.meters.count_refusal(Quota::MaxSubscribers);
        }
    }
}
