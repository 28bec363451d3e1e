//! Authorization: what a caller may do where a request is about, asked before anything else of the request is looked at.
//!
//! Invariant: a role counts only when a sealed event of the log says so. Every event names the last one that changed the
//! bindings, and that one holds the digest of all of them: a row that was written by hand is alarmed and never obeyed.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::context::denied;
use super::{Service, Signer};
use crate::domain::access::{Grants, Permission, RequiredPermission, Role, Rpc};
use crate::domain::binding::{ALL_NAMESPACES, RoleBinding};
use crate::domain::command::PageRequest;
use crate::domain::digest::Digest;
use crate::domain::event::{Cursor, Head};
use crate::domain::name::NamespaceId;
use crate::domain::principal::Principal;
use crate::domain::time::Micros;
use crate::domain::{Error, Reason, Result};
use crate::signing::digest_of;
use crate::store::{LogState, ReadTx, WriteTx};
use crate::watch::Verify as _;

/// How long what is known of a namespace's bindings is used before the database is asked whether they changed. Longer: a
/// role that was taken away at another replica counts longer here. Shorter: more queries.
pub(super) const CHECK_INTERVAL: Micros = Micros(1_000_000);
/// Namespaces whose bindings are remembered. When there are more, all are forgotten and read once again.
const KNOWN_MAX_NAMESPACES: usize = 10_000;

/// The bindings that were read and proven.
#[derive(Debug, Default)]
pub(super) struct Access(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    known: HashMap<NamespaceId, Arc<Known>>,
    /// How often any bindings were forgotten. What was read before may be older than the change they were forgotten for.
    forgotten: u64,
}

#[derive(Debug)]
struct Known {
    roles: BTreeMap<String, Vec<Role>>,
    access_revision: i64,
    epoch: i64,
    checked: AtomicI64,
}

impl Known {
    fn new(bindings: Vec<RoleBinding>, state: LogState, now: Micros) -> Self {
        let mut roles: BTreeMap<String, Vec<Role>> = BTreeMap::new();
        for binding in bindings {
            roles.entry(binding.member).or_default().push(binding.role);
        }
        let (access_revision, epoch) = (state.access_revision, state.head.cursor.epoch);
        Self { roles, access_revision, epoch, checked: AtomicI64::new(now.0) }
    }

    /// Whether it is time to look again, and nobody else does.
    fn claim(&self, now: Micros) -> bool {
        let checked = self.checked.load(Ordering::Relaxed);
        let fresh = (checked..checked.saturating_add(CHECK_INTERVAL.0)).contains(&now.0);
        !fresh && self.checked.compare_exchange(checked, now.0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn is_still(&self, state: LogState) -> bool {
        self.access_revision == state.access_revision && self.epoch == state.head.cursor.epoch
    }

    fn grants(&self, principal: &Principal) -> Vec<Role> {
        principal.members().filter_map(|member| self.roles.get(&member)).flatten().copied().collect()
    }
}

impl Access {
    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, namespace: &NamespaceId) -> Option<Arc<Known>> {
        self.remembered().known.get(namespace).cloned()
    }

    /// Whether the bindings of a namespace were proven: it exists.
    pub(super) fn is_known(&self, namespace: &NamespaceId) -> bool {
        self.remembered().known.contains_key(namespace)
    }

    /// Reads them again when they are asked for next.
    pub(super) fn forget(&self, namespace: &NamespaceId) {
        let mut all = self.remembered();
        all.known.remove(namespace);
        all.forgotten += 1;
    }

    /// Whether the bindings of some namespace, as they were proven last, permit something to a caller.
    pub(super) fn proved_somewhere(&self, principal: &Principal, permission: Permission) -> bool {
        let grant = |known: &Arc<Known>| known.grants(principal).iter().any(|role| role.permits(permission));
        self.remembered().known.values().any(grant)
    }

    /// How often any bindings were forgotten: ask before they are read.
    pub(super) fn forgotten(&self) -> u64 {
        self.remembered().forgotten
    }

    /// Keeps bindings that were read when so many had been forgotten. When it is one more by now they count for this call
    /// alone: otherwise a role that was just taken away here would count until the next look.
    fn remember(&self, namespace: &NamespaceId, known: Known, forgotten: u64) -> Arc<Known> {
        let known = Arc::new(known);
        let mut all = self.remembered();
        if all.forgotten != forgotten {
            return known;
        }
        if all.known.len() >= KNOWN_MAX_NAMESPACES {
            all.known.clear();
        }
        all.known.insert(namespace.clone(), Arc::clone(&known));
        known
    }

    /// The last revision that changed the bindings of a locked log, for the next event to name: what was proven before, or
    /// what the event at the head says.
    pub(super) async fn revision(&self, signer: &Signer, namespace: &NamespaceId, tx: &WriteTx) -> Result<i64> {
        let state = LogState { head: tx.head(), access_revision: tx.access_revision() };
        if self.get(namespace).is_some_and(|known| known.is_still(state)) {
            return Ok(state.access_revision);
        }
        prove_revision(signer, tx.read(), namespace, state).await
    }
}

/// The digest of the bindings of a log, in order of their ids.
pub(super) fn bindings_digest(bindings: &[RoleBinding]) -> Result<Digest> {
    let bytes = serde_json::to_vec(bindings).map_err(|error| Error::internal(error.to_string()))?;
    Ok(digest_of(&bytes))
}

fn broken(namespace: &NamespaceId, what: &str) -> Error {
    Error::data_loss(format!("role bindings of {namespace}: {what}"))
}

/// The last revision that changed the bindings: what the row says, if the event at the head says so too.
///
/// # Errors
/// `DATA_LOSS`.
pub(super) async fn prove_revision(
    signer: &Signer,
    tx: &ReadTx,
    namespace: &NamespaceId,
    state: LogState,
) -> Result<i64> {
    let Head { cursor: Cursor { revision, .. }, .. } = state.head;
    let proven = match revision {
        0 => 0,
        _ => signer.head(&tx.event(namespace, revision).await?, state.head)?.access_revision,
    };
    if proven == state.access_revision {
        return Ok(proven);
    }
    Err(broken(namespace, "the row of the namespace names another revision than the head of the log"))
}

/// The bindings of a log, proven.
///
/// # Errors
/// `DATA_LOSS`.
pub(super) async fn prove_bindings(
    signer: &Signer,
    tx: &ReadTx,
    namespace: &NamespaceId,
    state: LogState,
) -> Result<Vec<RoleBinding>> {
    let revision = prove_revision(signer, tx, namespace, state).await?;
    let bindings = tx.bindings(namespace).await?;
    if revision == 0 {
        return if bindings.is_empty() {
            Ok(bindings)
        } else {
            Err(broken(namespace, "there are rows without an event"))
        };
    }
    let payload = signer.event(&tx.event(namespace, revision).await?)?;
    match payload.access {
        Some(access) if access.bindings_digest == bindings_digest(&bindings)? => Ok(bindings),
        Some(_) => Err(broken(namespace, "the rows are not those of the log")),
        None => Err(broken(namespace, "the event that is named changed none")),
    }
}

impl Service {
    /// What a caller may do where `scope` is: the name in `field` as it was sent, whatever it holds.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` for a caller who has a role there, but none for this RPC; `NAMESPACE_NOT_FOUND` for one who has
    /// none, whether the namespace is there or not; `INVALID_ARGUMENT` for a name that can be of no namespace.
    pub async fn authorize(
        &self,
        principal: &Principal,
        rpc: Rpc,
        (field, scope): (&str, &str),
        now: Micros,
    ) -> Result<Grants> {
        let authorized = self.authorize_unnoted(principal, rpc, (field, scope), now).await;
        if let Err(error) = &authorized {
            let is_about_store = matches!(rpc.required_permission(), RequiredPermission::StoreWide(_));
            let namespace = namespace_of(scope).filter(|_| !is_about_store).unwrap_or_else(NamespaceId::system);
            self.note_denial(&namespace, principal, rpc, error, now);
        }
        authorized
    }

    async fn authorize_unnoted(
        &self,
        principal: &Principal,
        rpc: Rpc,
        (field, scope): (&str, &str),
        now: Micros,
    ) -> Result<Grants> {
        let everywhere = self.roles(principal, &NamespaceId::system(), now).await?;
        let everywhere: Grants = everywhere.into_iter().collect();
        let permission = match rpc.required_permission() {
            RequiredPermission::Authenticated => return Ok(everywhere),
            RequiredPermission::StoreWide(permission) => return permitted(everywhere, principal, permission),
            RequiredPermission::InNamespace(permission) => permission,
        };
        let Some(namespace) = namespace_of(scope) else {
            return if everywhere.permit(permission) {
                Ok(everywhere)
            } else if self.has_some_role(principal, &everywhere).await? {
                Err(Error::invalid_text(field, scope, "must begin with namespaces/{namespace}/, or be it"))
            } else {
                Err(denied(principal, permission))
            };
        };
        if namespace.is_system() {
            return permitted(everywhere, principal, permission);
        }
        let here = self.roles(principal, &namespace, now).await?;
        let grants: Grants = here.into_iter().chain(everywhere.roles()).collect();
        if grants.is_empty() {
            return Err(namespace.not_found());
        }
        permitted(grants, principal, permission)
    }

    async fn has_some_role(&self, principal: &Principal, everywhere: &Grants) -> Result<bool> {
        let members: Vec<String> = principal.members().collect();
        let first = PageRequest { size: 1, after: None };
        Ok(!everywhere.is_empty() || !self.store.read().await?.namespaces_of(&members, &first).await?.is_empty())
    }

    /// The roles that the bindings of one log give a caller.
    pub(super) async fn roles(&self, principal: &Principal, namespace: &NamespaceId, now: Micros) -> Result<Vec<Role>> {
        let held = self.access.get(namespace);
        if let Some(known) = held.as_ref().filter(|known| !known.claim(now)) {
            return Ok(known.grants(principal));
        }
        let failed = match self.proven_roles(namespace, held.as_ref(), now).await {
            Ok(known) => return Ok(known.map(|known| known.grants(principal)).unwrap_or_default()),
            Err(error) => self.store.or_suspected_loss(error).await,
        };
        match (failed, held) {
            // In an outage, in doubt, and when somebody wrote into the database: the roles that were proven last.
            (error, Some(held)) => {
                if error.reason == Reason::DataLoss {
                    let detail = error.internal;
                    tracing::error!(%namespace, detail, "using the role bindings that were proven before");
                }
                Ok(held.grants(principal))
            }
            (error, None) => Err(error),
        }
    }

    /// The bindings of a log, read again when they changed; none for a namespace that is not there.
    async fn proven_roles(
        &self,
        namespace: &NamespaceId,
        held: Option<&Arc<Known>>,
        now: Micros,
    ) -> Result<Option<Arc<Known>>> {
        if let Some(held) = held {
            let states = self.store.log_states(&[namespace]).await?;
            if states.first().is_some_and(|(_, state)| held.is_still(*state)) {
                return Ok(Some(Arc::clone(held)));
            }
        }
        let forgotten = self.access.forgotten();
        let tx = self.store.read().await?;
        let Some(state) = tx.log_state(namespace).await? else {
            if held.is_some() && self.store.detects_loss().await {
                // Until an operator says that it is lost.
                return Ok(held.map(Arc::clone));
            }
            self.access.forget(namespace);
            return Ok(None);
        };
        let bindings = prove_bindings(&self.signer, &tx, namespace, state).await?;
        let known = Known::new(bindings, state, now);
        // An older set of the same epoch was put back.
        if held.is_some_and(|held| held.epoch == known.epoch && held.access_revision > known.access_revision) {
            return Err(broken(namespace, "they are older than those that were there before"));
        }
        Ok(Some(self.access.remember(namespace, known, forgotten)))
    }
}

/// The grants, if they permit it.
pub(super) fn permitted(grants: Grants, principal: &Principal, permission: Permission) -> Result<Grants> {
    if grants.permit(permission) { Ok(grants) } else { Err(denied(principal, permission)) }
}

/// The log that decides about a name: that of its namespace, or `system` for what holds in all.
fn namespace_of(scope: &str) -> Option<NamespaceId> {
    let mut parts = scope.split('/');
    match (parts.next(), parts.next()) {
        (Some("namespaces"), Some(ALL_NAMESPACES)) => Some(NamespaceId::system()),
        (Some("namespaces"), Some(id)) => NamespaceId::parse("namespace", id).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A read that began before a change and ends after it must not be what counts from then on.
    #[test]
    fn what_was_read_before_a_change_is_not_kept_after_it() {
        let (access, namespace) = (Access::default(), NamespaceId::system());
        let state = LogState { head: Head { cursor: Cursor::default(), hash: [0; 32] }, access_revision: 0 };
        let known = || Known::new(Vec::new(), state, Micros(0));
        let before = access.forgotten();
        access.forget(&namespace);
        access.remember(&namespace, known(), before);
        assert!(access.get(&namespace).is_none(), "it may hold the role that was taken away");
        access.remember(&namespace, known(), access.forgotten());
        assert!(access.get(&namespace).is_some());
    }

    #[test]
    fn a_name_belongs_to_one_log() {
        for (scope, namespace) in [
            ("namespaces/a", Some("a")),
            ("namespaces/a/policies/p/versions/active", Some("a")),
            ("namespaces/a/roleBindings/1", Some("a")),
            ("namespaces/-/roleBindings/1", Some("system")),
            ("namespaces/-", Some("system")),
            ("roleBindings/1", None),
            ("*", None),
            ("namespaces/A", None),
            ("namespaces", None),
            ("namespace/a", None),
            ("/namespaces/a", None),
            ("", None),
        ] {
            let found = namespace_of(scope);
            assert_eq!(found.as_ref().map(NamespaceId::as_str), namespace, "{scope}");
        }
    }
}
