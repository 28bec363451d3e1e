//! The schedules of a namespace: what each puts in force and when, and why one stands still.

use askama::Template;

use super::schedule_rows::{entry_text, state_word};
use crate::api::{pb, request};
use crate::domain::Result;
use crate::domain::access::{Grants, Rpc};
use crate::domain::schedule::{Schedule, ScheduleState};
use crate::http::console::form::{ActionForm, FormInput, InputKind};
use crate::http::console::layout::{Layout, Moment, command_line, namespace_path};
use crate::http::console::permitted::may;
use crate::http::console::rendered::Rendered;
use crate::http::console::visible_text::VisibleText;
use crate::http::console::visit::Visit;

/// Schedules on one page.
const SCHEDULES_PER_PAGE: i32 = 50;

#[derive(Template)]
#[template(path = "schedules.html")]
struct SchedulesPage {
    layout: Layout,
    rows: Vec<ScheduleRow>,
    next: String,
    create: Option<ActionForm>,
}

struct ScheduleRow {
    id: String,
    state: &'static str,
    entries: Vec<String>,
    next: Option<Moment>,
    ran: Option<Moment>,
    creator: VisibleText,
    reason: VisibleText,
    problem: VisibleText,
    forms: Vec<ActionForm>,
}

/// Shows the page.
pub async fn show(visit: &Visit) -> Result<Rendered> {
    let asked = pb::ListSchedulesRequest {
        parent: visit.namespace_name(),
        page_size: SCHEDULES_PER_PAGE,
        page_token: visit.fields.get("page_token").to_owned(),
        ..pb::ListSchedulesRequest::default()
    };
    let context = visit.read(Rpc::ListSchedules, &asked).await?;
    let (namespace, list, page, filter) = request::list_schedules(&asked)?;
    let found = visit.service().policies.list_schedules(&namespace, &page, &filter).await?;
    let layout = visit.layout("Schedules").in_namespace(&namespace, "schedule list");
    let reached = found.reached.as_ref().filter(|_| !found.is_last);
    let page = SchedulesPage {
        rows: found.items.iter().map(|each| schedule_row(visit, &layout, &context.grants, each)).collect(),
        next: reached.map(|key| visit.next_page(&list.token(key.as_str()), &["filter"])).unwrap_or_default(),
        create: may(&context.grants, Rpc::CreateSchedule).then(|| create_form(&layout, visit)),
        layout,
    };
    Rendered::page(&page)
}

fn schedule_row(visit: &Visit, layout: &Layout, grants: &Grants, schedule: &Schedule) -> ScheduleRow {
    let at = |time| Moment::new(time, visit.now);
    let all = match schedule.state {
        ScheduleState::Pending => vec![(Rpc::CancelSchedule, cancel_form(layout, schedule))],
        ScheduleState::Suspended => vec![
            (Rpc::ResumeSchedule, resume_form(layout, schedule)),
            (Rpc::CancelSchedule, cancel_form(layout, schedule)),
        ],
        ScheduleState::Done | ScheduleState::Cancelled => Vec::new(),
    };
    ScheduleRow {
        id: schedule.name.id.to_string(),
        state: state_word(schedule.state),
        entries: schedule.entries.iter().map(|entry| entry_text(entry, &schedule.time_zone)).collect(),
        next: schedule.next_time.map(at),
        ran: schedule.last_due_time.map(at),
        creator: VisibleText::line(&schedule.creator),
        reason: VisibleText::line(&schedule.reason),
        problem: VisibleText::line(&schedule.problem),
        forms: all.into_iter().filter(|(rpc, _)| may(grants, *rpc)).map(|(_, form)| form).collect(),
    }
}

/// Returns a form of one schedule, unless it changed since.
fn form_of(layout: &Layout, schedule: &Schedule, action: &str, button: &str) -> ActionForm {
    let (namespace, id) = (&schedule.name.namespace, &schedule.name.id);
    ActionForm::new(layout, format!("{}/schedules/{id}/{action}", namespace_path(namespace)), button)
        .hiding("etag", schedule.etag().to_string())
        .with_reason(true)
        .like(command_line(namespace, &format!("schedule {action} {id} --reason …")))
}

fn cancel_form(layout: &Layout, schedule: &Schedule) -> ActionForm {
    form_of(layout, schedule, "cancel", "Cancel").that_changes("It ends for good. What it put in force stays in force.")
}

fn resume_form(layout: &Layout, schedule: &Schedule) -> ActionForm {
    form_of(layout, schedule, "resume", "Resume").that_changes("It runs again. What it missed last runs at once.")
}

fn create_form(layout: &Layout, visit: &Visit) -> ActionForm {
    let path = format!("/{}/schedules/create", visit.namespace_name());
    let zone = FormInput {
        name: "time_zone",
        kind: InputKind::Line,
        label: "Time zone",
        value: "UTC".to_owned(),
        is_required: true,
    };
    ActionForm::new(layout, path, "Schedule")
        .that_changes("At that time the version is activated for every runtime of this namespace, unless its policy moved before.")
        .asking(InputKind::Line, "id", "Id of the schedule", true)
        .asking(InputKind::Line, "target", "POLICY@VERSION, such as pricing@3 or pricing@v1.2.0", true)
        .asking(InputKind::LocalTime, "time", "When", true)
        .with(zone)
        .with_reason(true)
        .like(format!("policyhub schedule create my-launch my-policy@2 --at 2030-01-01T00:00:00Z --reason … -n {}", layout.namespace_id()))
}
