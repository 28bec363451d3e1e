//! Which guardrails an event set and deleted, in words.

use super::event::Payload;

/// Most guardrails that an event is said to set, or to delete.
const NAMED_MAX: usize = 5;

/// Says which guardrails an event set and deleted. Events of older servers do not say it.
#[must_use]
pub fn changed_guardrails(payload: &Payload) -> String {
    let named = |member: &str| -> Vec<&str> {
        let ids = payload.settings.as_ref().and_then(|settings| settings.get(member)).and_then(|ids| ids.as_array());
        ids.into_iter().flatten().filter_map(|id| id.as_str()).collect()
    };
    let said = [("set", named("set")), ("deleted", named("deleted"))].into_iter().filter(|(_, ids)| !ids.is_empty());
    let said: Vec<String> = said
        .map(|(done, mut ids)| {
            let left = ids.len().saturating_sub(NAMED_MAX);
            ids.truncate(NAMED_MAX);
            let more = if left > 0 { format!(" and {left} more") } else { String::new() };
            format!("{}{more} {done}", ids.join(", "))
        })
        .collect();
    if said.is_empty() { "guardrails".to_owned() } else { format!("guardrails: {}", said.join("; ")) }
}
