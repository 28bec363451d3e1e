//! The signing keys of the store and where each stands.

use askama::Template;

use crate::api::{pb, request};
use crate::domain::Result;
use crate::domain::access::Rpc;
use crate::domain::key::{KeyInfo, KeyPurpose, KeyState};
use crate::http::console::layout::{Layout, Moment};
use crate::http::console::rendered::Rendered;
use crate::http::console::visible_text::VisibleText;
use crate::http::console::visit::Visit;

#[derive(Template)]
#[template(path = "keys.html")]
struct KeysPage {
    layout: Layout,
    store: VisibleText,
    rows: Vec<KeyRow>,
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
}

/// Shows the page.
pub async fn show(visit: &Visit) -> Result<Rendered> {
    let asked = pb::ListSigningKeysRequest::default();
    visit.read(Rpc::ListSigningKeys, &asked).await?;
    let wanted = request::list_signing_keys(&asked)?;
    let keys = &visit.service().keys;
    let mut layout = visit.layout("Signing keys");
    layout.command = "policyhub keys list".to_owned();
    let rows = keys.keys(&wanted).iter().map(|each| key_row(visit, each)).collect();
    Rendered::page(&KeysPage { layout, store: VisibleText::line(keys.signer().store()), rows })
}

fn key_row(visit: &Visit, key: &KeyInfo) -> KeyRow {
    let at = |time| Moment::new(time, visit.now);
    let record = &key.record;
    let is_of_events = key.purpose == KeyPurpose::Seal;
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
    }
}
