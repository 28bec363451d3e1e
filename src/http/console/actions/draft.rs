//! Drafts the next version of a policy from a text area, or checks it. A text that is refused is on the page again.

use crate::api::{pb, request};
use crate::domain::access::Rpc;
use crate::domain::version::Requirement;
use crate::domain::{Error, Reason, Result};
use crate::http::console::layout::version_path;
use crate::http::console::line_endings::restore_line_endings;
use crate::http::console::outcome::Outcome;
use crate::http::console::pages::draft::{DraftOutcome, DraftText, draft_page, read_base};
use crate::http::console::rendered::Done;
use crate::http::console::visit::Visit;

/// What was done with a text.
enum Handled {
    /// It is a version, at this path.
    Drafted(String),
    /// It was checked.
    Checked(DraftOutcome),
}

/// Makes the call, and sends the browser on to the version; or shows the text again.
pub async fn act(visit: &Visit) -> Result<Done> {
    let written = DraftText {
        text: visit.fields.get("text").to_owned(),
        label: visit.fields.get("label").trim().to_owned(),
        note: visit.fields.get("note").to_owned(),
        base_version: visit.fields.number("base_version").unwrap_or_default(),
        from_version: visit.fields.number_or_zero("from_version").unwrap_or_default(),
    };
    match handle(visit, &written).await {
        Ok(Handled::Drafted(path)) => Ok(Outcome::Drafted.at(&path)),
        Ok(Handled::Checked(outcome)) => draft_page(visit, written, outcome, true).map(Done::Page),
        // To whoever has no role here, there is no such namespace.
        Err(error) if error.reason == Reason::NamespaceNotFound => Err(error),
        Err(error) => draft_page(visit, written, DraftOutcome::Refused(error), true).map(Done::Page),
    }
}

async fn handle(visit: &Visit, written: &DraftText) -> Result<Handled> {
    let mut asked = pb::DraftRequest {
        parent: visit.policy_name(),
        label: written.label.clone(),
        change_note: written.note.clone(),
        base_version: visit.fields.number("base_version")?,
        request_id: visit.request_id(),
        ..pb::DraftRequest::default()
    };
    let context = visit.mutation(Rpc::Draft, &asked).await?;
    visit.read(Rpc::GetPolicy, &pb::GetPolicyRequest { name: visit.policy_name() }).await?;
    let edited = match visit.fields.number_or_zero("from_version")? {
        0 => asked.base_version,
        from => from,
    };
    let which = if edited == 0 { "active".to_owned() } else { edited.to_string() };
    let base = read_base(visit, &which).await?;
    // Without a base the text is a new one, also when something became active meanwhile.
    let base_text = if edited == 0 { "" } else { base.text.as_str() };
    let text = restore_line_endings(base_text, &written.text);
    if let Some(version) = base.version.filter(|_| edited != 0) {
        if text == base_text {
            return Err(Error::invalid("text", format!("is that of version {}: nothing was changed", version.number)));
        }
        asked.content_type.clone_from(&version.content_type);
        asked.requires = version.requires.iter().map(required).collect();
    }
    asked.content = text.into();
    let request = request::draft(asked)?;
    let policies = &visit.service().policies;
    match visit.fields.get("do") {
        "check" => policies.check_draft(&context, request).await.map(DraftOutcome::Checked).map(Handled::Checked),
        "draft" => {
            let version = policies.draft(&context, request).await?.version;
            Ok(Handled::Drafted(version_path(&version.policy, version.number)))
        }
        _ => Err(Error::invalid("do", "must be check or draft")),
    }
}

fn required(requirement: &Requirement) -> pb::Requirement {
    pb::Requirement { policy: requirement.policy.to_string(), version_req: requirement.version_req.to_string() }
}
