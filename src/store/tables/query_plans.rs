//! Tests that SQLite reads what is active in the order that these queries mean, and what is staged by its index: its planner may choose
//! another way, in which each policy costs a pass over all of them.

use policyhub_migrations::{Migrator, MigratorTrait as _};
use sea_orm::{ConnectionTrait as _, Database, DatabaseConnection, DbBackend, QueryTrait as _, Statement};

use super::manifests::{ACTIVE_BY, ACTIVE_BY_FROM, NEWEST, SCAN_ACTIVE, SCAN_ACTIVE_FROM};
use super::pointers::{POINTERS_AT, entries_of};
use super::versions::staged;
use crate::domain::name::NamespaceId;

/// A pointer is found by its whole key.
const POINTER_BY_KEY: &str =
    "SEARCH p USING INDEX sqlite_autoindex_pointer_changes_1 (namespace=? AND policy=? AND revision=?)";
/// A version is found by its whole key.
const VERSION_BY_KEY: &str =
    "SEARCH versions USING INDEX sqlite_autoindex_versions_1 (namespace=? AND policy=? AND number=?)";

/// A staged version is found among the open ones.
const VERSION_BY_OPEN: &str = "SEARCH versions USING INDEX versions_open (namespace=?)";

#[tokio::test]
async fn what_is_active_or_staged_is_found_by_keys() {
    let db = Database::connect("sqlite::memory:").await.expect("a database");
    Migrator::up(&db, None).await.expect("a schema");
    let namespace = NamespaceId::parse("namespace", "n").expect("an id");
    for (query, step) in [
        (staged(&namespace, 50).build(DbBackend::Sqlite).sql, VERSION_BY_OPEN),
        (POINTERS_AT.to_owned(), POINTER_BY_KEY),
        (entries_of(POINTERS_AT), POINTER_BY_KEY),
        (format!("{SCAN_ACTIVE}{NEWEST}{SCAN_ACTIVE_FROM}"), VERSION_BY_KEY),
        (format!("{ACTIVE_BY}{NEWEST}{ACTIVE_BY_FROM}"), VERSION_BY_KEY),
    ] {
        let plan = plan(&db, &query).await;
        assert!(plan.iter().any(|found| found == step), "{query}: {plan:#?}");
    }
}

/// Returns the steps of the plan of a query.
async fn plan(db: &DatabaseConnection, query: &str) -> Vec<String> {
    let statement = Statement::from_string(db.get_database_backend(), format!("EXPLAIN QUERY PLAN {query}"));
    let steps = db.query_all_raw(statement).await.expect("a plan");
    steps.iter().map(|step| step.try_get("", "detail").expect("a step")).collect()
}
