//! Role bindings: granted, listed, taken away. Each change is an event of the log where the role holds.

use super::access::{bindings_digest, prove_bindings};
use super::write::{Begun, Write};
use super::{Context, Service};
use crate::domain::access::Role;
use crate::domain::binding::{AccessChange, BindingName, RoleBinding};
use crate::domain::command::{CreateRoleBinding, DeleteRoleBinding, ListPage, PageRequest};
use crate::domain::event::{Change, EventKind};
use crate::domain::filter::Filter;
use crate::domain::lifecycle::check_note;
use crate::domain::limits::ROLE_BINDINGS_PER_NAMESPACE_MAX;
use crate::domain::name::NamespaceId;
use crate::domain::outcome::BindingChanged;
use crate::domain::{Error, Reason, Result};
use crate::store::LogState;

impl Service {
    /// Grants a role.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, `BINDING_EXISTS`, `LIMIT_EXCEEDED`, `INVALID_ARGUMENT`, `DATA_LOSS`.
    pub async fn create_role_binding(&self, context: &Context, request: CreateRoleBinding) -> Result<BindingChanged> {
        check_note("reason", &request.reason)?;
        let call = self.call(context, "CreateRoleBinding", &request)?;
        let mut write = match call.begin(&request.namespace).await? {
            Begun::Replayed(answer) => return Ok(self.changed_before(&request.namespace, answer)),
            Begun::Fresh(write) => write,
        };
        let mut bindings = self.bindings(&write, &request.namespace).await?;
        let same = |each: &&RoleBinding| each.member == request.member && each.role == request.role;
        if let Some(found) = bindings.iter().find(same) {
            let message = format!("{} has the role {} here already", request.member, request.role.as_str());
            return Err(Error::new(Reason::BindingExists, message).with("id", &found.name).about(&found.name));
        }
        if bindings.len() >= ROLE_BINDINGS_PER_NAMESPACE_MAX {
            let message = format!("there are {ROLE_BINDINGS_PER_NAMESPACE_MAX} role bindings here already");
            return Err(
                Error::new(Reason::LimitExceeded, message).with("limit_role_bindings", ROLE_BINDINGS_PER_NAMESPACE_MAX)
            );
        }
        let name = BindingName { namespace: request.namespace.clone(), id: uuid::Uuid::now_v7().to_string() };
        let (role, member) = (request.role, request.member);
        let binding = RoleBinding { name, role, member, creator: context.actor(), create_time: write.time() };
        write.tx.insert_binding(&binding).await?;
        bindings.push(binding.clone());
        self.changed(write, EventKind::CreateRoleBinding, request.reason, binding, bindings).await
    }

    /// Takes a role away.
    ///
    /// # Errors
    /// `BINDING_NOT_FOUND`, `LAST_ADMIN`, `NAMESPACE_NOT_FOUND`, `DATA_LOSS`.
    pub async fn delete_role_binding(&self, context: &Context, request: DeleteRoleBinding) -> Result<BindingChanged> {
        check_note("reason", &request.reason)?;
        let call = self.call(context, "DeleteRoleBinding", &request)?;
        let namespace = &request.name.namespace;
        let mut write = match call.begin(namespace).await? {
            Begun::Replayed(answer) => return Ok(self.changed_before(namespace, answer)),
            Begun::Fresh(write) => write,
        };
        let mut bindings = self.bindings(&write, namespace).await?;
        let at = bindings.iter().position(|each| each.name == request.name);
        let binding = bindings.remove(at.ok_or_else(|| request.name.not_found())?);
        if namespace.is_system() && !bindings.iter().any(|each| each.role == Role::Admin) {
            let message = "it is the last binding of the role admin on *; grant it to somebody else first";
            return Err(Error::new(Reason::LastAdmin, message).about(&request.name));
        }
        write.tx.delete_binding(&request.name).await?;
        self.changed(write, EventKind::DeleteRoleBinding, request.reason, binding, bindings).await
    }

    /// A page of the bindings of a log, in order of their ids. All of them are read to prove them.
    ///
    /// # Errors
    /// `NAMESPACE_NOT_FOUND`, `DATA_LOSS`.
    pub async fn list_role_bindings(
        &self,
        namespace: &NamespaceId,
        page: &PageRequest<String>,
        wanted: &Filter<RoleBinding>,
    ) -> Result<ListPage<String, RoleBinding>> {
        let tx = self.store.read().await?;
        let state = tx.log_state(namespace).await?.ok_or_else(|| namespace.not_found())?;
        let bindings = prove_bindings(&self.signer, &tx, namespace, state).await?.into_iter();
        let is_next = |binding: &RoleBinding| page.after.as_ref().is_none_or(|after| binding.name.id > *after);
        let mut rest = bindings.filter(|binding| is_next(binding) && wanted.keeps(binding));
        let items: Vec<RoleBinding> = rest.by_ref().take(page.size as usize).collect();
        let reached = items.last().map(|last| last.name.id.clone());
        Ok(ListPage { items, reached, is_last: rest.next().is_none() })
    }

    /// The answer to a request that was carried out before, perhaps by a call that ended before it could forget what it changed,
    /// or at another replica.
    fn changed_before(&self, namespace: &NamespaceId, answer: BindingChanged) -> BindingChanged {
        self.access.forget(namespace);
        answer
    }

    /// The bindings of a locked log, proven: the digest that the next event names is made of them.
    async fn bindings(&self, write: &Write<'_>, namespace: &NamespaceId) -> Result<Vec<RoleBinding>> {
        let state = LogState { head: write.tx.head(), access_revision: write.tx.access_revision() };
        prove_bindings(&self.signer, write.tx.read(), namespace, state).await
    }

    async fn changed(
        &self,
        mut write: Box<Write<'_>>,
        kind: EventKind,
        reason: String,
        binding: RoleBinding,
        mut bindings: Vec<RoleBinding>,
    ) -> Result<BindingChanged> {
        bindings.sort_by(|one, other| one.name.cmp(&other.name));
        let access = AccessChange { binding: binding.clone(), bindings_digest: bindings_digest(&bindings)? };
        let recorded = write.record(Change { reason, access: Some(access), ..Change::new(kind, None) }).await?;
        let namespace = binding.name.namespace.clone();
        let done = write.finish(BindingChanged { binding, cursor: recorded.cursor }).await;
        // Also when nobody knows whether it was committed.
        self.access.forget(&namespace);
        done
    }
}
