//! Weekly schedules on the days on which clocks change.

use policyhub::client::{Client, pb};
use time::{Duration, Month, OffsetDateTime, Weekday};

use crate::harness::Database;
use crate::harness::calls::{active, publish, release};
use crate::harness::schedules::{ShiftableHub, create_schedule, get_schedule, in_seconds, kinds, weekly};
use crate::harness::subscribing::eventually;

const HOUR: i64 = 3_600;
const WEEK: i64 = 7 * 24 * HOUR;

/// Returns the start in UTC of the next last Sunday of a month after a time: the day on which clocks change in the European Union.
fn last_sunday(month: Month, after: i64) -> i64 {
    let start = OffsetDateTime::from_unix_timestamp(after).expect("a time").date();
    let days = (2..800).map(|days| start + Duration::days(days));
    let mut sundays = days.filter(|day| day.month() == month && day.weekday() == Weekday::Sunday && day.day() > 24);
    sundays.next().expect("a Sunday").midnight().assume_utc().unix_timestamp()
}

async fn until_runs(client: &Client, count: usize) {
    eventually("it ran", async || kinds(client, "night").await.len() > count).await;
}

/// Returns when a schedule ran last and when it runs next, in seconds.
async fn times(client: &Client) -> (i64, i64) {
    let found = get_schedule(client, "night").await;
    (found.last_due_time.map_or(0, |time| time.seconds), found.next_time.map_or(0, |time| time.seconds))
}

/// Given a schedule for 02:30 in Berlin, it runs when clocks skip that time, and once where it comes twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_local_time_that_clocks_skip_or_repeat_is_carried_out_once() {
    let clocked = ShiftableHub::start(Database::Postgres, &[]).await;
    let client = clocked.hub.client().await;
    release(&client, "p", "a: 1").await;
    publish(&client, "p", "a: 2").await;
    let now = in_seconds(0).seconds;
    let spring = last_sunday(Month::March, now);
    let autumn = last_sunday(Month::October, spring);
    let set = |time: i64| clocked.shift(time - now);
    set(spring - 12 * HOUR);
    create_schedule(&client, "night", "Europe/Berlin", vec![weekly(&[("p", 2)], &[pb::Weekday::Sunday], "02:30")])
        .await;
    assert_eq!(times(&client).await, (0, spring + HOUR), "the moment at which clocks go from 02:00 to 03:00");
    set(spring + HOUR + 60);
    until_runs(&client, 1).await;
    assert_eq!(times(&client).await, (spring + HOUR, spring + WEEK + HOUR / 2), "02:30 is 00:30 in UTC from now on");
    assert_eq!(active(&client, "p").await, 2);
    set(autumn - 12 * HOUR);
    until_runs(&client, 2).await;
    assert_eq!(
        times(&client).await,
        (autumn - WEEK + HOUR / 2, autumn + HOUR / 2),
        "of half a year that was missed the last"
    );
    set(autumn + HOUR);
    until_runs(&client, 3).await;
    let next = autumn + WEEK + HOUR + HOUR / 2;
    assert_eq!(times(&client).await, (autumn + HOUR / 2, next), "the first 02:30, and not the second, an hour later");
    set(next + 60);
    until_runs(&client, 4).await;
    assert_eq!(kinds(&client, "night").await.len(), 5, "one event for each run, and none for the second 02:30");
}
