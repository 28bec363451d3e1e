//! Refused calls: who, what, how often and when.

use crate::dialect::Statements;

pub const MIGRATION: Statements = Statements {
    name: "m20261124_000011_denials",
    statements: &[
        // `id` stands for principal, method, reason and permission: equal refusals are one row. No decision depends on it.
        "CREATE TABLE denials (
            namespace {text} NOT NULL REFERENCES namespaces (id),
            id {text} NOT NULL,
            principal {text} NOT NULL,
            method {text} NOT NULL,
            reason {text} NOT NULL,
            permission {text} NOT NULL,
            count BIGINT NOT NULL,
            first_time BIGINT NOT NULL,
            last_time BIGINT NOT NULL,
            PRIMARY KEY (namespace, id))",
        // Finds the surplus rows of a namespace.
        "CREATE INDEX denials_newest ON denials (namespace, last_time)",
    ],
};
