//! Schedules that are due within seconds while servers are killed: each occurrence is carried out or suspended by one event, and none is
//! lost.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use policyhub::api::pb;
use policyhub::api::pb::schedule_entry::When;
use policyhub::api::pb::scheduled_target::To;
use policyhub::client::ClientError;

use super::{Promised, WorkloadContext};
use crate::calls::{FaultCaller, tried};

/// The namespace of the schedules, and the policy that they move.
const ID: &str = "calendar";
const PARENT: &str = "namespaces/calendar";
const POLICY: &str = "namespaces/calendar/policies/season";
/// Number of versions of the policy.
const VERSIONS: i64 = 2;
/// Seconds from now at which the entries of a schedule are due.
const DUE_SECONDS: [i64; 3] = [1, 2, 3];

/// Makes one schedule after the other until the schedule of faults ends.
pub async fn run(mut context: WorkloadContext) {
    if prepare(&mut context).await.is_none() {
        return;
    }
    while !context.recorder.stopped() {
        let _ = schedule(&mut context).await;
        context.pause().await;
    }
}

async fn prepare(context: &mut WorkloadContext) -> Option<()> {
    let request =
        pb::CreateNamespaceRequest { namespace_id: ID.to_owned(), request_id: context.next_id(), ..Default::default() };
    let made = context
        .admin(|mut caller| {
            let request = request.clone();
            async move { caller.admin.create_namespace(request).await }
        })
        .await?;
    context.expect("a namespace for schedules is made", made)?;
    for number in 1..=VERSIONS {
        let request = pb::DraftRequest {
            parent: POLICY.to_owned(),
            content: format!("season: {number}\n").into(),
            content_type: "application/yaml".to_owned(),
            allow_missing: true,
            request_id: context.next_id(),
            ..Default::default()
        };
        let drafted = context
            .admin(|mut caller| {
                let request = request.clone();
                async move { caller.policy.draft(request).await }
            })
            .await?;
        let name = context.expect("a version for schedules", drafted)?.version?.name;
        let request = pb::PublishRequest {
            name,
            reason: "a schedule".to_owned(),
            request_id: context.next_id(),
            ..Default::default()
        };
        let published = context
            .admin(|mut caller| {
                let request = request.clone();
                async move { caller.policy.publish(request).await }
            })
            .await?;
        context.expect("a version for schedules is published", published)?;
    }
    Some(())
}

/// Makes a schedule, waits until it ended or was suspended, and promises that each of its occurrences has one event.
async fn schedule(context: &mut WorkloadContext) -> Option<()> {
    let request_id = context.next_id();
    let id = format!("s-{}", context.count);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs().cast_signed();
    let entry = |(number, seconds): (i64, &i64)| pb::ScheduleEntry {
        targets: vec![pb::ScheduledTarget {
            policy: "season".to_owned(),
            to: Some(To::Version(1 + number % VERSIONS)),
        }],
        when: Some(When::Time(prost_types::Timestamp { seconds: now + seconds, nanos: 0 })),
    };
    let entries = (0..).zip(&DUE_SECONDS).map(entry).collect();
    let request = pb::CreateScheduleRequest {
        parent: PARENT.to_owned(),
        schedule_id: id.clone(),
        schedule: Some(pb::Schedule { entries, ..Default::default() }),
        reason: "a schedule".to_owned(),
        request_id,
        ..Default::default()
    };
    let made = context
        .admin(|mut caller| {
            let request = request.clone();
            async move { caller.policy.create_schedule(request).await }
        })
        .await?;
    // A call that was tried for seconds, or a clock that jumped: its times are over.
    if made.as_ref().is_err_and(|error| error.reason() == "INVALID_ARGUMENT") {
        return None;
    }
    let name = context.expect(&format!("{id} is scheduled"), made)?.schedule?.name;
    let promised = name.clone();
    context.promised(Promised::new(format!("{name} was carried out, each time once"), move |caller| {
        let name = promised.clone();
        async move { is_carried_out_once(caller, &name).await }
    }));
    if context.rng.chance(30) {
        move_the_pointer(context).await?;
    }
    loop {
        let request = pb::GetScheduleRequest { name: name.clone() };
        let found = context
            .admin(|mut caller| {
                let request = request.clone();
                async move { caller.policy.get_schedule(request).await }
            })
            .await?;
        if context.expect(&format!("{id} is read"), found)?.schedule?.state() != pb::ScheduleState::Pending {
            return Some(());
        }
        context.pause().await;
    }
}

/// Activates a version by hand, so that a schedule may be suspended.
async fn move_the_pointer(context: &mut WorkloadContext) -> Option<()> {
    let target = pb::ActivateTarget {
        policy: "season".to_owned(),
        to: Some(pb::activate_target::To::Version(1)),
        expected_active: None,
    };
    let request = pb::ActivateRequest {
        parent: PARENT.to_owned(),
        targets: vec![target],
        reason: "by hand".to_owned(),
        request_id: context.next_id(),
        ..Default::default()
    };
    let moved = context
        .admin(|mut caller| {
            let request = request.clone();
            async move { caller.policy.activate(request).await }
        })
        .await?;
    context.expect("an activation beside schedules", moved).map(|_| ())
}

/// Returns whether a schedule ended, and each time for which it ran or was suspended is in one event of the log; of several times that
/// passed at once the last one suffices.
async fn is_carried_out_once(caller: FaultCaller, name: &str) -> Result<bool, ClientError> {
    let request = pb::GetScheduleRequest { name: name.to_owned() };
    let found = tried(caller.policy.clone().get_schedule(request)).await?.into_inner().schedule.unwrap_or_default();
    let (mut events, mut page_token) = (BTreeMap::<i64, Vec<pb::EventKind>>::new(), String::new());
    loop {
        let request =
            pb::ListEventsRequest { parent: PARENT.to_owned(), page_size: 1_000, page_token, ..Default::default() };
        let page = tried(caller.policy.clone().list_events(request)).await?.into_inner();
        for event in page.events.iter().filter(|event| event.schedule == name) {
            if let Some(time) = &event.due_time {
                events.entry(time.seconds).or_default().push(event.kind());
            }
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let is_once = events.values().all(|kinds| kinds.len() == 1);
    let last = events.into_iter().next_back();
    let last_due = found.entries.iter().filter_map(|entry| match &entry.when {
        Some(When::Time(time)) => Some(time.seconds),
        _ => None,
    });
    let is_ended = match found.state() {
        pb::ScheduleState::Done => last == last_due.max().map(|time| (time, vec![pb::EventKind::Activate])),
        pb::ScheduleState::Suspended => last.is_some_and(|(_, kinds)| kinds == [pb::EventKind::SuspendSchedule]),
        _ => false,
    };
    Ok(is_once && is_ended)
}
