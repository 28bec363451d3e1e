//! Original authors of versions that existed before this store.

use crate::dialect::Statements;

pub const MIGRATION: Statements = Statements {
    name: "m20261124_000012_adopted",
    statements: &[
        // JSON. NULL: made here, and then neither the row's MAC nor its manifest has it.
        "ALTER TABLE versions ADD COLUMN adopted TEXT",
    ],
};
