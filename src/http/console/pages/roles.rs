//! Who may what in a namespace, and who gave it.

use askama::Template;

use crate::api::{pb, request};
use crate::domain::Result;
use crate::domain::access::Rpc;
use crate::domain::binding::RoleBinding;
use crate::http::console::layout::{Layout, Moment};
use crate::http::console::rendered::Rendered;
use crate::http::console::visible_text::VisibleText;
use crate::http::console::visit::Visit;

#[derive(Template)]
#[template(path = "roles.html")]
struct RolesPage {
    layout: Layout,
    rows: Vec<BindingRow>,
    next: String,
}

struct BindingRow {
    member: VisibleText,
    role: &'static str,
    creator: VisibleText,
    created: Moment,
    id: VisibleText,
}

/// Shows the page.
pub async fn show(visit: &Visit) -> Result<Rendered> {
    let asked = pb::ListRoleBindingsRequest {
        parent: visit.namespace_name(),
        page_size: 200,
        page_token: visit.fields.get("page_token").to_owned(),
        ..pb::ListRoleBindingsRequest::default()
    };
    visit.read(Rpc::ListRoleBindings, &asked).await?;
    let (namespace, list, page, wanted) = request::list_role_bindings(&asked)?;
    let found = visit.service().access.list_role_bindings(&namespace, &page, &wanted).await?;
    let row = |each: &RoleBinding| BindingRow {
        member: VisibleText::line(&each.member),
        role: each.role.as_str(),
        creator: VisibleText::line(&each.creator),
        created: Moment::new(each.create_time, visit.now),
        id: VisibleText::line(&each.name.id),
    };
    let reached = found.reached.as_ref().filter(|_| !found.is_last);
    let page = RolesPage {
        layout: visit.layout("Roles").in_namespace(&namespace, "role list"),
        rows: found.items.iter().map(row).collect(),
        next: reached.map(|key| visit.next_page(&list.token(key), "filter")).unwrap_or_default(),
    };
    Rendered::page(&page)
}
