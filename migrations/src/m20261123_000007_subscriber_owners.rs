//! Whose each subscriber id is.

use crate::dialect::Statements;

pub const MIGRATION: Statements = Statements {
    name: "m20261123_000007_subscriber_owners",
    statements: &[
        // Empty: nobody's yet, and then of the first who uses it. The version of the server before this one, which runs beside it
        // during an upgrade, writes rows without it.
        "ALTER TABLE subscribers ADD COLUMN owner {text} NOT NULL DEFAULT ''",
    ],
};
