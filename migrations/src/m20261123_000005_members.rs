//! Role bindings by member: before the body of each call is read, it is asked whether its caller has any role for it.

use crate::dialect::Statements;

pub const MIGRATION: Statements = Statements {
    name: "m20261123_000005_members",
    // Without it the bindings of all namespaces are read for one caller.
    statements: &["CREATE INDEX role_bindings_of_member ON role_bindings (member, role)"],
};
