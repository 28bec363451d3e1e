//! Schedules whose rows somebody edits, deletes or puts back in the database move no pointer, and the check of the log finds them
//! (docs/guarantees.md#g3).

use policyhub::client::pb::EventKind::{Activate, Schedule};
use policyhub::client::pb::ScheduleState::{Cancelled, Done, Pending};
use policyhub::client::{Client, pb};
use tonic::Code;

use crate::harness::archives::run;
use crate::harness::calls::{NAMESPACE, active, publish, refused, release};
use crate::harness::metrics::{counted, text};
use crate::harness::on_both_databases;
use crate::harness::schedules::{ShiftableHub, cancel, create_schedule, get_schedule, kinds, once, until_state};

const HOUR: i64 = 3_600;
/// As many schedules as a thaw names.
const REMOVED_SCHEDULES_MAX: usize = 100;
/// As many schedules as one query for those that are due reads.
const SCHEDULES_PER_QUERY: usize = 100;
const FAILED: &str = r#"policyhub_schedule_runs_total{result="failed"}"#;

/// Freezes the namespace by a check, and returns what it found of schedules, and a thaw that accepts all that it found.
async fn accepting_all(client: &Client) -> (Vec<String>, pb::ThawNamespaceRequest) {
    let request = pb::VerifyLogRequest { parent: NAMESPACE.to_owned(), after: None };
    let found = client.verify_log(request).await.expect("a check");
    let request = pb::ThawNamespaceRequest {
        name: NAMESPACE.to_owned(),
        reason: "looked at".to_owned(),
        accepted_findings_digest: found.findings_digest,
        request_id: "thaw".to_owned(),
        ..Default::default()
    };
    let rows =
        found.findings.into_iter().filter_map(|finding| Some(finding.row.strip_prefix("schedules ")?.to_owned()));
    let mut keys: Vec<String> = rows.collect();
    keys.sort();
    keys.dedup();
    (keys, request)
}

async fn listed(client: &Client) -> Vec<(String, pb::ScheduleState)> {
    let request = pb::ListSchedulesRequest { parent: NAMESPACE.to_owned(), ..Default::default() };
    let found = client.list_schedules(request).await.expect("a list").schedules;
    found.iter().map(|each| (each.name.rsplit('/').next().expect("an id").to_owned(), each.state())).collect()
}

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

    /// Given as many rows without a valid id as one query reads, schedules that are due after them are carried out.
    async fn rows_without_a_valid_id_hold_no_schedule_up(database: Database) {
        let clocked = ShiftableHub::start(database, &["--audit-interval-ms", "0"]).await;
        let (hub, client) = (&clocked.hub, clocked.hub.client().await);
        release(&client, "p", "a: 1").await;
        publish(&client, "p", "a: 2").await;
        create_schedule(&client, "marker", "", vec![once(&[("p", 2)], HOUR)]).await;
        hub.tamper("CREATE TABLE other AS SELECT * FROM schedules");
        hub.tamper("UPDATE other SET next_time = 1");
        let rows = (0..SCHEDULES_PER_QUERY)
            .map(|number| format!("UPDATE other SET id = '!{number}';;INSERT INTO schedules SELECT * FROM other"));
        hub.tamper(&rows.collect::<Vec<_>>().join(";;"));
        clocked.shift(HOUR + 60);
        until_state(&client, "marker", Done).await;
        assert_eq!(active(&client, "p").await, 2);
    }

    /// Given rows that were edited, deleted, added or put back, and a thaw that accepts them, they are gone: the list has the others, nothing is
    /// carried out or tried again, their ids can be used again, and the log verifies.
    async fn a_thaw_removes_schedules_that_were_changed_in_the_database(database: Database) {
        let clocked = ShiftableHub::start(database, &["--audit-interval-ms", "3600000"]).await;
        let (hub, client) = (&clocked.hub, clocked.hub.client().await);
        for id in ["p", "q"] {
            release(&client, id, "a: 1").await;
            publish(&client, id, "a: 2").await;
        }
        for id in ["edited", "deleted", "kept"] {
            create_schedule(&client, id, "", vec![once(&[(if id == "kept" { "q" } else { "p" }, 2)], 100 * HOUR)]).await;
        }
        create_schedule(&client, "older", "", vec![once(&[("p", 2)], HOUR)]).await;
        hub.tamper("CREATE TABLE older AS SELECT * FROM schedules WHERE id = 'older'");
        cancel(&client, "older").await.expect("cancelled");
        for sql in [
            "UPDATE schedules SET next_time = 1, handled_until = 0 WHERE id = 'edited'",
            "DELETE FROM schedules WHERE id IN ('deleted', 'older')",
            "INSERT INTO schedules SELECT * FROM older",
            // Neither an id that is valid nor one that is not has a schedule of the log.
            "UPDATE older SET id = 'added'",
            "INSERT INTO schedules SELECT * FROM older",
            "UPDATE older SET id = '!/x', next_time = 1",
            "INSERT INTO schedules SELECT * FROM older",
            &format!("UPDATE older SET id = '{}'", "long".repeat(200)),
            "INSERT INTO schedules SELECT * FROM older",
        ] {
            hub.tamper(sql);
        }
        let (found, request) = accepting_all(&client).await;
        let ids = ["!/x", "added", "deleted", "edited"];
        assert_eq!((&found[..4], found[4].starts_with("longlong"), &found[5]), (&ids.map(str::to_owned)[..], true, &"older".to_owned()));
        let names: Vec<String> = found.iter().map(|key| format!("{NAMESPACE}/schedules/{key}")).collect();
        let rehearsal = pb::ThawNamespaceRequest { validate_only: true, request_id: String::new(), ..request.clone() };
        let rehearsed = client.thaw_namespace(rehearsal).await.expect("an answer");
        assert_eq!((rehearsed.cursor, &rehearsed.removed_schedules), (None, &names), "what would be removed");
        let digest = request.accepted_findings_digest.as_str();
        let thaw = ["namespace", "thaw", "default", "--reason", "looked at", "--accept-all", digest, "--validate-only"];
        let (code, shown, errors) = run(hub.cli(), &thaw);
        let expected: String = found.iter().map(|key| format!("schedule {key} would be removed\n")).collect();
        assert_eq!((code, shown), (0, format!("default would be thawed\n{expected}")), "{errors}");
        let thawed = client.thaw_namespace(request.clone()).await.expect("a thaw");
        assert_eq!((&thawed.removed_schedules, thawed.removed_schedules_not_listed), (&names, 0), "what is gone");
        assert_eq!(client.thaw_namespace(request).await.expect("the same answer"), thawed);

        assert_eq!(listed(&client).await, [("kept".to_owned(), Pending)]);
        refused(cancel(&client, "edited").await, Code::NotFound, "SCHEDULE_NOT_FOUND");
        create_schedule(&client, "marker", "", vec![once(&[("q", 2)], 2 * HOUR)]).await;
        clocked.shift(3 * HOUR);
        until_state(&client, "marker", Done).await;
        assert_eq!(active(&client, "p").await, 1, "nothing moves by what was removed");
        let failed = counted(&text(hub), FAILED);
        create_schedule(&client, "edited", "", vec![once(&[("p", 2)], 49 * HOUR)]).await;
        clocked.shift(50 * HOUR);
        until_state(&client, "edited", Done).await;
        assert_eq!(active(&client, "p").await, 2, "its id is used again");
        assert_eq!(counted(&text(hub), FAILED), failed, "nothing is tried again");
        let request = pb::VerifyLogRequest { parent: NAMESPACE.to_owned(), after: None };
        let verdict = client.verify_log(request).await.expect("a check");
        assert!(verdict.findings.is_empty(), "{verdict:?}");

        let more = (0..=REMOVED_SCHEDULES_MAX)
            .map(|number| format!("UPDATE older SET id = 'more{number}';;INSERT INTO schedules SELECT * FROM older"));
        hub.tamper(&more.collect::<Vec<_>>().join(";;"));
        let (_, request) = accepting_all(&client).await;
        let thaw = ["namespace", "thaw", "default", "--reason", "again", "--accept-all", &request.accepted_findings_digest];
        let (code, shown, errors) = run(hub.cli(), &thaw);
        assert_eq!((code, shown.lines().count()), (0, 1 + REMOVED_SCHEDULES_MAX + 1), "{shown}{errors}");
        assert!(shown.contains("schedule more0 removed\n") && shown.ends_with("\n1 more schedule removed\n"), "{shown}");
    }
}
