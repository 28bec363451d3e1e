//! Fields by their names, and values of their types.

use super::scanner::refused;
use crate::api::shown::shown;
use crate::api::time;
use crate::domain::Result;
use crate::domain::filter::{EnumNames, Field, Kind, Listing, Operand, Operator};
use crate::domain::name::{NamespaceId, PolicyId};

/// Finds the field of a path; what a path has beyond a map is a key of it.
///
/// # Errors
/// `INVALID_ARGUMENT` with the fields of the list.
pub(super) fn resolve<T>(
    listing: &'static Listing<T>,
    path: Vec<String>,
    column: usize,
) -> Result<(&'static Field<T>, Option<String>)> {
    let whole = path.join(".");
    if let Some(field) = listing.fields.iter().find(|field| field.name == whole) {
        return Ok((field, None));
    }
    let map =
        |field: &&Field<T>| matches!(field.kind, Kind::Map) && path.first().is_some_and(|first| first == field.name);
    let Some(field) = listing.fields.iter().find(map) else {
        let takes = listing.description();
        return Err(refused(column, format!("{} is no field of this list, which takes {takes}", shown(&whole))));
    };
    Ok((field, Some(path.get(1..).unwrap_or_default().join("."))))
}

/// Reads a value as one of a field, or says what the field takes.
pub(super) fn operand<T>(
    field: &Field<T>,
    namespace: Option<&NamespaceId>,
    operator: Operator,
    text: &str,
    is_quoted: bool,
) -> std::result::Result<Operand, String> {
    if operator == Operator::Has && text == "*" && !is_quoted {
        return Ok(Operand::Any);
    }
    match field.kind {
        Kind::Text | Kind::List | Kind::Map => Ok(Operand::Text(text.to_owned())),
        Kind::Number => text.parse().map(Operand::Number).map_err(|_| "takes a whole number".to_owned()),
        Kind::Time if operator == Operator::Has => Err("takes only * after :".to_owned()),
        Kind::Time => {
            let rule = || "takes a time by RFC 3339, such as \"2026-11-24T08:00:00Z\"".to_owned();
            time::rfc3339(text).map(Operand::Time).ok_or_else(rule)
        }
        Kind::Truth => text.parse().map(Operand::Truth).map_err(|_| "takes true or false".to_owned()),
        Kind::Enum(names) => word(names, text),
        Kind::Policy => {
            let id = match namespace {
                Some(namespace) => PolicyId::parse_within(field.name, namespace, text),
                None => PolicyId::parse(field.name, text),
            };
            let rule = |_| "takes the id or the name of a policy of this namespace".to_owned();
            id.map(|id| Operand::Text(id.to_string())).map_err(rule)
        }
    }
}

fn word(names: EnumNames, text: &str) -> std::result::Result<Operand, String> {
    let all = (names.all)();
    let short = text.strip_prefix(names.prefix).unwrap_or(text);
    let found = all.iter().find(|word| **word == short);
    found.map(|word| Operand::Enum(word)).ok_or_else(|| format!("takes one of {}", all.join(", ")))
}
