//! Guardrails: rules that every content of a namespace, or of the whole store, must satisfy before it reaches a subscriber.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::error::FieldViolation;
use super::etag::Etag;
use super::limits::{
    GUARDRAIL_EXPRESSION_MAX_BYTES, GUARDRAIL_MESSAGE_MAX_BYTES, GUARDRAIL_POINTER_MAX_BYTES, GUARDRAILS_MAX,
    GUARDRAILS_MAX_BYTES, ID_MAX_CHARS,
};
use super::name::NamespaceId;
use super::report::Severity;
use super::time::Micros;
use super::{Error, Result};

/// What a broken guardrail does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum GuardrailSeverity {
    /// It refuses the version.
    #[serde(alias = "deny")]
    Deny,
    /// It is reported, and refuses nothing.
    #[serde(alias = "warn")]
    Warn,
}

/// A rule as a CEL expression over a content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guardrail {
    /// Its id, unique in its set.
    pub id: String,
    /// The CEL expression, which is true when the rule holds.
    pub expression: String,
    /// What happens when it does not hold.
    pub severity: GuardrailSeverity,
    /// The message for the author; `{expression}` in it is replaced by the expression's value. Empty: a default.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// A JSON Pointer in which a token `*` stands for each member: the expression is evaluated for each value that it leads to, as
    /// `value`. Empty: it is evaluated once, and `value` is the content.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub for_each: String,
}

/// The guardrails of a namespace, or of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardrailSet {
    /// The namespace where they hold; `system` for those that hold in all.
    pub namespace: NamespaceId,
    /// The guardrails, in the order in which they are evaluated, except that DENY comes before WARN.
    pub guardrails: Vec<Guardrail>,
    /// The number of changes so far; 0: it was never set.
    pub edits: i64,
    /// The time of the last change.
    pub update_time: Micros,
}

impl GuardrailSeverity {
    /// Returns the severity of a finding of such a guardrail.
    #[must_use]
    pub fn of_finding(self) -> Severity {
        match self {
            Self::Deny => Severity::Error,
            Self::Warn => Severity::Warning,
        }
    }
}

impl GuardrailSet {
    /// Returns the set of a namespace that has none.
    #[must_use]
    pub fn empty(namespace: NamespaceId) -> Self {
        Self { namespace, guardrails: Vec::new(), edits: 0, update_time: Micros(0) }
    }

    /// Returns the etag of this state of the set.
    #[must_use]
    pub fn etag(&self) -> Etag {
        let (edits, time) = (self.edits.to_be_bytes(), self.update_time.0.to_be_bytes());
        Etag::derive("guardrails", &[self.namespace.as_str().as_bytes(), &edits, &time])
    }
}

/// Checks the form and the sizes of a set. Whether the expressions compile is for a worker to say.
///
/// # Errors
/// `INVALID_ARGUMENT`, with every field that is wrong.
pub fn check_guardrails(field: &str, guardrails: &[Guardrail]) -> Result<()> {
    if guardrails.len() > GUARDRAILS_MAX {
        return Err(Error::invalid(field, format!("has {}, over {GUARDRAILS_MAX}", guardrails.len())));
    }
    let (mut ids, mut total, mut violations) = (BTreeSet::new(), 0, Vec::new());
    for (index, each) in guardrails.iter().enumerate() {
        total += each.id.len() + each.expression.len() + each.message.len() + each.for_each.len();
        let is_first = ids.insert(each.id.as_str());
        let named = |(name, description)| FieldViolation { field: format!("{field}[{index}].{name}"), description };
        violations.extend(problems(each, is_first).into_iter().map(named));
    }
    if total > GUARDRAILS_MAX_BYTES && violations.is_empty() {
        let description = format!("has {total} bytes in all, over {GUARDRAILS_MAX_BYTES}");
        violations.push(FieldViolation { field: field.to_owned(), description });
    }
    if violations.is_empty() { Ok(()) } else { Err(Error::invalid_fields(violations)) }
}

fn problems(guardrail: &Guardrail, is_first: bool) -> Vec<(&'static str, String)> {
    let Guardrail { id, expression, message, for_each, severity: _ } = guardrail;
    let mut found = Vec::new();
    if !is_id(id) {
        found.push(("id", format!("must be at most {ID_MAX_CHARS} of a-z, 0-9, - and _, and begin with a letter")));
    } else if !is_first {
        found.push(("id", "is used twice".to_owned()));
    }
    if expression.trim().is_empty() {
        found.push(("expression", "is required".to_owned()));
    } else if expression.len() > GUARDRAIL_EXPRESSION_MAX_BYTES {
        found.push(("expression", format!("is over {GUARDRAIL_EXPRESSION_MAX_BYTES} bytes")));
    }
    if message.len() > GUARDRAIL_MESSAGE_MAX_BYTES {
        found.push(("message", format!("is over {GUARDRAIL_MESSAGE_MAX_BYTES} bytes")));
    }
    if !for_each.is_empty() && (!is_pointer(for_each) || for_each.len() > GUARDRAIL_POINTER_MAX_BYTES) {
        let rule = format!("must be a JSON Pointer such as /rules/*, of at most {GUARDRAIL_POINTER_MAX_BYTES} bytes");
        found.push(("for_each", rule));
    }
    found
}

/// Returns whether a text is a JSON Pointer: each `~` is followed by 0 or 1 (RFC 6901).
fn is_pointer(text: &str) -> bool {
    text.starts_with('/') && text.split('~').skip(1).all(|after| after.starts_with(['0', '1']))
}

fn is_id(id: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    id.len() <= ID_MAX_CHARS
        && id.bytes().next().is_some_and(|first| first.is_ascii_lowercase())
        && id.bytes().all(is_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guardrail(id: &str) -> Guardrail {
        Guardrail {
            id: id.to_owned(),
            expression: "true".to_owned(),
            severity: GuardrailSeverity::Deny,
            message: String::new(),
            for_each: String::new(),
        }
    }

    fn fields(guardrails: &[Guardrail]) -> Vec<String> {
        let refused = check_guardrails("guardrails", guardrails).expect_err("a refusal");
        refused.violations.into_iter().map(|violation| violation.field).collect()
    }

    #[test]
    fn every_wrong_field_is_named() {
        assert!(check_guardrails("guardrails", &[guardrail("a"), guardrail("a-2_b")]).is_ok());
        let wrong = Guardrail {
            expression: " ".to_owned(),
            message: "m".repeat(GUARDRAIL_MESSAGE_MAX_BYTES + 1),
            for_each: "rules".to_owned(),
            ..guardrail("A")
        };
        let expected = ["id", "expression", "message", "for_each"].map(|name| format!("guardrails[1].{name}"));
        assert_eq!(fields(&[guardrail("a"), wrong]), expected);
        assert_eq!(fields(&[guardrail("a"), guardrail("a")]), ["guardrails[1].id"]);
        for id in ["", "1a", "a b", &"a".repeat(ID_MAX_CHARS + 1)] {
            assert_eq!(fields(&[guardrail(id)]), ["guardrails[0].id"], "{id}");
        }
        for for_each in ["rules", "/a~", "/a~2b"] {
            let wrong = Guardrail { for_each: for_each.to_owned(), ..guardrail("a") };
            assert_eq!(fields(&[wrong]), ["guardrails[0].for_each"], "{for_each}");
        }
    }

    #[test]
    fn bounds_hold_on_both_sides() {
        let many: Vec<Guardrail> = (0..GUARDRAILS_MAX).map(|number| guardrail(&format!("g{number}"))).collect();
        assert!(check_guardrails("guardrails", &many).is_ok());
        assert_eq!(fields(&[many, vec![guardrail("one-more")]].concat()), ["guardrails"]);
        let long = |bytes: usize| vec![Guardrail { expression: "x".repeat(bytes), ..guardrail("a") }];
        assert!(check_guardrails("guardrails", &long(GUARDRAIL_EXPRESSION_MAX_BYTES)).is_ok());
        assert_eq!(fields(&long(GUARDRAIL_EXPRESSION_MAX_BYTES + 1)), ["guardrails[0].expression"]);
        let large = |id: usize| Guardrail { expression: "x".repeat(4_000), ..guardrail(&format!("g{id}")) };
        let large: Vec<Guardrail> = (0..GUARDRAILS_MAX_BYTES / 4_000 + 1).map(large).collect();
        assert_eq!(fields(&large), ["guardrails"]);
    }
}
