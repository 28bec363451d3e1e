//! Several fields at once: a caller is told of all that can't be taken, not of the first.

use crate::domain::Result;

/// Both, or the violations of both. An error that is not about fields is the answer as it is.
pub(super) fn both<A, B>(first: Result<A>, second: Result<B>) -> Result<(A, B)> {
    match (first, second) {
        (Ok(first), Ok(second)) => Ok((first, second)),
        (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
        (Err(first), Err(second)) => {
            if first.violations.is_empty() || second.violations.is_empty() {
                return Err(first);
            }
            let violations = first.violations.into_iter().chain(second.violations).collect();
            Err(crate::domain::Error::invalid_fields(violations))
        }
    }
}

/// All, or the violations of all.
pub(super) fn all<T>(fields: impl IntoIterator<Item = Result<T>>) -> Result<Vec<T>> {
    let mut all = Ok(Vec::new());
    for field in fields {
        all = both(all, field).map(|(mut taken, field)| {
            taken.push(field);
            taken
        });
    }
    all
}
