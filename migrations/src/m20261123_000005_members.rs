//! Index of role bindings by member: before the body of each call is read, the server checks whether its caller has any role for it.

use crate::dialect::Statements;

pub const MIGRATION: Statements = Statements {
    name: "m20261123_000005_members",
    // Without it, one caller's check reads the bindings of all namespaces.
    statements: &["CREATE INDEX role_bindings_of_member ON role_bindings (member, role)"],
};
