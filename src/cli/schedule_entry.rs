//! Entries of schedules as they are written on the command line: `mon-fri 08:00 pricing@3`, or `2026-12-01T00:00:00Z pricing@3`.

use std::str::FromStr;

use crate::cli::names::VersionTarget;
use crate::cli::output::text;
use crate::client::pb;
use crate::client::pb::schedule_entry::When;

/// The days, as they are written.
const DAYS: [(&str, pb::Weekday); 7] = [
    ("mon", pb::Weekday::Monday),
    ("tue", pb::Weekday::Tuesday),
    ("wed", pb::Weekday::Wednesday),
    ("thu", pb::Weekday::Thursday),
    ("fri", pb::Weekday::Friday),
    ("sat", pb::Weekday::Saturday),
    ("sun", pb::Weekday::Sunday),
];
const RULE: &str = "must be DAYS HH:MM POLICY@VERSION..., such as 'mon-fri 08:00 pricing@3', or TIME POLICY@VERSION...";

/// An entry.
#[derive(Debug, Clone)]
pub struct EntryArgument {
    /// When it is due.
    pub when: When,
    /// What it puts in force.
    pub targets: Vec<VersionTarget>,
}

impl FromStr for EntryArgument {
    type Err = String;

    fn from_str(written: &str) -> Result<Self, String> {
        let mut words = written.split_whitespace();
        let first = words.next().ok_or(RULE)?;
        let when = match text::parse_time(first) {
            Ok(time) => When::Time(time),
            Err(_) => {
                let weekdays = weekdays(first)?.into_iter().map(Into::into).collect();
                When::Weekly(pb::WeeklyTime { weekdays, time: words.next().ok_or(RULE)?.to_owned() })
            }
        };
        let targets = words.map(str::parse).collect::<Result<Vec<VersionTarget>, String>>()?;
        if targets.is_empty() { Err(RULE.to_owned()) } else { Ok(Self { when, targets }) }
    }
}

/// Parses days: `mon`, `sat,sun`, `mon-fri`, or `fri-mon`, which goes over the end of the week.
fn weekdays(written: &str) -> Result<Vec<pb::Weekday>, String> {
    let position = |name: &str| {
        let found = DAYS.iter().position(|(known, _)| *known == name);
        found.ok_or_else(|| format!("{name:?} is no day (mon, tue, wed, thu, fri, sat, sun) and no time; it {RULE}"))
    };
    let mut days = Vec::new();
    for part in written.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (position(first)?, position(last)?);
        let count = (last + DAYS.len() - first) % DAYS.len() + 1;
        days.extend(DAYS.iter().cycle().skip(first).take(count).map(|(_, day)| *day));
    }
    Ok(days)
}

/// Returns an entry as it is written on the command line.
#[must_use]
pub fn written(entry: &pb::ScheduleEntry) -> String {
    let when = match &entry.when {
        Some(When::Time(time)) => text::time(Some(time)),
        Some(When::Weekly(weekly)) => {
            let name = |day: pb::Weekday| DAYS.iter().find(|(_, known)| *known == day).map_or("?", |(name, _)| *name);
            let days: Vec<&str> = weekly.weekdays().map(name).collect();
            format!("{} {}", days.join(","), weekly.time)
        }
        None => String::new(),
    };
    let target = |target: &pb::ScheduledTarget| {
        let policy = crate::cli::names::short(&target.policy);
        match &target.to {
            Some(pb::scheduled_target::To::Version(version)) => format!(" {policy}@{version}"),
            Some(pb::scheduled_target::To::Label(label)) => format!(" {policy}@v{label}"),
            None => format!(" {policy}"),
        }
    };
    text::line(&(when + &entry.targets.iter().map(target).collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_written_as_they_are_read() {
        for (line, shown) in [
            ("mon 00:00 pricing@3", "mon 00:00 pricing@3"),
            ("sat,sun 23:59  pricing@4 limits@v1.2.0", "sat,sun 23:59 pricing@4 limits@v1.2.0"),
            ("mon-wed 08:00 p@1", "mon,tue,wed 08:00 p@1"),
            ("sat-mon,wed 08:00 p@1", "sat,sun,mon,wed 08:00 p@1"),
            ("2026-12-01T01:00:00+01:00 p@1", "2026-12-01T00:00:00Z p@1"),
        ] {
            let entry: EntryArgument = line.parse().expect(line);
            let to = |target: &VersionTarget| pb::ScheduledTarget {
                policy: target.policy.to_string(),
                to: Some(match &target.version {
                    crate::client::name::VersionRef::Number(number) => pb::scheduled_target::To::Version(*number),
                    other => pb::scheduled_target::To::Label(other.to_string().trim_start_matches('v').to_owned()),
                }),
            };
            let entry = pb::ScheduleEntry { targets: entry.targets.iter().map(to).collect(), when: Some(entry.when) };
            assert_eq!(written(&entry), shown);
        }
        for line in
            ["", "mon", "mon 08:00", "mon pricing@3", "monday 08:00 p@1", "mon- 08:00 p@1", "08:00 p@1", "mon 08:00 p"]
        {
            assert!(line.parse::<EntryArgument>().is_err(), "{line:?}");
        }
    }
}
