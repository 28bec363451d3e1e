//! Queries for many namespaces at once: a replica that follows the logs of all of them asks for every head.

use std::collections::BTreeMap;

use policyhub::domain::name::NamespaceId;

use crate::harness::{on_both_databases, stores};

/// More namespaces than a statement may have values, on either database.
const NAMESPACES: usize = 70_000;

on_both_databases! {
    /// Given more namespaces than a statement may have values, the heads of all are read, and those that don't exist are left out.
    async fn heads_of_many_namespaces(hub: Hub) {
        let mut hub = hub;
        hub.kill().await;
        let store = stores::opened(&hub).await;
        let named = |id: &str| NamespaceId::parse("namespace", id).expect("an id");
        let mut asked: Vec<NamespaceId> = (0..NAMESPACES).map(|number| named(&format!("n{number}"))).collect();
        asked.push(named("default"));
        let found: BTreeMap<_, _> = store.heads(&asked).await.expect("heads").into_iter().collect();
        assert_eq!(found.keys().collect::<Vec<_>>(), [&named("default")]);
    }
}
