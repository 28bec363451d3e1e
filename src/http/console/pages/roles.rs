//! Who may what in a namespace, and who gave it.

use askama::Template;

use crate::api::{pb, request};
use crate::domain::Result;
use crate::domain::access::Rpc;
use crate::domain::binding::RoleBinding;
use crate::domain::name::NamespaceId;
use crate::http::console::form::{ActionForm, InputKind};
use crate::http::console::layout::{Layout, Moment, command_line, namespace_path};
use crate::http::console::permitted::may;
use crate::http::console::rendered::Rendered;
use crate::http::console::visible_text::VisibleText;
use crate::http::console::visit::Visit;

/// Bindings on one page; each has a form for who may take it away.
const BINDINGS_PER_PAGE: i32 = 100;
/// The values of the field `role`.
const ROLES: &[&str] =
    &["viewer", "subscriber", "author", "approver", "publisher", "activator", "guardrail-admin", "admin"];

#[derive(Template)]
#[template(path = "roles.html")]
struct RolesPage {
    layout: Layout,
    rows: Vec<BindingRow>,
    next: String,
    grant: Option<ActionForm>,
}

struct BindingRow {
    member: VisibleText,
    role: &'static str,
    creator: VisibleText,
    created: Moment,
    id: VisibleText,
    revoke: Option<ActionForm>,
}

/// Shows the page.
pub async fn show(visit: &Visit) -> Result<Rendered> {
    let asked = pb::ListRoleBindingsRequest {
        parent: visit.namespace_name(),
        page_size: BINDINGS_PER_PAGE,
        page_token: visit.fields.get("page_token").to_owned(),
        ..pb::ListRoleBindingsRequest::default()
    };
    let context = visit.read(Rpc::ListRoleBindings, &asked).await?;
    let (namespace, list, page, wanted) = request::list_role_bindings(&asked)?;
    let found = visit.service().access.list_role_bindings(&namespace, &page, &wanted).await?;
    let layout = visit.layout("Roles").in_namespace(&namespace, "role list");
    let may_revoke = may(&context.grants, Rpc::DeleteRoleBinding);
    let row = |each: &RoleBinding| BindingRow {
        member: VisibleText::line(&each.member),
        role: each.role.as_str(),
        creator: VisibleText::line(&each.creator),
        created: Moment::new(each.create_time, visit.now),
        id: VisibleText::line(&each.name.id),
        revoke: may_revoke.then(|| revoke_form(&layout, each)),
    };
    let reached = found.reached.as_ref().filter(|_| !found.is_last);
    let page = RolesPage {
        rows: found.items.iter().map(row).collect(),
        next: reached.map(|key| visit.next_page(&list.token(key), &["filter"])).unwrap_or_default(),
        grant: may(&context.grants, Rpc::CreateRoleBinding).then(|| grant_form(&layout, &namespace)),
        layout,
    };
    Rendered::page(&page)
}

fn grant_form(layout: &Layout, namespace: &NamespaceId) -> ActionForm {
    ActionForm::new(layout, format!("{}/roles/grant", namespace_path(namespace)), "Grant")
        .that_changes("The member has the role in this namespace from the next call on.")
        .asking(InputKind::Choice(ROLES), "role", "Role", true)
        .asking(InputKind::Line, "member", "Member, such as local:ann or group:corp:ops", true)
        .with_reason(false)
        .like(command_line(namespace, "role grant viewer local:NAME"))
}

fn revoke_form(layout: &Layout, binding: &RoleBinding) -> ActionForm {
    let (namespace, id) = (&binding.name.namespace, &binding.name.id);
    ActionForm::new(layout, format!("{}/roles/{id}/revoke", namespace_path(namespace)), "Revoke")
        .that_changes("The next call of the member is refused, unless another binding allows it.")
        .with_reason(false)
        .like(format!("policyhub role revoke {}", binding.name))
}
