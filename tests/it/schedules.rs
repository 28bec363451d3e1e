//! Schedules: carried out once when they are due, and suspended rather than forced.

use policyhub::client::pb;
use policyhub::client::pb::EventKind::{Activate, CancelSchedule, ResumeSchedule, Schedule, SuspendSchedule};
use policyhub::client::pb::ScheduleState::{Cancelled, Done, Pending, Suspended};
use policyhub::client::pb::schedule_entry::When;
use tonic::Code;

use crate::harness::calls::{NAMESPACE, activate, active, draft, events, publish, refused, refused_fields, release};
use crate::harness::guardrails::set_guardrails;
use crate::harness::on_both_databases;
use crate::harness::schedules::{
    ShiftableHub, cancel, create_request, create_schedule, entry, get_schedule, in_seconds, kinds, once, resume,
    schedule_name, until_state, weekly,
};
use crate::harness::subscribing::eventually;

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

on_both_databases! {
    /// Given a schedule, nothing moves before its time; then its versions are put in force together, by one event that names it, its
    /// creator and its time.
    async fn a_schedule_is_carried_out_when_it_is_due(database: Database) {
        let clocked = ShiftableHub::start(database, &[]).await;
        let client = clocked.hub.client().await;
        for id in ["p", "q"] {
            release(&client, id, "a: 1").await;
            publish(&client, id, "a: 2").await;
        }
        let time = in_seconds(HOUR);
        let both = entry(&[("p", 2), ("q", 2)], When::Time(time));
        let made = create_schedule(&client, "launch", "", vec![both]).await;
        assert_eq!((made.state(), made.creator.as_str(), made.reason.as_str()), (Pending, "local:admin", "planned"));
        assert_eq!(made.next_time, Some(time));
        release(&client, "earlier", "a: 1").await;
        let twice = [HOUR - 120, HOUR - 80].map(|seconds| once(&[("earlier", 1)], seconds));
        create_schedule(&client, "earlier", "", twice.to_vec()).await;
        clocked.shift(HOUR - 100);
        eventually("it ran once", async || kinds(&client, "earlier").await.len() == 2).await;
        clocked.shift(HOUR - 60);
        // It runs in the round after that of its first run, which has ended by then: whatever was due in it has moved.
        until_state(&client, "earlier", Done).await;
        assert_eq!((active(&client, "p").await, active(&client, "q").await), (1, 1));
        clocked.shift(HOUR + 60);
        let done = until_state(&client, "launch", Done).await;
        assert_eq!((active(&client, "p").await, active(&client, "q").await), (2, 2));
        assert_eq!((done.last_due_time, done.next_time), (made.next_time, None));
        assert_eq!(kinds(&client, "launch").await, [Schedule, Activate]);
        let log = events(&client, NAMESPACE, 0).await;
        let run = log.last().expect("the run");
        assert_eq!((run.kind(), run.due_time, run.changes.len()), (Activate, made.next_time, 2));
        assert_eq!((run.actor.as_str(), run.reason.as_str()), ("system:schedule", "planned"));
        let payload: serde_json::Value = serde_json::from_slice(&run.payload).expect("JSON");
        assert_eq!(payload["schedule"]["creator"], "local:admin");
        assert_eq!(done.base.map(|base| base.revision), run.cursor.map(|at| at.revision));
        let found = client.verify_log(pb::VerifyLogRequest { parent: NAMESPACE.to_owned(), after: None }).await;
        assert!(found.as_ref().is_ok_and(|found| found.valid), "{found:?}");
    }

    /// Given a clock that jumps ahead and is put right, each time counts once, and of several that passed the last runs alone.
    async fn a_clock_that_jumps_runs_a_schedule_once(database: Database) {
        let clocked = ShiftableHub::start(database, &[]).await;
        let client = clocked.hub.client().await;
        release(&client, "p", "a: 1").await;
        for number in 2..=4 {
            publish(&client, "p", &format!("a: {number}")).await;
        }
        release(&client, "q", "a: 1").await;
        let entries = vec![once(&[("p", 2)], HOUR), once(&[("p", 3)], 2 * HOUR), once(&[("p", 4)], 9 * HOUR)];
        create_schedule(&client, "steps", "", entries).await;
        clocked.shift(3 * HOUR);
        eventually("the last one that was missed ran", async || active(&client, "p").await == 3).await;
        clocked.shift(HOUR + HOUR / 2);
        let clocked = clocked.restart().await;
        let client = clocked.hub.client().await;
        create_schedule(&client, "marker", "", vec![once(&[("q", 1)], 4 * HOUR)]).await;
        clocked.shift(5 * HOUR);
        until_state(&client, "marker", Done).await;
        assert_eq!((kinds(&client, "steps").await, active(&client, "p").await), (vec![Schedule, Activate], 3));
        clocked.shift(10 * HOUR);
        until_state(&client, "steps", Done).await;
        assert_eq!((kinds(&client, "steps").await, active(&client, "p").await), (vec![Schedule, Activate, Activate], 4));
    }

    /// Given a schedule of weekdays and weekends, its runs alternate, and its own runs do not suspend it.
    async fn weekdays_and_weekends_alternate(database: Database) {
        use pb::Weekday::{Friday, Monday, Saturday, Sunday, Thursday, Tuesday, Wednesday};
        let clocked = ShiftableHub::start(database, &[]).await;
        let client = clocked.hub.client().await;
        release(&client, "p", "a: 1").await;
        publish(&client, "p", "a: 2").await;
        // Far from now, so that the test itself passes no such time.
        let hour = (in_seconds(12 * HOUR).seconds / HOUR) % 24;
        let time = format!("{hour:02}:30");
        let week = weekly(&[("p", 1)], &[Monday, Tuesday, Wednesday, Thursday, Friday], &time);
        let entries = vec![week, weekly(&[("p", 2)], &[Saturday, Sunday], &time)];
        create_schedule(&client, "shop", "Europe/Berlin", entries).await;
        let mut ran = Vec::new();
        for day in 1..=7 {
            clocked.shift(day * DAY);
            let runs = usize::try_from(day).expect("a day") + 1;
            eventually("it ran on that day", async || kinds(&client, "shop").await.len() >= runs).await;
            ran.push(active(&client, "p").await);
        }
        assert_eq!(kinds(&client, "shop").await.len(), 8);
        assert_eq!(ran.iter().filter(|version| **version == 2).count(), 2, "{ran:?}");
        let schedule = get_schedule(&client, "shop").await;
        assert_eq!((schedule.state(), schedule.time_zone.as_str()), (Pending, "Europe/Berlin"));
    }

    /// Given a pointer that somebody moved since, a schedule is suspended by one event that says who, and moves nothing; resumed, it
    /// runs from there.
    async fn a_schedule_whose_base_moved_is_suspended(database: Database) {
        let clocked = ShiftableHub::start(database, &[]).await;
        let client = clocked.hub.client().await;
        for id in ["p", "q"] {
            release(&client, id, "a: 1").await;
            publish(&client, id, "a: 2").await;
        }
        publish(&client, "p", "a: 3").await;
        create_schedule(&client, "launch", "", vec![once(&[("p", 2)], HOUR)]).await;
        create_schedule(&client, "other", "", vec![once(&[("q", 2)], HOUR)]).await;
        activate(&client, "p", 3).await;
        clocked.shift(2 * HOUR);
        let found = until_state(&client, "launch", Suspended).await;
        assert!(found.problem.starts_with("EXPECTED_ACTIVE_MISMATCH: "), "{found:?}");
        assert!(found.problem.contains("ACTIVATE by local:admin"), "{found:?}");
        assert_eq!((found.next_time, active(&client, "p").await), (None, 3));
        until_state(&client, "other", Done).await;
        let log = events(&client, NAMESPACE, 0).await;
        let suspended = log.iter().find(|event| event.kind() == SuspendSchedule).expect("an event");
        assert_eq!((suspended.reason.as_str(), suspended.actor.as_str()), (found.problem.as_str(), "system:schedule"));
        assert!(suspended.due_time.is_some() && suspended.changes.is_empty() && suspended.statement.is_empty());
        let resumed = resume(&client, "launch").await.expect("resumed").schedule.expect("a schedule");
        assert_eq!((resumed.state(), resumed.problem.as_str()), (Pending, ""));
        until_state(&client, "launch", Done).await;
        assert_eq!(active(&client, "p").await, 2);
        assert_eq!(kinds(&client, "launch").await, [Schedule, SuspendSchedule, ResumeSchedule, Activate]);
    }

    /// Given a guardrail that came later, a schedule does not force its version.
    async fn a_schedule_whose_version_is_refused_is_suspended(database: Database) {
        let clocked = ShiftableHub::start(database, &[]).await;
        let client = clocked.hub.client().await;
        release(&client, "p", "a: 1").await;
        publish(&client, "p", "a: 200").await;
        create_schedule(&client, "launch", "", vec![once(&[("p", 2)], HOUR)]).await;
        set_guardrails(&client, &format!("{NAMESPACE}/guardrails"), &[("low", "content.a < 100")]).await;
        clocked.shift(2 * HOUR);
        let found = until_state(&client, "launch", Suspended).await;
        assert!(found.problem.starts_with("VALIDATION_FAILED: "), "{found:?}");
        assert_eq!(active(&client, "p").await, 1);
        set_guardrails(&client, &format!("{NAMESPACE}/guardrails"), &[]).await;
        resume(&client, "launch").await.expect("resumed");
        until_state(&client, "launch", Done).await;
        assert_eq!(active(&client, "p").await, 2);
    }

    /// Given a schedule that is cancelled, it never runs, and its id may be used again.
    async fn a_cancelled_schedule_does_not_run(database: Database) {
        let clocked = ShiftableHub::start(database, &[]).await;
        let client = clocked.hub.client().await;
        release(&client, "p", "a: 1").await;
        publish(&client, "p", "a: 2").await;
        let made = create_schedule(&client, "launch", "", vec![once(&[("p", 2)], HOUR)]).await;
        let reused = client.create_schedule(create_request("launch", "", vec![once(&[("p", 2)], HOUR)])).await;
        refused(reused, Code::AlreadyExists, "SCHEDULE_EXISTS");
        refused(resume(&client, "launch").await, Code::FailedPrecondition, "SCHEDULE_STATE_WRONG");
        let stale = pb::CancelScheduleRequest {
            name: schedule_name("launch"),
            reason: "no more".to_owned(),
            etag: made.etag.chars().rev().collect(),
            ..Default::default()
        };
        refused(client.cancel_schedule(stale.clone()).await, Code::Aborted, "ETAG_MISMATCH");
        let rehearsed = pb::CancelScheduleRequest { etag: made.etag.clone(), validate_only: true, ..stale };
        assert!(client.cancel_schedule(rehearsed).await.expect("a rehearsal").cursor.is_none());
        assert_eq!(get_schedule(&client, "launch").await, made);
        let ended = cancel(&client, "launch").await.expect("cancelled").schedule.expect("a schedule");
        assert_eq!((ended.state(), ended.next_time), (Cancelled, None));
        refused(cancel(&client, "launch").await, Code::FailedPrecondition, "SCHEDULE_STATE_WRONG");
        clocked.shift(2 * HOUR);
        create_schedule(&client, "launch", "", vec![once(&[("p", 2)], 3 * HOUR)]).await;
        clocked.shift(4 * HOUR);
        until_state(&client, "launch", Done).await;
        assert_eq!(kinds(&client, "launch").await, [Schedule, CancelSchedule, Schedule, Activate]);
    }
}

on_both_databases! {
    /// Given what no schedule can be, it is refused, and nothing is written.
    async fn what_can_not_be_scheduled_is_refused(hub: Hub) {
        use pb::Weekday::{Monday, Unspecified};
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        draft(&client, "p", "a: 2").await;
        let before = events(&client, NAMESPACE, 0).await.len();
        let good = || once(&[("p", 1)], HOUR);
        let fields: &[(pb::CreateScheduleRequest, &str)] = &[
            (create_request("s", "", vec![once(&[("p", 1)], -HOUR)]), "schedule.entries[0].time"),
            (create_request("s", "", vec![once(&[("p", 1)], 400_000 * 24 * HOUR)]), "schedule.entries[0].time"),
            (create_request("s", "", vec![]), "schedule.entries"),
            (create_request("s", "", vec![good(); 9]), "schedule.entries"),
            (create_request("S", "", vec![good()]), "schedule_id"),
            (create_request("s", "", vec![weekly(&[("p", 1)], &[Monday], "08:00")]), "schedule.time_zone"),
            (create_request("s", "Mars/Olympus", vec![weekly(&[("p", 1)], &[Monday], "08:00")]), "schedule.time_zone"),
            (create_request("s", "UTC", vec![weekly(&[("p", 1)], &[Monday], "8:00")]), "schedule.entries[0].weekly.time"),
            (create_request("s", "UTC", vec![weekly(&[("p", 1)], &[], "08:00")]), "schedule.entries[0].weekly.weekdays"),
            (create_request("s", "UTC", vec![weekly(&[("p", 1)], &[Unspecified], "08:00")]), "schedule.entries[0].weekly.weekdays"),
            (create_request("s", "UTC", vec![weekly(&[("p", 1)], &[Monday, Monday], "08:00")]), "schedule.entries[0].weekly.weekdays"),
            (create_request("s", "", vec![once(&[], HOUR)]), "targets"),
            (create_request("s", "", vec![once(&[("p", 0)], HOUR)]), "targets[0].version"),
            (pb::CreateScheduleRequest { reason: String::new(), ..create_request("s", "", vec![good()]) }, "reason"),
        ];
        for (request, field) in fields {
            refused_fields(client.create_schedule(request.clone()).await, &[field]);
        }
        let twice = create_request("s", "", vec![once(&[("p", 1), ("p", 1)], HOUR)]);
        refused(client.create_schedule(twice).await, Code::InvalidArgument, "DUPLICATE_TARGET");
        for (targets, code, reason) in [
            (&[("p", 2)], Code::FailedPrecondition, "VERSION_NOT_PUBLISHED"),
            (&[("p", 9)], Code::NotFound, "VERSION_NOT_FOUND"),
            (&[("nothing", 1)], Code::NotFound, "POLICY_NOT_FOUND"),
        ] {
            let request = create_request("s", "", vec![once(targets, HOUR)]);
            refused(client.create_schedule(request).await, code, reason);
        }
        let rehearsed = pb::CreateScheduleRequest { validate_only: true, ..create_request("s", "", vec![good()]) };
        let rehearsed = client.create_schedule(rehearsed).await.expect("a rehearsal");
        assert!(rehearsed.cursor.is_none() && rehearsed.schedule.is_some_and(|schedule| schedule.base.is_none()));
        assert_eq!(events(&client, NAMESPACE, 0).await.len(), before, "nothing was written");
        let absent = pb::GetScheduleRequest { name: schedule_name("s") };
        refused(client.get_schedule(absent).await, Code::NotFound, "SCHEDULE_NOT_FOUND");
        refused(cancel(&client, "s").await, Code::NotFound, "SCHEDULE_NOT_FOUND");
    }

    /// Given schedules, they are listed by name in pages and by a filter, and a namespace has only so many that are open.
    async fn schedules_are_listed_and_bounded(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        for number in 0..200 {
            create_schedule(&client, &format!("s{number:03}"), "", vec![once(&[("p", 1)], HOUR)]).await;
        }
        let another = create_request("more", "", vec![once(&[("p", 1)], HOUR)]);
        refused(client.create_schedule(another.clone()).await, Code::ResourceExhausted, "LIMIT_EXCEEDED");
        cancel(&client, "s007").await.expect("cancelled");
        client.create_schedule(another).await.expect("there is room again");
        let list = |filter: &str, page_token: String| pb::ListSchedulesRequest {
            parent: NAMESPACE.to_owned(),
            page_size: 150,
            page_token,
            filter: filter.to_owned(),
            ..Default::default()
        };
        let first = client.list_schedules(list("", String::new())).await.expect("a page");
        assert_eq!((first.schedules.len(), first.schedules[0].name.as_str()), (150, schedule_name("more").as_str()));
        let second = client.list_schedules(list("", first.next_page_token)).await.expect("a page");
        assert_eq!((second.schedules.len(), second.next_page_token.as_str()), (51, ""));
        let ended = client.list_schedules(list("state = CANCELLED", String::new())).await.expect("a page");
        let names: Vec<&str> = ended.schedules.iter().map(|each| each.name.as_str()).collect();
        assert_eq!(names, [schedule_name("s007")]);
    }

    /// Given the command, a schedule is made, listed, shown and cancelled, for people and for programs.
    async fn the_command_makes_and_ends_schedules(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        publish(&client, "p", "a: 2").await;
        let run = |arguments: &[&str]| {
            let output = hub.cli().arg("schedule").args(arguments).output().expect("the binary runs");
            (output.status.code(), String::from_utf8(output.stdout).expect("UTF-8"))
        };
        let weekday = ["--entry", "mon-fri 00:00 p@1", "--entry", "sat,sun 00:00 p@latest", "--reason", "weekends"];
        let (code, text) = run(&[&["create", "shop", "--time-zone", "Europe/Berlin"], &weekday[..]].concat());
        assert!(code == Some(0) && text.starts_with("shop made at revision ") && text.contains(", next at "), "{text}");
        let (code, text) = run(&["create", "launch", "p@2", "--at", "2126-12-01T00:00:00Z", "--reason", "later"]);
        assert!(code == Some(0) && text.ends_with(", next at 2126-12-01T00:00:00Z\n"), "{text}");
        let (_, text) = run(&["list"]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() == 3 && lines[1].starts_with("launch") && lines[2].contains("local:admin"), "{text}");
        let (_, text) = run(&["show", "shop"]);
        assert!(text.contains("mon,tue,wed,thu,fri 00:00 p@1") && text.contains("sat,sun 00:00 p@2"), "{text}");
        let (_, text) = run(&["cancel", "shop", "--reason", "over"]);
        assert!(text.starts_with("shop cancelled at revision "), "{text}");
        let (_, text) = run(&["show", "shop", "--output", "json"]);
        let shown: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((&shown["schedule"]["state"], &shown["schedule"]["time_zone"]), (&"SCHEDULE_STATE_CANCELLED".into(), &"Europe/Berlin".into()));
        assert_eq!(run(&["resume", "shop", "--reason", "again"]).0, Some(1));
        assert_eq!(run(&["create", "never", "p@2", "--at", "2020-01-01T00:00:00Z", "--reason", "late"]).0, Some(1));
    }
}
