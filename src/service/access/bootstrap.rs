//! The first start of a store: the default namespace and the first admin.

use super::use_cases::Access;
use crate::domain::access::Role;
use crate::domain::command::{CreateNamespace, CreateRoleBinding};
use crate::domain::name::NamespaceId;
use crate::domain::principal::{LOCAL_ISSUER_NAME, Principal};
use crate::domain::quota::Quotas;
use crate::domain::time::Micros;
use crate::domain::{Reason, Result};
use crate::service::context::Context;

/// The namespace that every new store has.
const DEFAULT_NAMESPACE: &str = "default";

/// The subject of the local issuer whose token is in the data directory.
pub const FIRST_ADMIN: &str = "admin";

/// The reason in the events that create both.
const FIRST_START: &str = "made at the first start";

impl Access {
    /// Creates the default namespace and the first admin unless they exist. Several replicas may do so at the same time.
    ///
    /// # Errors
    /// Errors of the database.
    pub async fn bootstrap(&self, now: Micros) -> Result<()> {
        let context = Context::of_server(now);
        for done in [self.create_first_namespace(&context).await, self.create_first_admin(&context).await] {
            match done.as_ref().map_err(|error| error.reason) {
                Ok(()) | Err(Reason::NamespaceExists | Reason::BindingExists) => {}
                // While data loss is suspected nothing is written, but the server starts; it tries again afterwards. A row that was
                // changed by hand stops only its own object.
                Err(reason @ (Reason::StoreInDoubt | Reason::SigningUnavailable | Reason::DataLoss)) => {
                    let detail = done.err().and_then(|error| error.internal);
                    tracing::error!(
                        reason = reason.as_str(),
                        detail,
                        "failed to create the default namespace or the first admin"
                    );
                }
                Err(_) => return done,
            }
        }
        Ok(())
    }

    async fn create_first_namespace(&self, context: &Context) -> Result<()> {
        let namespace = NamespaceId::parse("namespace", DEFAULT_NAMESPACE)?;
        match self.log.store.read().await?.find_namespace(&namespace).await {
            Ok(None) => {}
            Ok(Some(_)) => return Ok(()),
            // The other namespaces stay usable.
            Err(error) if error.reason == Reason::DataLoss => {
                tracing::error!(detail = error.internal, "the default namespace does not verify");
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        let (description, quotas) = (FIRST_START.to_owned(), Quotas::default());
        self.create_namespace(context, CreateNamespace { namespace, description, quotas }).await.map(|_| ())
    }

    /// Grants the first role: no caller could, without a role. Once a store had a binding it always has an admin.
    async fn create_first_admin(&self, context: &Context) -> Result<()> {
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
