//! Reads from the log who moved the pointers of a past active set, and when.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::cli::names::policy_of;
use crate::cli::output::document::{Format, Named, to_json, write_stdout};
use crate::cli::output::text;
use crate::cli::session::Session;
use crate::client::pb;

/// Most concurrent lookups of events.
const LOOKUPS_MAX: usize = 8;
/// Widest name and reason in a table.
const WORDS_MAX_CHARS: usize = 40;

/// The events that moved the pointers, by revision. Events that can't be read are left out: a caller that may read a set may not
/// always read the log.
pub type Moves = BTreeMap<i64, pb::Event>;

/// Reads the events.
pub async fn read(session: &Session, bundles: &[pb::Bundle]) -> Moves {
    let mut revisions: Vec<i64> = bundles.iter().filter_map(|active| Some(active.activation?.revision)).collect();
    revisions.sort_unstable();
    revisions.dedup();
    let lookups = revisions.into_iter().map(async |revision| {
        let request = pb::ListEventsRequest {
            parent: session.namespace.name(),
            page_size: 1,
            after: Some(pb::Cursor::of_revision(revision - 1)),
            ..Default::default()
        };
        let page = session.client.list_events(request).await.ok()?;
        let event = page.events.into_iter().next()?;
        (event.cursor?.revision == revision).then_some((revision, event))
    });
    stream::iter(lookups).buffered(LOOKUPS_MAX).filter_map(async |found| found).collect().await
}

fn move_of<'a>(active: &pb::Bundle, moves: &'a Moves) -> Option<&'a pb::Event> {
    moves.get(&active.activation?.revision)
}

/// Prints a response with who moved what: as columns after its table, or as `moves` in its JSON, by policy.
pub fn print<M: Named>(
    session: &Session,
    response: &M,
    bundles: &[pb::Bundle],
    moves: &Moves,
    (header, rows): (&[&str], Vec<Vec<String>>),
) -> anyhow::Result<()> {
    match session.output {
        Format::Text => {
            let columns = ["MOVED BY", "WHEN", "WHY"];
            let rows = rows.into_iter().zip(bundles).map(|(row, active)| [row, cells(move_of(active, moves))].concat());
            let header: Vec<&str> = header.iter().copied().chain(columns).collect();
            write_stdout(text::table(&header, &rows.collect::<Vec<_>>()).as_bytes())
        }
        Format::Json | Format::Yaml | Format::Sarif => {
            let mut document = to_json(response)?;
            if let Value::Object(fields) = &mut document {
                fields.insert("moves".to_owned(), as_json(bundles, moves));
            }
            session.output.print_document(&document)
        }
    }
}

fn cells(event: Option<&pb::Event>) -> Vec<String> {
    let Some(event) = event else { return vec![String::new(); 3] };
    vec![
        text::shortened(&event.actor, WORDS_MAX_CHARS),
        text::time(event.time.as_ref()),
        text::shortened(&event.reason, WORDS_MAX_CHARS),
    ]
}

fn as_json(bundles: &[pb::Bundle], moves: &Moves) -> Value {
    let told = bundles.iter().filter_map(|active| {
        let (name, event) = (&active.name, move_of(active, moves)?);
        let told = json!({
            "revision": event.cursor?.revision,
            "kind": text::event_kind(event.kind),
            "actor": event.actor,
            "time": text::time(event.time.as_ref()),
            "reason": event.reason,
        });
        Some((policy_of(name).to_owned(), told))
    });
    Value::Object(told.collect())
}
