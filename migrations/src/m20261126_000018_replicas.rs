//! One lease for each server process, in place of one for each of its subscribers.

use crate::dialect::Statements;

pub const MIGRATION: Statements = Statements {
    name: "m20261126_000018_replicas",
    statements: &[
        // No index on the time: PostgreSQL then writes a renewal into the page of the row, and no index.
        "CREATE TABLE replicas (
            id {text} NOT NULL,
            renew_time BIGINT NOT NULL,
            PRIMARY KEY (id))",
        // `last_seen_time` is written with each report. No query of a few rows looks for it.
        "DROP INDEX subscribers_seen",
        "DROP INDEX subscribers_lease",
        // For the leases that a server must shorten, and for its own.
        "CREATE INDEX subscribers_lease_end ON subscribers (lease_end_time)",
        "CREATE INDEX subscribers_holder ON subscribers (holder, lease_end_time)",
    ],
};
