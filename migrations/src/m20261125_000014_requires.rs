//! An index of the versions that require anything of other policies.

use crate::dialect::Statements;

pub const MIGRATION: Statements = Statements {
    name: "m20261125_000014_requires",
    statements: &[
        // Most versions require nothing, and are not in it.
        "CREATE INDEX versions_requiring ON versions (namespace, policy) WHERE requires <> '[]'",
    ],
};
