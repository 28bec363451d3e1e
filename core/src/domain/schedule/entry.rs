//! The entries of a schedule: what is put in force, and when.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::error::{Error, FieldViolation, Result};
use crate::domain::limits::SCHEDULE_ENTRIES_MAX;
use crate::domain::name::PolicyId;
use crate::domain::time::Micros;

/// A day of the week, from Monday on (ISO 8601).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "each says what it is")]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

/// A time of the day on a clock of some time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LocalTime {
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
}

/// Times that come again every week, in the time zone of the schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeeklyTime {
    /// The days, at least one.
    pub weekdays: BTreeSet<Weekday>,
    /// The time on each of them.
    pub time: LocalTime,
}

/// When an entry is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Once, at this time.
    Once(Micros),
    /// Every week.
    Weekly(WeeklyTime),
}

/// A published version that is put in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduledTarget {
    /// The policy.
    pub policy: PolicyId,
    /// The number of its version.
    pub version: i64,
}

/// What is put in force together, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleEntry {
    /// The versions, each policy once.
    pub targets: Vec<ScheduledTarget>,
    /// The time.
    pub when: When,
}

impl Weekday {
    /// Every day, in order.
    pub const ALL: [Self; 7] =
        [Self::Monday, Self::Tuesday, Self::Wednesday, Self::Thursday, Self::Friday, Self::Saturday, Self::Sunday];
}

impl LocalTime {
    /// Takes `HH:MM`; `field` is named in the error.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        let number = |digits: &str, end: u8| {
            let is_written = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse::<u8>().ok().filter(|number| is_written && *number < end)
        };
        let parsed = text.split_once(':').and_then(|(hour, minute)| number(hour, 24).zip(number(minute, 60)));
        let (hour, minute) = parsed.ok_or_else(|| Error::invalid_text(field, text, "must be HH:MM, 00:00 to 23:59"))?;
        Ok(Self { hour, minute })
    }
}

impl fmt::Display for LocalTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.hour, self.minute)
    }
}

impl When {
    /// Returns whether both are written for one moment.
    fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Once(one), Self::Once(two)) => one == two,
            (Self::Weekly(one), Self::Weekly(two)) => one.time == two.time && !one.weekdays.is_disjoint(&two.weekdays),
            // Such two may meet in one week of many. The one that comes later in the schedule is in force then.
            (Self::Once(_), Self::Weekly(_)) | (Self::Weekly(_), Self::Once(_)) => false,
        }
    }
}

/// Checks how many entries there are, and that no two are due at one time: only one of them could be in force.
///
/// # Errors
/// `INVALID_ARGUMENT` with every violation.
pub fn check_entries<'a>(field: &str, times: impl IntoIterator<Item = &'a When>) -> Result<()> {
    let times: Vec<&When> = times.into_iter().collect();
    if times.is_empty() || times.len() > SCHEDULE_ENTRIES_MAX {
        return Err(Error::invalid(field, format!("must have 1 to {SCHEDULE_ENTRIES_MAX} entries")));
    }
    let violations: Vec<FieldViolation> = (0..)
        .zip(&times)
        .filter_map(|(index, when)| {
            let earlier = times.iter().take(index).position(|other| when.meets(other))?;
            let description = format!("is due at the same time as {field}[{earlier}]");
            Some(FieldViolation { field: format!("{field}[{index}]"), description })
        })
        .collect();
    if violations.is_empty() { Ok(()) } else { Err(Error::invalid_fields(violations)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weekly(weekdays: &[Weekday], time: &str) -> When {
        let time = LocalTime::parse("time", time).expect(time);
        When::Weekly(WeeklyTime { weekdays: weekdays.iter().copied().collect(), time })
    }

    #[test]
    fn local_times_are_read_as_they_are_written() {
        for text in ["00:00", "09:30", "23:59"] {
            assert_eq!(LocalTime::parse("time", text).expect(text).to_string(), text);
        }
        for text in ["", "24:00", "12:60", "9:30", "09:3", "+9:30", "09:30:00", "09.30", "09:30 ", "-1:00"] {
            assert!(LocalTime::parse("time", text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn no_two_entries_are_due_at_one_time() {
        use Weekday::{Monday, Sunday, Tuesday};
        let fields = |times: &[When]| match check_entries("entries", times) {
            Ok(()) => Vec::new(),
            Err(error) => error.violations.into_iter().map(|each| each.field).collect(),
        };
        let (monday, other_day) = (weekly(&[Monday, Sunday], "08:00"), weekly(&[Tuesday], "08:00"));
        assert!(fields(&[monday.clone(), other_day.clone(), weekly(&[Monday], "08:01")]).is_empty());
        assert_eq!(fields(&[monday.clone(), other_day, weekly(&[Sunday], "08:00")]), ["entries[2]"]);
        assert_eq!(fields(&[When::Once(Micros(1)), When::Once(Micros(2)), When::Once(Micros(1))]), ["entries[2]"]);
        assert!(fields(&vec![monday.clone(); SCHEDULE_ENTRIES_MAX]).len() == SCHEDULE_ENTRIES_MAX - 1);
        assert_eq!(fields(&vec![monday; SCHEDULE_ENTRIES_MAX + 1]), ["entries"]);
        assert_eq!(fields(&[]), ["entries"]);
    }
}
