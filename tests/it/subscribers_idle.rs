//! Idle subscribers cost the database nothing: one row of their server says that it lives, and theirs are written when a stream begins or
//! ends.

use policyhub::client::Client;

use crate::harness::calls::release;
use crate::harness::subscribing::{eventually, subscribe, subscriber};
use crate::harness::watching::LIVELY;
use crate::harness::{Hub, on_both_databases};
use crate::tamper_rows::is_sqlite;

/// Number of idle subscribers.
const SUBSCRIBERS: usize = 20;
/// Number of renewals for which they are idle.
const RENEWALS: usize = 3;

/// Counts from now on each write of a row of `subscribers`, whoever makes it.
fn count_writes(hub: &Hub) {
    hub.tamper("CREATE TABLE counted (operation TEXT)");
    for operation in ["INSERT", "UPDATE", "DELETE"] {
        let name = format!("counted_{}", operation.to_lowercase());
        let insert = format!("INSERT INTO counted VALUES ('{operation}');");
        let trigger = format!("CREATE TRIGGER {name} AFTER {operation} ON subscribers FOR EACH ROW");
        hub.tamper(&if is_sqlite(hub) {
            format!("{trigger} BEGIN {insert} END")
        } else {
            format!(
                "CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {insert} RETURN NULL; END $$; \
                 {trigger} EXECUTE FUNCTION {name}()"
            )
        });
    }
}

async fn last_seen(client: &Client, id: &str) -> prost_types::Timestamp {
    subscriber(client, id).await.last_seen_time.expect("a time")
}

on_both_databases! {
    with LIVELY;

    /// Given subscribers that only keep their streams open, they are online and seen again and again, and no row of theirs is written.
    async fn idle_subscribers_are_not_written(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        let mut streams = Vec::new();
        for number in 0..SUBSCRIBERS {
            streams.push(subscribe(&client, &format!("s{number}")).await);
        }
        let online = SUBSCRIBERS.to_string();
        eventually("all are written", async || hub.tamper("SELECT count(*) FROM subscribers WHERE lease_end_time > 0") == online).await;
        count_writes(&hub);
        for _ in 0..RENEWALS {
            let seen = last_seen(&client, "s0").await;
            eventually("it is seen again", async || last_seen(&client, "s0").await.seconds > seen.seconds).await;
        }
        assert!(subscriber(&client, "s19").await.online);
        assert_eq!(hub.tamper("SELECT count(*) FROM counted"), "0", "rows of idle subscribers were written");
        drop(streams.pop());
        eventually("one is offline", async || !subscriber(&client, "s19").await.online).await;
        assert_eq!(hub.tamper("SELECT count(*) FROM counted"), "1", "who left is written once, and nobody else");
    }
}
