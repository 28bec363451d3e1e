//! The first start of a store: the namespace everybody begins with.

use super::{Context, Service};
use crate::domain::command::{CreateNamespace, Delivery};
use crate::domain::name::NamespaceId;
use crate::domain::principal::Principal;
use crate::domain::time::Micros;
use crate::domain::{Reason, Result};

/// The namespace that is there from the start.
pub const DEFAULT_NAMESPACE: &str = "default";

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
            Err(error) if error.reason != Reason::NamespaceExists => Err(error),
            _ => Ok(()),
        }
    }

    /// Forgets answers to requests that are past their time.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_answers(&self, now: Micros) -> Result<u64> {
        self.store.forget_answers(now).await
    }

    /// Whether the database answers.
    pub async fn ready(&self) -> bool {
        self.store.ping().await
    }
}
