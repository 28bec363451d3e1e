//! The owner of each subscriber id.

use crate::dialect::Statements;

pub const MIGRATION: Statements = Statements {
    name: "m20261123_000007_subscriber_owners",
    statements: &[
        // Empty: not owned yet; the first user of the id becomes its owner. The former version of the server, which runs
        // concurrently during an upgrade, writes rows without it.
        "ALTER TABLE subscribers ADD COLUMN owner {text} NOT NULL DEFAULT ''",
    ],
};
