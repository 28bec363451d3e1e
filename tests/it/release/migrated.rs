//! `delivered.json`: when each version was delivered, and the file formats of the tool that users migrate from.

use super::repository::Repository;
use crate::harness::calls::{get_version, head};
use crate::harness::on_both_databases;

on_both_databases! {
    async fn what_was_delivered_says_when(hub: Hub) {
        let client = hub.client().await;
        let repository = Repository::new();
        repository.version("p", "1.0.0", "a: 1");
        repository.commit();
        repository.release(&hub, &[]).is(0, "success");
        let published = get_version(&client, "p", "v1.0.0").await.publish_time.expect("a time").seconds;
        let said = repository.delivered()["versions"]["p@v1.0.0"]["time"].as_str().expect("a time").to_owned();
        let parsed = time::OffsetDateTime::parse(&said, &time::format_description::well_known::Rfc3339).expect("RFC 3339");
        assert_eq!(parsed.unix_timestamp(), published, "{said}");

        // A file from before times were stored is read, and its entries are kept.
        let whole = repository.delivered().to_string().replace(&format!(",\"time\":\"{said}\""), "");
        assert!(!whole.contains("time"), "{whole}");
        repository.write(".state/delivered.json", &whole);
        repository.version("p", "1.1.0", "a: 1");
        repository.commit();
        let ended = repository.release(&hub, &[]);
        assert_eq!(ended.is(0, "success").outcomes(), ["p@v1.1.0 published"]);
        assert_eq!(repository.delivered_names(), ["p@v1.0.0", "p@v1.1.0"]);
    }

    async fn a_state_of_another_tool_is_migrated_and_the_server_says_what_it_has(hub: Hub) {
        let client = hub.client().await;
        let repository = Repository::new();
        for label in ["1.0.0", "1.1.0"] {
            repository.version("p", label, "a: 1");
        }
        let commit = repository.commit();
        let other = r#"{"_metadata": {"description": "delivered", "version": "1.0"}, "deliveries": {"p/v1.0.0": {"deliveredAt": "2025-01-02T03:04:05Z"}, "p/v1.1.0": {}}}"#;
        for (text, count, received) in [("{}", 0, "published"), (other, 2, "already there")] {
            repository.write(".state/delivered.json", text);
            // What the other tool delivered until then went to another target.
            repository.write(".state/baseline.sha", &commit);
            let before = head(&client).await;
            let ended = repository.release(&hub, &["--dry-run"]);
            let would = format!("delivered.json had the form of another tool, and named {count} deliveries: it would be migrated");
            assert!(ended.is(0, "success").lines("notes")[1].starts_with(&would), "{ended:?}");
            let kept = std::fs::read_to_string(repository.path.join(".state/delivered.json")).expect("text");
            assert_eq!((kept.as_str(), head(&client).await), (text, before), "a rehearsal changes nothing");

            // Without a server nothing is lost: the next release begins from the start too.
            repository.release_to_nobody(&[]).is(1, "failed");
            repository.write(".state/delivered.json", text);
            repository.write(".state/baseline.sha", &commit);
            let ended = repository.release_to_nobody(&[]);
            let was = format!("delivered.json had the form of another tool, and named {count} deliveries: it was migrated");
            assert!(ended.lines("notes").iter().any(|note| note.starts_with(&was)), "{ended:?}");
            let ended = repository.release(&hub, &[]);
            assert_eq!(ended.is(0, "success").outcomes(), ["1.0.0", "1.1.0"].map(|label| format!("p@v{label} {received}")));
            assert_eq!((repository.delivered()["format"].as_i64(), repository.delivered_names().len()), (Some(1), 2));
            assert_eq!(repository.baseline(), commit);
        }
    }
}
