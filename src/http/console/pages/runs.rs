//! The runs of a namespace: what ran, under which versions, and how it ended.

use askama::Template;

use crate::api::{pb, request};
use crate::domain::Result;
use crate::domain::access::Rpc;
use crate::domain::run::Run;
use crate::http::console::layout::{Layout, Moment};
use crate::http::console::rendered::Rendered;
use crate::http::console::visible_text::VisibleText;
use crate::http::console::visit::Visit;

#[derive(Template)]
#[template(path = "runs.html")]
struct RunsPage {
    layout: Layout,
    filter: VisibleText,
    rows: Vec<RunRow>,
    next: String,
}

struct RunRow {
    id: VisibleText,
    under: String,
    outcome: &'static str,
    message: VisibleText,
    recorder: VisibleText,
    began: Moment,
    ended: Option<Moment>,
    revision: i64,
}

/// Shows the page.
pub async fn show(visit: &Visit) -> Result<Rendered> {
    let asked = pb::ListRunsRequest {
        parent: visit.namespace_name(),
        page_token: visit.fields.get("page_token").to_owned(),
        filter: visit.fields.get("filter").to_owned(),
        ..pb::ListRunsRequest::default()
    };
    visit.read(Rpc::ListRuns, &asked).await?;
    let (filter, list, page) = request::list_runs(&asked)?;
    let (found, _) = visit.service().sync.list_runs(&filter, &page).await?;
    let reached = found.reached.as_ref().filter(|_| !found.is_last);
    let page = RunsPage {
        layout: visit.layout("Runs").in_namespace(&filter.namespace, "run list"),
        filter: VisibleText::line(&asked.filter),
        rows: found.items.iter().map(|each| run_row(visit, each)).collect(),
        next: reached
            .map(|key| visit.next_page(&list.token(&request::write_run_key(key)), &["filter"]))
            .unwrap_or_default(),
    };
    Rendered::page(&page)
}

fn run_row(visit: &Visit, run: &Run) -> RunRow {
    let first = run.policies.first().map(|each| format!("{}@{}", each.policy, each.version)).unwrap_or_default();
    let more = run.policy_count.saturating_sub(1);
    RunRow {
        id: VisibleText::line(run.id.as_str()),
        under: if more == 0 { first } else { format!("{first} and {more} more") },
        outcome: run.end.as_ref().map_or("OPEN", |end| end.outcome.as_str()),
        message: VisibleText::line(run.end.as_ref().map_or("", |end| &end.message)),
        recorder: VisibleText::line(&run.recorder),
        began: Moment::new(run.create_time, visit.now),
        ended: run.end.as_ref().map(|end| Moment::new(end.complete_time, visit.now)),
        revision: run.cursor.revision,
    }
}
