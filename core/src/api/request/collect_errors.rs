//! Collects the errors of several fields, so that a caller learns of all violations at once.

use crate::domain::{Error, Result};

/// Joins two results, and collects the violations of both, so that a caller learns of all of them. An error that is not about fields is returned as it is.
pub(super) fn collect_errors<A, B>(first: Result<A>, second: Result<B>) -> Result<(A, B)> {
    match (first, second) {
        (Ok(first), Ok(second)) => Ok((first, second)),
        (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
        (Err(first), Err(second)) => {
            if first.violations.is_empty() || second.violations.is_empty() {
                return Err(first);
            }
            let violations = first.violations.into_iter().chain(second.violations).collect();
            Err(Error::invalid_fields(violations))
        }
    }
}

/// Joins the results of a list, and collects the violations of all. The caller has bounded how many there are.
pub(super) fn collect_all_errors<T>(fields: impl IntoIterator<Item = Result<T>>) -> Result<Vec<T>> {
    let mut taken = Vec::new();
    let mut violations = Vec::new();
    for field in fields {
        match field {
            Ok(field) => taken.push(field),
            Err(error) if error.violations.is_empty() => return Err(error),
            Err(error) => violations.extend(error.violations),
        }
    }
    if violations.is_empty() { Ok(taken) } else { Err(Error::invalid_fields(violations)) }
}

/// Refuses a list that is longer than its limit, before anything is made of it.
pub(super) fn at_most<T>(field: &str, list: &[T], limit: usize) -> Result<()> {
    if list.len() <= limit {
        return Ok(());
    }
    Err(Error::invalid(field, format!("has {} entries, over {limit}", list.len())))
}
