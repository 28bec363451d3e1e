//! Times of schedules: the days on which clocks change, and properties over all of them.

use proptest::prelude::*;

use super::*;
use crate::domain::event::Cursor;
use crate::domain::schedule::{LocalTime, ScheduleName, WeeklyTime};

const ZONES: &[&str] =
    &["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kathmandu", "UTC"];
const HOUR: i64 = 3_600_000_000;

fn micros(text: &str) -> Micros {
    Micros(text.parse::<Timestamp>().expect(text).as_microsecond())
}

fn entry(when: When) -> ScheduleEntry {
    ScheduleEntry { targets: Vec::new(), when }
}

fn weekly(days: &str, time: &str) -> ScheduleEntry {
    let weekdays = Weekday::ALL.into_iter().zip(days.chars()).filter(|(_, mark)| *mark == 'x').map(|(day, _)| day);
    let time = LocalTime::parse("time", time).expect(time);
    entry(When::Weekly(WeeklyTime { weekdays: weekdays.collect(), time }))
}

fn schedule(zone: &str, entries: Vec<ScheduleEntry>, handled_until: Micros) -> Schedule {
    Schedule {
        name: ScheduleName::parse("name", "namespaces/n/schedules/s").expect("a name"),
        next_time: next_time(&entries, zone, handled_until).expect("a zone"),
        entries,
        time_zone: zone.to_owned(),
        state: ScheduleState::Pending,
        creator: String::new(),
        reason: String::new(),
        base: Cursor::NONE,
        handled_until,
        last_due_time: None,
        problem: String::new(),
        edits: 1,
        create_time: handled_until,
        update_time: handled_until,
    }
}

/// Runs a schedule at a time, as the server does. Returns what ran.
fn run(schedule: &mut Schedule, now: Micros) -> Option<Occurrence> {
    let found = due(schedule, now).expect("a zone")?;
    schedule.handled_until = now;
    schedule.next_time = next_time(&schedule.entries, &schedule.time_zone, now).expect("a zone");
    Some(found)
}

/// Returns the next times after a time.
fn times(zone: &str, entries: &[ScheduleEntry], after: &str, count: usize) -> Vec<String> {
    let mut at = micros(after);
    (0..count)
        .map(|_| {
            at = next_time(entries, zone, at).expect("a zone").expect("a time");
            at.to_string()
        })
        .collect()
}

#[test]
fn a_local_time_that_is_skipped_is_the_change_of_the_clocks() {
    let entries = [weekly("xxxxxxx", "02:30")];
    let found = times("Europe/Berlin", &entries, "2026-03-28T00:00:00Z", 3);
    assert_eq!(found, ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
    let found = times("Australia/Lord_Howe", &[weekly("______x", "02:15")], "2026-10-03T12:00:00Z", 1);
    assert_eq!(found, ["2026-10-03T15:30:00Z"], "half an hour is skipped");
    let found = times("Pacific/Apia", &[weekly("____x__", "10:00")], "2011-12-28T00:00:00Z", 2);
    assert_eq!(found, ["2011-12-30T10:00:00Z", "2012-01-05T20:00:00Z"], "a whole Friday is skipped");
}

#[test]
fn a_local_time_that_comes_twice_is_the_first() {
    let found = times("Europe/Berlin", &[weekly("xxxxxxx", "02:30")], "2026-10-24T12:00:00Z", 2);
    assert_eq!(found, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
}

#[test]
fn a_moment_is_shown_as_clocks_of_the_zone_show_it() {
    let shown = |zone: &str| local_time(micros("2031-07-01T07:30:00Z"), zone);
    assert_eq!(shown("Europe/Berlin").as_deref(), Some("2031-07-01T09:30:00"));
    assert_eq!(shown("UTC").as_deref(), Some("2031-07-01T07:30:00"));
    assert_eq!(shown("Berlin"), None);
}

#[test]
fn the_later_of_two_entries_is_in_force_when_clocks_skip_the_first() {
    let entries = vec![weekly("______x", "02:30"), weekly("______x", "03:00")];
    let mut sunday = schedule("Europe/Berlin", entries, micros("2026-03-28T12:00:00Z"));
    let now = micros("2026-03-29T01:00:00Z");
    assert_eq!(run(&mut sunday, now), Some(Occurrence { time: now, entry: 1 }));
    assert_eq!(run(&mut sunday, micros("2026-03-29T20:00:00Z")), None, "the other one does not follow");
}

#[test]
fn weekdays_and_weekends_take_turns() {
    let entries = vec![weekly("x______", "00:00"), weekly("_____x_", "00:00")];
    let mut shop = schedule("Europe/Berlin", entries, micros("2026-11-25T12:00:00Z"));
    let (mut now, mut ran) = (shop.handled_until, Vec::new());
    for _ in 0..24 * 14 {
        now = Micros(now.0 + HOUR);
        ran.extend(run(&mut shop, now).map(|found| (found.time.to_string(), found.entry)));
    }
    let times: Vec<(&str, usize)> = ran.iter().map(|(time, entry)| (time.as_str(), *entry)).collect();
    let expected = [
        ("2026-11-27T23:00:00Z", 1),
        ("2026-11-29T23:00:00Z", 0),
        ("2026-12-04T23:00:00Z", 1),
        ("2026-12-06T23:00:00Z", 0),
    ];
    assert_eq!(times, expected);
}

#[test]
fn of_what_was_missed_the_last_runs_once() {
    let entries = vec![weekly("xxxxx__", "00:00"), weekly("_____xx", "00:00")];
    let mut shop = schedule("UTC", entries, micros("2026-11-25T12:00:00Z"));
    let back = micros("2026-12-09T12:00:00Z");
    assert_eq!(run(&mut shop, back), Some(Occurrence { time: micros("2026-12-09T00:00:00Z"), entry: 0 }));
    assert_eq!(run(&mut shop, back), None);
    let once = |hour: i64| entry(When::Once(Micros(hour * HOUR)));
    let mut twice = schedule("", vec![once(2), once(1)], Micros(0));
    assert_eq!(run(&mut twice, Micros(3 * HOUR)), Some(Occurrence { time: Micros(2 * HOUR), entry: 0 }));
    assert_eq!((run(&mut twice, Micros(4 * HOUR)), twice.next_time), (None, None));
}

#[test]
fn time_zones_are_known_by_name() {
    let when = weekly("x______", "00:00").when;
    for (name, is_known) in
        [("Europe/Berlin", true), ("UTC", true), ("Europe/Atlantis", false), ("../etc/passwd", false), ("", false)]
    {
        assert_eq!(check_time_zone("time_zone", name, [&when]).is_ok(), is_known, "{name:?}");
    }
    assert!(check_time_zone("time_zone", "", [&When::Once(Micros(1))]).is_ok());
}

fn any_entries() -> impl Strategy<Value = Vec<ScheduleEntry>> {
    let day = (1u8..128, 0u8..24, 0u8..60).prop_map(|(days, hour, minute)| {
        let weekdays = Weekday::ALL.into_iter().enumerate().filter(|(bit, _)| days >> bit & 1 == 1).map(|(_, day)| day);
        entry(When::Weekly(WeeklyTime { weekdays: weekdays.collect(), time: LocalTime { hour, minute } }))
    });
    let once = (0i64..400 * 24 * 60).prop_map(|minute| entry(When::Once(Micros(START.0 + minute * HOUR / 60))));
    proptest::collection::vec(prop_oneof![3 => day, 1 => once], 1..5)
}

/// 2026-01-01T00:00:00Z.
const START: Micros = Micros(1_767_225_600_000_000);

proptest! {
    /// Whatever the clock does, nothing that ran runs again, and nothing runs before its time.
    #[test]
    fn nothing_runs_twice_whatever_the_clock_does(
        entries in any_entries(),
        zone in 0..ZONES.len(),
        clock in proptest::collection::vec(-40 * HOUR..200 * HOUR, 1..40),
    ) {
        let mut schedule = schedule(ZONES[zone], entries, START);
        let (mut now, mut last) = (START, START);
        for step in clock {
            now = Micros(now.0 + step);
            let is_indexed = schedule.next_time.is_some_and(|time| time <= now);
            match run(&mut schedule, now) {
                Some(found) => {
                    prop_assert!(is_indexed, "what is due is found by the index");
                    prop_assert!(found.time > last && found.time <= now);
                    last = now;
                }
                None => prop_assert!(!is_indexed, "what the index finds is due"),
            }
        }
    }

    /// The order of local times is the order of their moments.
    #[test]
    fn local_times_keep_their_order(zone in 0..ZONES.len(), minutes in proptest::collection::vec(0i64..2 * 366 * 24 * 60, 2..50)) {
        let zone = time_zone(ZONES[zone]).expect("a zone");
        let mut minutes = minutes;
        minutes.sort_unstable();
        let start = jiff::civil::date(2026, 1, 1).at(0, 0, 0, 0);
        let moments: Vec<Micros> =
            minutes.iter().filter_map(|minutes| moment(&zone, start.checked_add(Span::new().minutes(*minutes)).ok()?)).collect();
        prop_assert_eq!(moments.len(), minutes.len());
        prop_assert!(moments.is_sorted());
    }
}
