//! The worked states of a policy's life, and rollback.

use crate::harness::calls::{active, draft, publish, release};
use crate::harness::on_both_databases;

on_both_databases! {
    async fn numbers_count_drafts(hub: Hub) {
        let client = hub.client().await;
        assert_eq!(draft(&client, "p", "a: 1").await.version, 1);
        assert_eq!(publish(&client, "p", "a: 2").await.version, 2);
        assert_eq!(draft(&client, "p", "a: 3").await.version, 3);
        release(&client, "p", "a: 4").await;
        assert_eq!(active(&client, "p").await, 4);
    }
}
