//! Annotations of versions by their authors.

use crate::dialect::Statements;

pub const MIGRATION: Statements = Statements {
    name: "m20261124_000010_annotations",
    statements: &[
        // JSON, in order of the names. NULL: none, and then neither the row's MAC nor its manifest has them.
        "ALTER TABLE versions ADD COLUMN annotations TEXT",
    ],
};
