//! The first start of a store: the namespace everybody begins with.

use super::{Context, Service};
use crate::domain::command::{CreateNamespace, Delivery};
use crate::domain::name::NamespaceId;
use crate::domain::principal::Principal;
use crate::domain::time::Micros;
use crate::domain::{Reason, Result};

/// The namespace that is there from the start.
pub const DEFAULT_NAMESPACE: &str = "default";

/// What a replica can do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// Everything.
    Ready,
    /// The database does not answer: what is in memory.
    Degraded,
    /// The store is in doubt, and why: no writes.
    ReadOnly(String),
}

impl Service {
    /// Makes the default namespace unless it is there. Several replicas may do so at once.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn bootstrap(&self, now: Micros) -> Result<()> {
        let namespace = NamespaceId::parse("namespace", DEFAULT_NAMESPACE)?;
        if self.store.read().await?.find_namespace(&namespace).await?.is_some() {
            return Ok(());
        }
        let principal = Principal { issuer: "local".to_owned(), subject: "server".to_owned() };
        let context = Context { principal, delivery: Delivery::default(), now };
        let request = CreateNamespace { namespace, description: "made at the first start".to_owned() };
        match self.create_namespace(&context, request).await {
            // In doubt nothing is written, and the server is there all the same. It tries again when doubt ends.
            Err(error) if error.reason == Reason::StoreInDoubt => {
                tracing::error!(%error, "not making the default namespace");
                Ok(())
            }
            Err(error) if error.reason != Reason::NamespaceExists => Err(error),
            _ => Ok(()),
        }
    }

    /// Forgets answers to requests that are past their time.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_answers(&self, now: Micros) -> Result<u64> {
        // In doubt the store stays as it was found.
        if self.store.doubt().is_some() {
            return Ok(0);
        }
        self.store.forget_answers(now).await
    }

    /// What callers may expect now.
    pub async fn readiness(&self) -> Readiness {
        if !self.store.ping().await {
            return Readiness::Degraded;
        }
        match self.store.doubt() {
            Some(doubt) => Readiness::ReadOnly(doubt),
            None => Readiness::Ready,
        }
    }
}
