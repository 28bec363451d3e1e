//! The newest set that each subscriber rejected, also after it applied a later one.

use crate::dialect::Statements;

pub const MIGRATION: Statements = Statements {
    name: "m20261123_000008_rejections",
    statements: &[
        // Revision 0: none. The former version of the server, which runs concurrently during an upgrade, writes rows without them.
        "ALTER TABLE subscribers ADD COLUMN refused_epoch BIGINT NOT NULL DEFAULT 0",
        "ALTER TABLE subscribers ADD COLUMN refused_revision BIGINT NOT NULL DEFAULT 0",
        "ALTER TABLE subscribers ADD COLUMN refused_reason {text} NOT NULL DEFAULT ''",
    ],
};
