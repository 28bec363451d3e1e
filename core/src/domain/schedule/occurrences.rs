//! When a schedule is due: pure functions of its entries, its time zone and a time.
//!
//! A local time that clocks skip is the moment at which they do; one that comes twice is the first. So the order of local times is the
//! order of their moments: of two entries of one day, the later one is in force afterwards on every day. The time zones are those of the
//! database that is built in, so that replicas agree, whatever their machines have.

use std::sync::LazyLock;

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{Span, Timestamp};

use super::entry::{ScheduleEntry, Weekday, When};
use super::state::{Schedule, ScheduleState};
use crate::domain::error::{Error, Result};
use crate::domain::limits::TIME_ZONE_MAX_CHARS;
use crate::domain::time::Micros;

static TIME_ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// Number of days around a time within which each weekly entry has an occurrence: a week, and a day that a time zone may skip.
const NEAR_DAYS: i32 = 8;
/// Longest local time with seconds.
const LOCAL_TIME_MAX_CHARS: usize = 19;
const TIME_ZONE_RULE: &str = "must be a time zone of the IANA database, such as Europe/Berlin";

/// A time at which an entry is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occurrence {
    /// The time.
    pub time: Micros,
    /// The position of the entry in its schedule.
    pub entry: usize,
}

/// Orders occurrences: by time, then by the clock on the wall, then by position in the schedule. The last one is in force.
type Rank = (Micros, DateTime, usize);

/// Checks the time zone of a schedule, which weekly times need.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn check_time_zone<'a>(field: &str, name: &str, times: impl IntoIterator<Item = &'a When>) -> Result<()> {
    let is_needed = times.into_iter().any(|when| matches!(when, When::Weekly(_)));
    match (name.is_empty(), is_needed) {
        (true, true) => Err(Error::invalid(field, "is required with weekly times")),
        (true, false) => Ok(()),
        (false, _) => time_zone(name).map(drop).map_err(|_| Error::invalid_text(field, name, TIME_ZONE_RULE)),
    }
}

/// Returns the last occurrence that is due: after those that are dealt with, and not after `now`. None when the schedule is not pending.
///
/// # Errors
/// `DATA_LOSS` for a time zone that is not known.
pub fn due(schedule: &Schedule, now: Micros) -> Result<Option<Occurrence>> {
    if schedule.state != ScheduleState::Pending {
        return Ok(None);
    }
    let is_due = |rank: &Rank| schedule.handled_until < rank.0 && rank.0 <= now;
    let found = near(&schedule.entries, &schedule.time_zone, now)?.into_iter().filter(is_due).max();
    Ok(found.map(|(time, _, entry)| Occurrence { time, entry }))
}

/// Returns the first time after another one at which an entry is due; none when there is none any more.
///
/// # Errors
/// `DATA_LOSS` for a time zone that is not known.
pub fn next_time(entries: &[ScheduleEntry], time_zone: &str, after: Micros) -> Result<Option<Micros>> {
    let times = near(entries, time_zone, after)?.into_iter().map(|(time, ..)| time);
    Ok(times.filter(|time| *time > after).min())
}

/// Returns every single time, and the weekly ones around a time.
fn near(entries: &[ScheduleEntry], zone: &str, around: Micros) -> Result<Vec<Rank>> {
    let zone = if zone.is_empty() { TimeZone::UTC } else { time_zone(zone)? };
    let today = zone.to_datetime(timestamp(around)?).date();
    let mut found = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let weekly = match &entry.when {
            When::Once(time) => {
                found.push((*time, zone.to_datetime(timestamp(*time)?), index));
                continue;
            }
            When::Weekly(weekly) => weekly,
        };
        for days in -NEAR_DAYS..=NEAR_DAYS {
            // At the end of what the calendar has there is no such day.
            let Ok(day) = today.checked_add(Span::new().days(days)) else { continue };
            if weekly.weekdays.contains(&weekday(day)) {
                let (hour, minute) = (weekly.time.hour.cast_signed(), weekly.time.minute.cast_signed());
                let local = day.at(hour, minute, 0, 0);
                found.extend(moment(&zone, local).map(|time| (time, local, index)));
            }
        }
    }
    Ok(found)
}

fn weekday(day: Date) -> Weekday {
    match day.weekday() {
        jiff::civil::Weekday::Monday => Weekday::Monday,
        jiff::civil::Weekday::Tuesday => Weekday::Tuesday,
        jiff::civil::Weekday::Wednesday => Weekday::Wednesday,
        jiff::civil::Weekday::Thursday => Weekday::Thursday,
        jiff::civil::Weekday::Friday => Weekday::Friday,
        jiff::civil::Weekday::Saturday => Weekday::Saturday,
        jiff::civil::Weekday::Sunday => Weekday::Sunday,
    }
}

/// Returns the moment of a local time; none outside of what the calendar has.
fn moment(zone: &TimeZone, local: DateTime) -> Option<Micros> {
    let ambiguous = zone.to_ambiguous_timestamp(local);
    let time = match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => ambiguous.earlier().ok()?,
        // The later reading lies after the change of the clocks by less than what they skip, so no other change is between.
        AmbiguousOffset::Gap { .. } => {
            let later = ambiguous.later().ok()?;
            let after = later.checked_add(jiff::SignedDuration::from_nanos(1)).ok()?;
            zone.preceding(after).next().map_or(later, |change| change.timestamp())
        }
    };
    Some(Micros(time.as_microsecond()))
}

/// Returns a moment as clocks of a time zone show it, `YYYY-MM-DDTHH:MM:SS`; none for a zone that is not known, or outside of what the calendar
/// has.
#[must_use]
pub fn local_time(time: Micros, zone: &str) -> Option<String> {
    let local = time_zone(zone).ok()?.to_datetime(timestamp(time).ok()?);
    Some(local.strftime("%Y-%m-%dT%H:%M:%S").to_string())
}

/// Takes a local time, `YYYY-MM-DDTHH:MM` with seconds or without, in a time zone; `field` or `zone_field` is named in the error. One that clocks skip is
/// the moment at which they do; one that comes twice is the first.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn parse_local_time(field: &str, text: &str, zone_field: &str, zone: &str) -> Result<Micros> {
    let rule = "must be a local time, YYYY-MM-DDTHH:MM";
    let is_plain = text.len() <= LOCAL_TIME_MAX_CHARS && text.bytes().all(|byte| b"0123456789-:T".contains(&byte));
    let local = is_plain.then(|| text.parse::<DateTime>().ok()).flatten().filter(|_| text.contains('T'));
    let local = local.ok_or_else(|| Error::invalid_text(field, text, rule))?;
    let zone = time_zone(zone).map_err(|_| Error::invalid_text(zone_field, zone, TIME_ZONE_RULE))?;
    moment(&zone, local).ok_or_else(|| Error::invalid_text(field, text, rule))
}

fn timestamp(time: Micros) -> Result<Timestamp> {
    Timestamp::from_microsecond(time.0).map_err(|error| Error::data_loss(format!("a time of a schedule: {error}")))
}

fn time_zone(name: &str) -> Result<TimeZone> {
    let found = (name.len() <= TIME_ZONE_MAX_CHARS).then(|| TIME_ZONES.get(name).ok()).flatten();
    found.ok_or_else(|| Error::data_loss(format!("the time zone {name:?} is not known")))
}

#[cfg(test)]
mod tests;
