//! Role bindings by member: before the body of each call is read, it is asked whether its caller has any role for it.

use sea_orm_migration::prelude::*;

use crate::dialect::execute;

#[derive(Debug)]
pub struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &'static str {
        "m20261123_000005_members"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // Without it the bindings of all namespaces are read for one caller.
        let index = "CREATE INDEX role_bindings_of_member ON role_bindings (member, role)";
        execute(manager, &[index]).await
    }
}
