//! Schedules whose rows somebody edits, deletes or puts back in the database move no pointer, and the check of the log finds them
//! (docs/guarantees.md#g3).

use policyhub::client::pb;
use policyhub::client::pb::EventKind::{Activate, Schedule};
use policyhub::client::pb::ScheduleState::{Cancelled, Done};

use crate::harness::calls::{NAMESPACE, active, publish, release};
use crate::harness::on_both_databases;
use crate::harness::schedules::{ShiftableHub, cancel, create_schedule, get_schedule, kinds, once, until_state};

const HOUR: i64 = 3_600;

on_both_databases! {
    /// Given rows that were edited, deleted or put back, they are not carried out when they are due; those that stand as they were written
    /// are.
    async fn schedules_that_were_changed_in_the_database_move_nothing(database: Database) {
        let clocked = ShiftableHub::start(database, &["--audit-interval-ms", "0"]).await;
        let (hub, client) = (&clocked.hub, clocked.hub.client().await);
        for id in ["p", "q"] {
            release(&client, id, "a: 1").await;
            publish(&client, id, "a: 2").await;
        }
        publish(&client, "p", "a: 3").await;
        create_schedule(&client, "victim", "", vec![once(&[("p", 2)], 100 * HOUR)]).await;
        create_schedule(&client, "ended", "", vec![once(&[("p", 3)], HOUR)]).await;
        hub.tamper("CREATE TABLE older AS SELECT * FROM schedules WHERE id = 'ended'");
        cancel(&client, "ended").await.expect("cancelled");
        hub.tamper("CREATE TABLE newest AS SELECT * FROM schedules");
        let edits: &[&[&str]] = &[
            &["UPDATE schedules SET next_time = 1, handled_until = 0 WHERE id = 'victim'"],
            &["UPDATE schedules SET entries = replace(entries, '\"version\":2', '\"version\":3'), next_time = 1 WHERE id = 'victim'"],
            &["UPDATE schedules SET base_revision = 1000, next_time = 1 WHERE id = 'victim'"],
            &["DELETE FROM schedules WHERE id = 'ended'", "INSERT INTO schedules SELECT * FROM older"],
            &["UPDATE schedules SET state = 'PENDING', next_time = 1 WHERE id = 'ended'"],
            &["DELETE FROM schedules WHERE id = 'victim'"],
        ];
        for (number, edit) in (2..).zip(edits) {
            let marker = format!("marker{number}");
            create_schedule(&client, &marker, "", vec![once(&[("q", 2)], number * HOUR)]).await;
            for sql in *edit {
                hub.tamper(sql);
            }
            clocked.shift(number * HOUR + 60);
            // What is due earlier is tried earlier, in the same round.
            until_state(&client, &marker, Done).await;
            assert_eq!(active(&client, "p").await, 1, "{edit:?}");
            let request = pb::VerifyLogRequest { parent: NAMESPACE.to_owned(), after: None };
            let found = client.verify_log(request).await.expect("a check");
            assert!(found.findings.iter().any(|finding| finding.row.starts_with("schedules")), "{edit:?}: {found:?}");
            hub.tamper("DELETE FROM schedules WHERE id IN ('victim', 'ended')");
            hub.tamper("INSERT INTO schedules SELECT * FROM newest");
        }
        assert_eq!(get_schedule(&client, "ended").await.state(), Cancelled);
        clocked.shift(101 * HOUR);
        until_state(&client, "victim", Done).await;
        assert_eq!((kinds(&client, "victim").await, active(&client, "p").await), (vec![Schedule, Activate], 2));
    }
}
