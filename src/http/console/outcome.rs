//! What an action has done, as the page that follows it says. Nothing of it is stored: a code of a closed list is in the address.
//!
//! Invariant: no text of an address is shown. A code that is not of the page is ignored.

use super::rendered::Done;

/// The field of the query that has the code.
pub const OUTCOME_FIELD: &str = "done";

/// What an action has done. Activations have a page of their own instead, which says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Drafted,
    Staged,
    Approved,
    Rejected,
    Published,
    Abandoned,
    GuardrailSet,
    GuardrailDeleted,
    ScheduleCreated,
    ScheduleCancelled,
    ScheduleResumed,
    RoleGranted,
    RoleRevoked,
    KeyPrepared,
    KeyActivated,
    KeyRevoked,
}

/// Every outcome with its code, the route of its page, and what that page says. `@` stands for the version of the page.
const OUTCOMES: &[(Outcome, &str, &str, &str)] = &[
    (Outcome::Drafted, "drafted", "version", "@ was drafted. Staging it has it checked."),
    (Outcome::Staged, "staged", "version", "@ was staged: its checks passed, and it is locked."),
    (Outcome::Approved, "approved", "version", "You approved @."),
    (Outcome::Rejected, "rejected", "version", "You rejected @: it has ended."),
    (Outcome::Published, "published", "version", "@ was published. Nothing runs it until it is activated."),
    (Outcome::Abandoned, "abandoned", "version", "@ was abandoned: its label is free again."),
    (
        Outcome::GuardrailSet,
        "set",
        "guardrails",
        "The guardrail holds from now on. Every published version satisfies it and the others here.",
    ),
    (Outcome::GuardrailDeleted, "deleted", "guardrails", "The guardrail was deleted."),
    (Outcome::ScheduleCreated, "created", "schedules", "The schedule was made: it runs at its time."),
    (Outcome::ScheduleCancelled, "cancelled", "schedules", "The schedule was cancelled."),
    (Outcome::ScheduleResumed, "resumed", "schedules", "The schedule was resumed."),
    (Outcome::RoleGranted, "granted", "roles", "The role was granted."),
    (Outcome::RoleRevoked, "revoked", "roles", "The role was revoked."),
    (Outcome::KeyPrepared, "prepared", "keys", "A key was prepared. It may sign once runtimes know it."),
    (Outcome::KeyActivated, "activated", "keys", "The key signs from now on."),
    (Outcome::KeyRevoked, "revoked", "keys", "The key was revoked: trust in it has ended."),
];

impl Outcome {
    /// Sends the browser on to the page at a path, which says what was done.
    #[must_use]
    pub fn at(self, path: &str) -> Done {
        let code = OUTCOMES.iter().find(|(outcome, ..)| *outcome == self).map_or("", |(_, code, ..)| code);
        Done::At(format!("{path}?{OUTCOME_FIELD}={code}"))
    }
}

/// Returns what the page of a route says for a code; nothing for a code that is not one of it. `version` is that of the page, if it has one.
#[must_use]
pub fn outcome_text(route: &str, code: &str, version: Option<&str>) -> String {
    let of_page = |(_, known, page, _): &&(Outcome, &str, &str, &str)| *page == route && *known == code;
    let text = OUTCOMES.iter().find(of_page).map_or("", |(.., text)| text);
    match version {
        Some(version) => text.replacen('@', version, 1),
        None if text.contains('@') => String::new(),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_what_was_done_there_and_nothing_else() {
        assert_eq!(
            outcome_text("version", "published", Some("shop@3")),
            "shop@3 was published. Nothing runs it until it is activated."
        );
        assert_eq!(outcome_text("keys", "revoked", None), "The key was revoked: trust in it has ended.");
        for (route, code) in [("policy", "published"), ("version", "granted"), ("version", ""), ("keys", "<b>")] {
            assert_eq!(outcome_text(route, code, Some("shop@3")), "", "{route} {code}");
        }
        assert_eq!(outcome_text("version", "published", None), "");
    }

    #[test]
    fn a_code_is_that_of_one_outcome_of_its_page() {
        for (outcome, code, route, text) in OUTCOMES {
            assert_eq!(
                OUTCOMES.iter().filter(|(_, other, page, _)| other == code && page == route).count(),
                1,
                "{code}"
            );
            let Done::At(path) = outcome.at("/p") else { panic!("{outcome:?}") };
            assert_eq!(path, format!("/p?done={code}"));
            assert!(text.ends_with('.'), "{text}");
        }
    }
}
