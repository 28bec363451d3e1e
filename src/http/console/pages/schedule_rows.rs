//! Schedules as text, and those that will move a policy.

use crate::api::pb;
use crate::domain::Result;
use crate::domain::access::Rpc;
use crate::domain::name::PolicyName;
use crate::domain::schedule::{Schedule, ScheduleEntry, ScheduleState, Weekday, When, local_time};
use crate::http::console::layout::Moment;
use crate::http::console::visit::Visit;

/// Schedules of one policy that a page shows.
const POLICY_SCHEDULES_MAX: usize = 10;
/// How a schedule of no time zone, and one of this zone, is to be read.
const UTC: &str = "UTC";

/// A schedule that will move a policy, or that stands still.
pub struct PolicySchedule {
    pub id: String,
    pub state: &'static str,
    pub entries: Vec<String>,
    pub next: Option<Moment>,
}

/// Reads the schedules of the namespace that will move a policy, or that stand still.
///
/// # Errors
/// Errors of authorization and of the read.
pub async fn read_open_schedules(visit: &Visit) -> Result<Vec<Schedule>> {
    let asked = pb::ListSchedulesRequest { parent: visit.namespace_name(), ..pb::ListSchedulesRequest::default() };
    visit.read(Rpc::ListSchedules, &asked).await?;
    visit.service().policies.open_schedules(&visit.namespace()?).await
}

/// Reads the schedules that will put a version of a policy in force: one version, or any of them.
///
/// # Errors
/// Errors of authorization and of the read.
pub async fn read_policy_schedules(
    visit: &Visit,
    policy: &PolicyName,
    version: Option<i64>,
) -> Result<Vec<PolicySchedule>> {
    let open = read_open_schedules(visit).await?;
    let moves = |entry: &&ScheduleEntry| {
        let mut targets = entry.targets.iter();
        targets.any(|each| each.policy == policy.policy && version.is_none_or(|number| each.version == number))
    };
    let row = |schedule: &Schedule| {
        let entries = schedule.entries.iter().filter(moves).map(|entry| entry_text(entry, &schedule.time_zone));
        let entries: Vec<String> = entries.collect();
        (!entries.is_empty()).then(|| PolicySchedule {
            id: schedule.name.id.to_string(),
            state: state_word(schedule.state),
            entries,
            next: schedule.next_time.map(|at| Moment::new(at, visit.now)),
        })
    };
    Ok(open.iter().filter_map(row).take(POLICY_SCHEDULES_MAX).collect())
}

/// Returns the word for a state.
pub fn state_word(state: ScheduleState) -> &'static str {
    match state {
        ScheduleState::Pending => "pending",
        ScheduleState::Suspended => "suspended",
        ScheduleState::Done => "done",
        ScheduleState::Cancelled => "cancelled",
    }
}

/// Says when an entry puts what in force, by the clocks of its time zone. UTC stands beside it where those show something else.
pub fn entry_text(entry: &ScheduleEntry, zone: &str) -> String {
    let targets: Vec<String> = entry.targets.iter().map(|each| format!("{}@{}", each.policy, each.version)).collect();
    let zone = if zone.is_empty() { UTC } else { zone };
    let when = match &entry.when {
        When::Once(time) => {
            let utc = time.to_string();
            match local_time(*time, zone).filter(|local| *local != utc.trim_end_matches('Z')) {
                Some(local) => format!("once, at {local} {zone} ({utc})"),
                None => format!("once, at {utc}"),
            }
        }
        When::Weekly(weekly) => {
            let days: Vec<&str> = weekly.weekdays.iter().map(|day| day_word(*day)).collect();
            format!("{} {} {zone}", days.join(", "), weekly.time)
        }
    };
    format!("{when}: {}", targets.join(", "))
}

fn day_word(day: Weekday) -> &'static str {
    match day {
        Weekday::Monday => "Mon",
        Weekday::Tuesday => "Tue",
        Weekday::Wednesday => "Wed",
        Weekday::Thursday => "Thu",
        Weekday::Friday => "Fri",
        Weekday::Saturday => "Sat",
        Weekday::Sunday => "Sun",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::name::PolicyId;
    use crate::domain::schedule::{LocalTime, ScheduledTarget, WeeklyTime};
    use crate::domain::time::Micros;

    #[test]
    fn utc_stands_beside_a_time_where_the_zone_has_another_one() {
        let targets = vec![ScheduledTarget { policy: PolicyId::parse("policy", "shop").expect("an id"), version: 2 }];
        let once = ScheduleEntry { targets: targets.clone(), when: When::Once(Micros(1_940_657_400_000_000)) };
        for (zone, expected) in [
            ("Europe/Berlin", "once, at 2031-07-01T09:30:00 Europe/Berlin (2031-07-01T07:30:00Z): shop@2"),
            ("UTC", "once, at 2031-07-01T07:30:00Z: shop@2"),
            ("", "once, at 2031-07-01T07:30:00Z: shop@2"),
            ("Africa/Abidjan", "once, at 2031-07-01T07:30:00Z: shop@2"),
        ] {
            assert_eq!(entry_text(&once, zone), expected, "{zone}");
        }
        let time = LocalTime { hour: 9, minute: 5 };
        let when = When::Weekly(WeeklyTime { weekdays: [Weekday::Monday, Weekday::Friday].into(), time });
        let weekly = ScheduleEntry { targets, when };
        assert_eq!(entry_text(&weekly, "Asia/Tokyo"), "Mon, Fri 09:05 Asia/Tokyo: shop@2");
    }
}
