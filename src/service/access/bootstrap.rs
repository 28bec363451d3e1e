//! The first start of a store: the namespace everybody begins with.

use super::use_cases::Access;
use crate::domain::access::Role;
use crate::domain::command::{CreateNamespace, CreateRoleBinding};
use crate::domain::name::NamespaceId;
use crate::domain::principal::{LOCAL_ISSUER_NAME, Principal};
use crate::domain::quota::Quotas;
use crate::domain::time::Micros;
use crate::domain::{Reason, Result};
use crate::service::context::Context;

/// The namespace that is there from the start.
const DEFAULT_NAMESPACE: &str = "default";

/// Subject of the local issuer whose token is in the data directory.
pub const FIRST_ADMIN: &str = "admin";

/// Why both are there.
const FIRST_START: &str = "made at the first start";

impl Access {
    /// Makes the default namespace and the first admin unless they are there. Several replicas may do so at once.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn bootstrap(&self, now: Micros) -> Result<()> {
        let context = Context::of_server(now);
        for done in [self.first_namespace(&context).await, self.first_admin(&context).await] {
            match done.as_ref().map_err(|error| error.reason) {
                Ok(()) | Err(Reason::NamespaceExists | Reason::BindingExists) => {}
                // In doubt nothing is written, and the server is there all the same. It tries again when doubt ends. What
                // somebody wrote into the database stops what it is about and nothing else.
                Err(reason @ (Reason::StoreInDoubt | Reason::SigningUnavailable | Reason::DataLoss)) => {
                    let detail = done.err().and_then(|error| error.internal);
                    tracing::error!(reason = reason.as_str(), detail, "failed to make what a new store begins with");
                }
                Err(_) => return done,
            }
        }
        Ok(())
    }

    async fn first_namespace(&self, context: &Context) -> Result<()> {
        let namespace = NamespaceId::parse("namespace", DEFAULT_NAMESPACE)?;
        match self.log.store.read().await?.find_namespace(&namespace).await {
            Ok(None) => {}
            Ok(Some(_)) => return Ok(()),
            // One namespace that does not verify keeps nobody from the others.
            Err(error) if error.reason == Reason::DataLoss => {
                tracing::error!(detail = error.internal, "the default namespace does not verify");
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        let (description, quotas) = (FIRST_START.to_owned(), Quotas::default());
        self.create_namespace(context, CreateNamespace { namespace, description, quotas }).await.map(|_| ())
    }

    /// Nobody could grant the first role. Once there was one, the store has an admin for ever.
    async fn first_admin(&self, context: &Context) -> Result<()> {
        let namespace = NamespaceId::system();
        let state = self.log.store.read().await?.log_state(&namespace).await?;
        if state.is_none_or(|state| state.access_revision > 0) {
            return Ok(());
        }
        let (member, reason) = (Principal::new(LOCAL_ISSUER_NAME, FIRST_ADMIN).actor(), FIRST_START.to_owned());
        let request = CreateRoleBinding { namespace, role: Role::Admin, member, reason };
        self.create_role_binding(context, request).await.map(|_| ())
    }
}
