//! Makes a schedule that activates one version once.

use crate::api::pb::schedule_entry::When;
use crate::api::pb::scheduled_target::To;
use crate::api::time::timestamp;
use crate::api::{pb, request};
use crate::domain::access::Rpc;
use crate::domain::schedule::parse_local_time;
use crate::domain::{Error, Result};
use crate::http::console::outcome::Outcome;
use crate::http::console::rendered::Done;
use crate::http::console::visit::Visit;

/// Makes the call, and sends the browser on to the schedules.
pub async fn act(visit: &Visit) -> Result<Done> {
    let mut asked = pb::CreateScheduleRequest {
        parent: visit.namespace_name(),
        schedule_id: visit.fields.get("id").to_owned(),
        schedule: None,
        reason: visit.fields.get("reason").to_owned(),
        request_id: visit.request_id(),
        validate_only: false,
    };
    let context = visit.mutation(Rpc::CreateSchedule, &asked).await?;
    let (time, zone) = (visit.fields.get("time"), visit.fields.get("time_zone"));
    let time = parse_local_time("time", time, "time_zone", zone)?;
    let entry = pb::ScheduleEntry {
        targets: vec![target(visit.fields.get("target"))?],
        when: Some(When::Time(timestamp(time))),
    };
    let time_zone = zone.to_owned();
    asked.schedule = Some(pb::Schedule { entries: vec![entry], time_zone, ..pb::Schedule::default() });
    visit.service().policies.create_schedule(&context, request::create_schedule(asked)?).await?;
    Ok(Outcome::ScheduleCreated.at(&visit.page_below_namespace("schedules")?))
}

/// Takes `POLICY@N` or `POLICY@vLABEL`.
fn target(text: &str) -> Result<pb::ScheduledTarget> {
    let named = text.trim().split_once('@').and_then(|(policy, version)| {
        let to = match version.strip_prefix('v') {
            Some(label) => To::Label(label.to_owned()),
            None => To::Version(version.parse().ok()?),
        };
        Some(pb::ScheduledTarget { policy: policy.to_owned(), to: Some(to) })
    });
    named.ok_or_else(|| Error::invalid_text("target", text, "must be POLICY@N or POLICY@vLABEL"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_names_a_version_exactly() {
        for (text, policy, to) in
            [("pricing@3", "pricing", To::Version(3)), (" pricing@v1.2.0 ", "pricing", To::Label("1.2.0".to_owned()))]
        {
            let expected = pb::ScheduledTarget { policy: policy.to_owned(), to: Some(to) };
            assert_eq!(target(text).expect("a target"), expected, "{text}");
        }
        for text in ["", "pricing", "pricing@", "pricing@latest", "pricing@3@4", "pricing@99999999999999999999"] {
            assert!(target(text).is_err(), "{text}");
        }
    }
}
