//! The signing keys of the store and where each stands.

use askama::Template;

use crate::api::{pb, request};
use crate::domain::Result;
use crate::domain::access::{Grants, Rpc};
use crate::domain::key::{KeyInfo, KeyPurpose, KeyState};
use crate::http::console::form::{ActionForm, FormInput, InputKind};
use crate::http::console::layout::{Layout, Moment};
use crate::http::console::permitted::may;
use crate::http::console::rendered::Rendered;
use crate::http::console::visible_text::VisibleText;
use crate::http::console::visit::Visit;

/// The values of the field `algorithm`.
const ALGORITHMS: &[&str] = &["EdDSA", "ES256"];

#[derive(Template)]
#[template(path = "keys.html")]
struct KeysPage {
    layout: Layout,
    store: VisibleText,
    rows: Vec<KeyRow>,
    prepare: Option<ActionForm>,
}

struct KeyRow {
    id: VisibleText,
    algorithm: VisibleText,
    state: &'static str,
    signs: &'static str,
    prepared: Option<Moment>,
    activated: Option<Moment>,
    ready: Option<Moment>,
    ended: Option<Moment>,
    forms: Vec<ActionForm>,
}

/// Shows the page.
pub async fn show(visit: &Visit) -> Result<Rendered> {
    let asked = pb::ListSigningKeysRequest::default();
    let context = visit.read(Rpc::ListSigningKeys, &asked).await?;
    let wanted = request::list_signing_keys(&asked)?;
    let keys = &visit.service().keys;
    let mut layout = visit.layout("Signing keys");
    layout.command = "policyhub keys list".to_owned();
    let rows = keys.keys(&wanted).iter().map(|each| key_row(visit, (&layout, &context.grants), each)).collect();
    let prepare = may(&context.grants, Rpc::PrepareSigningKey).then(|| prepare_form(&layout));
    Rendered::page(&KeysPage { layout, store: VisibleText::line(keys.signer().store()), rows, prepare })
}

fn key_row(visit: &Visit, (layout, grants): (&Layout, &Grants), key: &KeyInfo) -> KeyRow {
    let at = |time| Moment::new(time, visit.now);
    let record = &key.record;
    let is_of_events = key.purpose == KeyPurpose::Seal;
    let forms = match record.state {
        _ if is_of_events => Vec::new(),
        KeyState::Prepared => {
            vec![(Rpc::ActivateSigningKey, activate_form(layout, &record.key_id)), revoke_form(layout, &record.key_id)]
        }
        KeyState::Retired => vec![revoke_form(layout, &record.key_id)],
        // Another one has to sign before trust in it can end.
        KeyState::Active | KeyState::Revoked => Vec::new(),
    };
    KeyRow {
        id: VisibleText::line(&record.key_id),
        algorithm: VisibleText::line(&record.algorithm),
        state: match record.state {
            KeyState::Prepared => "prepared",
            KeyState::Active => "active",
            KeyState::Retired => "retired",
            KeyState::Revoked => "revoked",
        },
        signs: if is_of_events { "events" } else { "versions and activations" },
        // Of the times of the key of events nothing is known.
        prepared: (!is_of_events).then(|| at(record.prepare_time)),
        activated: record.activate_time.map(at),
        ready: key.ready_time.map(at),
        ended: record.revoke_time.or(record.retire_time).map(at),
        forms: forms.into_iter().filter(|(rpc, _)| may(grants, *rpc)).map(|(_, form)| form).collect(),
    }
}

fn prepare_form(layout: &Layout) -> ActionForm {
    let algorithm = FormInput {
        name: "algorithm",
        kind: InputKind::Choice(ALGORITHMS),
        label: "Algorithm",
        value: "EdDSA".to_owned(),
        is_required: true,
    };
    ActionForm::new(layout, "/keys/prepare", "Prepare a key")
        .that_changes("The key is public, so that runtimes know it before it signs. It signs nothing yet.")
        .with(algorithm)
        .like("policyhub keys prepare")
}

fn activate_form(layout: &Layout, id: &str) -> ActionForm {
    ActionForm::new(layout, format!("/keys/{id}/activate"), "Activate")
        .that_changes("It signs from now on. The key before it is retired: what that signed stays good.")
        .with_reason(false)
        .like(format!("policyhub keys activate {id}"))
}

fn revoke_form(layout: &Layout, id: &str) -> (Rpc, ActionForm) {
    let form = ActionForm::new(layout, format!("/keys/{id}/revoke"), "Revoke")
        .that_changes("Trust in it ends for good. What it signed is not served any more, what is active neither, until it is signed again.")
        .asking(InputKind::Tick, "resign", "Sign again what it signed, with the key that is active", false)
        .with_reason(true)
        .like(format!("policyhub keys revoke {id} --reason … --resign"));
    (Rpc::RevokeSigningKey, form)
}
