//! What authors say of each version by name.

use crate::dialect::Statements;

pub const MIGRATION: Statements = Statements {
    name: "m20261124_000010_annotations",
    statements: &[
        // JSON, in order of the names. NULL: none, and then neither the row's tag nor its manifest has them.
        "ALTER TABLE versions ADD COLUMN annotations TEXT",
    ],
};
