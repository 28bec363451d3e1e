//! Templates that versions were made from.

use crate::dialect::Statements;

pub const MIGRATION: Statements = Statements {
    name: "m20261125_000016_templates",
    statements: &[
        // JSON. NULL: its author wrote the content, and then neither the row's MAC nor its manifest has it.
        "ALTER TABLE versions ADD COLUMN template TEXT",
    ],
};
