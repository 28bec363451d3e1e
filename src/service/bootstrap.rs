//! The first start of a store: the namespace everybody begins with.

use super::{Context, Service};
use crate::domain::access::Role;
use crate::domain::command::{CreateNamespace, CreateRoleBinding};
use crate::domain::name::NamespaceId;
use crate::domain::principal::{LOCAL_ISSUER_NAME, Principal};
use crate::domain::quota::Quotas;
use crate::domain::time::Micros;
use crate::domain::{Reason, Result};

/// The namespace that is there from the start.
pub const DEFAULT_NAMESPACE: &str = "default";
/// Subject of the local issuer whose token is in the data directory.
pub const FIRST_ADMIN: &str = "admin";
/// Why both are there.
const FIRST_START: &str = "made at the first start";

/// What a replica can do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// Everything.
    Ready,
    /// Not all of it, and why: the database of all replicas does not answer, or something needs an operator.
    Degraded(String),
    /// The database of this server alone can't be read or written, and why if that is known: what is in memory.
    Down(Option<String>),
    /// The store is in doubt, or its database takes no writes, and why.
    ReadOnly(String),
    /// The database of this server alone takes no writes, and why: every read.
    Unwritable(String),
    /// It does not hold the key that signs, and which: no writes, no checkpoints. Others may.
    NotSigning(String),
}

impl Service {
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
        match self.store.read().await?.find_namespace(&namespace).await {
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
        let state = self.store.read().await?.log_state(&namespace).await?;
        if state.is_none_or(|state| state.access_revision > 0) {
            return Ok(());
        }
        let (member, reason) = (Principal::new(LOCAL_ISSUER_NAME, FIRST_ADMIN).actor(), FIRST_START.to_owned());
        let request = CreateRoleBinding { namespace, role: Role::Admin, member, reason };
        self.create_role_binding(context, request).await.map(|_| ())
    }

    /// Forgets answers to requests that are past their time.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_answers(&self, now: Micros) -> Result<u64> {
        // In doubt the store stays as it was found.
        if self.store.suspected_loss().is_some() {
            return Ok(0);
        }
        self.store.forget_answers(now).await
    }

    /// What callers may expect now.
    pub async fn readiness(&self) -> Readiness {
        // First: it outlives an outage.
        if let Some(doubt) = self.store.suspected_loss() {
            return Readiness::ReadOnly(format!("the store is in doubt: {doubt}"));
        }
        if !self.store.ping().await {
            if self.store.is_sole_writer() {
                return Readiness::Down(self.store.outage_cause());
            }
            let unnamed = || "the database does not answer".to_owned();
            return Readiness::Degraded(self.store.outage_cause().unwrap_or_else(unnamed));
        }
        if let Some(obstacle) = self.store.write_blocker() {
            let is_alone = self.store.is_sole_writer();
            return if is_alone { Readiness::Unwritable(obstacle) } else { Readiness::ReadOnly(obstacle) };
        }
        if let Err(error) = self.signer.check_holds_active() {
            return Readiness::NotSigning(error.message);
        }
        let frozen = self.store.all_frozen().len();
        if frozen > 0 {
            return Readiness::Degraded(format!("{frozen} namespaces are frozen; the metrics name them"));
        }
        if let Some(why) = self.check_workers.failure() {
            return Readiness::Degraded(format!("versions can't be checked, no process for it can be started: {why}"));
        }
        match self.store.missing_rights() {
            Some(missing) => Readiness::Degraded(format!(
                "the server's role lacks a right in the database, what needs it fails: {missing}"
            )),
            None => Readiness::Ready,
        }
    }
}
