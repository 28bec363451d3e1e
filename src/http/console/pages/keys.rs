//! The signing keys of the store and where each stands.

use std::collections::BTreeMap;

use askama::Template;

use crate::api::{pb, request};
use crate::domain::access::{Grants, Rpc};
use crate::domain::key::{KeyInfo, KeyPurpose, KeyState};
use crate::domain::{Reason, Result};
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
    let listed = keys.keys(&wanted);
    let signed = signed_by(visit, &context.grants, &listed).await?;
    let rows = listed.iter().map(|each| key_row(visit, (&layout, &context.grants, &signed), each)).collect();
    let prepare = may(&context.grants, Rpc::PrepareSigningKey).then(|| prepare_form(&layout));
    Rendered::page(&KeysPage { layout, store: VisibleText::line(keys.signer().store()), rows, prepare })
}

/// What the keys that can be revoked signed of what is active, as text, by their ids. Who may not revoke them is not told.
type SignedTexts = BTreeMap<String, String>;

async fn signed_by(visit: &Visit, grants: &Grants, keys: &[KeyInfo]) -> Result<SignedTexts> {
    let retired = keys.iter().filter(|key| key.purpose == KeyPurpose::Bundle && key.record.state == KeyState::Retired);
    let ids: Vec<&str> = retired.map(|key| key.record.key_id.as_str()).collect();
    if !may(grants, Rpc::RevokeSigningKey) {
        return Ok(SignedTexts::new());
    }
    let found = match visit.service().keys.active_signed_by(&ids).await {
        Ok(found) => found,
        // A revocation can't wait until a slow database has read all that is active.
        Err(error) if matches!(error.reason, Reason::DatabaseUnavailable | Reason::LimitExceeded) => {
            let unknown = "What is active and signed by it could not be read in time: load this page again for it.";
            return Ok(ids.iter().map(|id| ((*id).to_owned(), unknown.to_owned())).collect());
        }
        Err(error) => return Err(error),
    };
    let text = |index: usize| {
        let of_key = found.versions.iter().filter(|(by, ..)| *by == index);
        let named: Vec<String> =
            of_key.map(|(_, name, number)| format!("{}/{}@{number}", name.namespace, name.policy)).collect();
        match (named.len(), found.has_more) {
            (0, false) => "Nothing that is active is signed by it.".to_owned(),
            (0, true) => "The list ends before it: whether it signed something that is active is not known.".to_owned(),
            (count, true) => {
                let plural = if count == 1 { "" } else { "s" };
                format!("It signed at least {count} active version{plural}, and maybe more: {}.", named.join(", "))
            }
            (1, false) => format!("It signed one active version: {}.", named.concat()),
            (count, false) => format!("It signed {count} active versions: {}.", named.join(", ")),
        }
    };
    Ok(ids.iter().enumerate().map(|(index, id)| ((*id).to_owned(), text(index))).collect())
}

fn key_row(visit: &Visit, (layout, grants, signed): (&Layout, &Grants, &SignedTexts), key: &KeyInfo) -> KeyRow {
    let at = |time| Moment::new(time, visit.now);
    let record = &key.record;
    let is_of_events = key.purpose == KeyPurpose::Seal;
    let forms = match record.state {
        _ if is_of_events => Vec::new(),
        KeyState::Prepared => {
            let signed = "It has signed nothing.";
            vec![
                (Rpc::ActivateSigningKey, activate_form(layout, &record.key_id)),
                revoke_form(layout, &record.key_id, signed),
            ]
        }
        KeyState::Retired => {
            vec![revoke_form(layout, &record.key_id, signed.get(&record.key_id).map_or("", String::as_str))]
        }
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

/// `signed` says what is active and signed by it.
fn revoke_form(layout: &Layout, id: &str, signed: &str) -> (Rpc, ActionForm) {
    let form = ActionForm::new(layout, format!("/keys/{id}/revoke"), "Revoke")
        .that_changes(format!(
            "{signed} Trust in it ends for good. With the tick, what it signed is signed again by the key that is active, what is active \
             first, and stays in force. Without it, what it signed is not served any more, what is active neither, until it is signed again."
        ))
        .asking(InputKind::Tick, "resign", "Sign again what it signed, with the key that is active", false)
        .with_reason(true)
        .like(format!("policyhub keys revoke {id} --reason … --resign"));
    (Rpc::RevokeSigningKey, form)
}
