//! The driver's text of a failure, for logs: without the lines of PostgreSQL's own source, and without the parts of the URL.
//!
//! Boundary: this handles text alone; `error.rs` and `health/error_codes.rs` decide what an error means. Invariant: of an error that ends
//! a connection, or refuses a new one, only PostgreSQL's fixed words are kept: the rest repeats roles, databases and options.

use sea_orm::sqlx::Error;
use sea_orm::sqlx::postgres::{PgDatabaseError, PgSeverity};
use sea_orm::{DbErr, RuntimeErr};

use crate::domain::causes::causes;

/// Returns the text of a failure, without secrets.
pub(super) fn redacted_text(error: &DbErr) -> String {
    let inner = match error {
        DbErr::Conn(RuntimeErr::SqlxError(inner))
        | DbErr::Exec(RuntimeErr::SqlxError(inner))
        | DbErr::Query(RuntimeErr::SqlxError(inner)) => inner,
        _ => return error.to_string(),
    };
    // The context is in the text before the inner error.
    error.to_string().replace(&inner.to_string(), &redacted_driver_text(inner))
}

/// Returns the text of the driver's own error, without secrets.
pub(super) fn redacted_driver_text(error: &Error) -> String {
    let answer = error.as_database_error().and_then(|answer| answer.try_downcast_ref::<PgDatabaseError>());
    match answer {
        Some(answer) => format!("error returned from database: {}", postgres(answer)),
        None => causes(error),
    }
}

fn postgres(answer: &PgDatabaseError) -> String {
    let code = answer.code();
    let said = match answer.severity() {
        PgSeverity::Fatal | PgSeverity::Panic => fixed_text(answer.message()),
        _ => answer.message(),
    };
    if said.is_empty() { format!("SQLSTATE {code}") } else { format!("{said} (SQLSTATE {code})") }
}

/// Returns the text before the first value that is quoted or named. Servers quote as their language does: only characters that no language
/// uses as quotes are kept.
fn fixed_text(message: &str) -> &str {
    let is_fixed = |each: char| each.is_ascii_alphanumeric() || " ,._-()".contains(each);
    let end = message.find(|each| !is_fixed(each)).unwrap_or(message.len());
    message.get(..end).unwrap_or_default().trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_is_left_out() {
        for (message, words) in [
            ("password authentication failed for user \"canary\"", "password authentication failed for user"),
            ("no pg_hba.conf entry for host \"::1\", user \"canary\"", "no pg_hba.conf entry for host"),
            (
                "invalid command-line argument for server process: canary",
                "invalid command-line argument for server process",
            ),
            ("le rôle « canary » n'existe pas", "le r"),
            ("\"canary\" ist unbekannt", ""),
            (
                "terminating connection due to administrator command",
                "terminating connection due to administrator command",
            ),
            ("sorry, too many clients already", "sorry, too many clients already"),
        ] {
            assert_eq!(fixed_text(message), words);
        }
    }
}
