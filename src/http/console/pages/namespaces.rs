//! The namespaces that the caller may read. Who comes from a page of a namespace gets to the same page of another one.

use askama::Template;

use crate::api::pb;
use crate::api::request;
use crate::domain::Result;
use crate::domain::access::Rpc;
use crate::domain::outcome::Namespace;
use crate::http::console::layout::{Layout, Moment, menu_page, menu_page_path};
use crate::http::console::rendered::Rendered;
use crate::http::console::visible_text::VisibleText;
use crate::http::console::visit::Visit;

#[derive(Template)]
#[template(path = "namespaces.html")]
struct NamespacesPage {
    layout: Layout,
    rows: Vec<NamespaceRow>,
    next: String,
}

struct NamespaceRow {
    id: String,
    href: String,
    description: VisibleText,
    revision: i64,
    created: Moment,
}

/// Shows the page.
pub async fn show(visit: &Visit) -> Result<Rendered> {
    let asked = pb::ListNamespacesRequest {
        page_token: visit.fields.get("page_token").to_owned(),
        ..pb::ListNamespacesRequest::default()
    };
    let context = visit.read(Rpc::ListNamespaces, &asked).await?;
    let (list, page, filter) = request::list_namespaces(&asked)?;
    let found = visit.service().access.list_namespaces(&context, &page, &filter).await?;
    let reached = found.reached.as_ref().filter(|_| !found.is_last);
    let row = |each: &Namespace| NamespaceRow {
        id: each.id.to_string(),
        href: menu_page_path(&each.id, menu_page(visit.fields.get("page"))),
        description: VisibleText::line(&each.description),
        revision: each.cursor.revision,
        created: Moment::new(each.create_time, visit.now),
    };
    let mut layout = visit.layout("Namespaces");
    layout.command = "policyhub namespace list".to_owned();
    let next = reached.map(|key| visit.next_page(&list.token(key.as_str()), &["page"])).unwrap_or_default();
    Rendered::page(&NamespacesPage { layout, rows: found.items.iter().map(row).collect(), next })
}
