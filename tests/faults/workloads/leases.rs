//! Leases and reports: subscribers that keep a stream open through every fault, and report what it delivers. At the end they are online,
//! with the reported cursor; soon after they left they are offline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use policyhub::api::pb;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{AGAIN, Promised, WorkloadContext};
use crate::calls::{FaultCaller, NAMESPACE, tried};

/// Number of subscribers of a schedule.
const SUBSCRIBERS: usize = 3;
/// A stream that is silent for this long is opened again.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// How long a lease may be seen after its stream was closed: 30 s when the server did not notice, and 15 s until another replica has
/// written it to the database.
const OFFLINE_MAX: Duration = Duration::from_secs(45);
/// How long after settling a subscriber may take to be online: another replica's report is written after 15 s.
const ONLINE_WITHIN: Duration = Duration::from_secs(20);

fn id(number: usize) -> String {
    format!("lease-{number}")
}

/// Keeps all of them online until everything has settled.
pub async fn run(mut context: WorkloadContext) {
    let mut subscribers = JoinSet::new();
    for number in 0..SUBSCRIBERS {
        let of = WorkloadContext { rng: context.rng.fork(), ..context.clone() };
        subscribers.spawn(subscribe(of, id(number)));
        context.promised(Promised::new(format!("{} is online at rest", id(number)), move |caller| async move {
            let deadline = Instant::now() + ONLINE_WITHIN;
            loop {
                let online = found(&caller, &id(number)).await?.is_some_and(|found| found.online);
                if online || Instant::now() > deadline {
                    return Ok(online);
                }
                sleep(AGAIN).await;
            }
        }));
    }
    // They continue while promises are checked; the workload itself ends with the writers.
    while !context.recorder.stopped() {
        sleep(AGAIN).await;
    }
    tokio::spawn(async move { while subscribers.join_next().await.is_some() {} });
}

async fn found(caller: &FaultCaller, id: &str) -> Result<Option<pb::Subscriber>, policyhub::client::ClientError> {
    let request = pb::ListSubscribersRequest { parent: NAMESPACE.to_owned(), ..Default::default() };
    let listed = tried(caller.sync.clone().list_subscribers(request)).await?.into_inner().subscribers;
    Ok(listed.into_iter().find(|subscriber| subscriber.name.ends_with(&format!("/{id}"))))
}

/// Runs one subscriber, which follows and reports.
async fn subscribe(mut context: WorkloadContext, subscriber_id: String) {
    let mut resume: Option<pb::Cursor> = None;
    while !context.recorder.rested() {
        let caller = context.admins[context.rng.below(context.admins.len())].clone();
        let request = pb::WatchActiveRequest {
            targets: vec![pb::WatchTarget { parent: NAMESPACE.to_owned(), resume, ..Default::default() }],
            subscriber_id: subscriber_id.clone(),
            mode: pb::WatchMode::Latest.into(),
            ..Default::default()
        };
        let open = timeout(SILENCE_MAX, caller.sync.clone().watch_active(request)).await;
        let Ok(Ok(open)) = open else {
            sleep(AGAIN).await;
            continue;
        };
        let mut open = open.into_inner();
        while let Ok(Ok(Some(message))) = timeout(SILENCE_MAX, open.message()).await {
            use pb::watch_active_response::Message;
            let place = match message.message {
                Some(Message::Snapshot(part)) if part.complete => part.cursor,
                Some(Message::Activation(activation)) => activation.cursor,
                _ => None,
            };
            if let Some(place) = place {
                resume = Some(place);
                report(&mut context, &caller, &subscriber_id, place).await;
            }
            if context.recorder.rested() {
                return;
            }
        }
    }
}

/// Reports that it runs with what was delivered. A stored report must be there at the end.
async fn report(context: &mut WorkloadContext, caller: &FaultCaller, subscriber_id: &str, place: pb::Cursor) {
    let request = pb::ReportStatusRequest {
        name: format!("{NAMESPACE}/subscribers/{subscriber_id}"),
        cursor: Some(place),
        digest: format!("sha256:{}", "0".repeat(64)),
        status: pb::ApplyStatus::Applied.into(),
        ..Default::default()
    };
    let answer = tried(caller.sync.clone().report_status(request)).await;
    if answer.is_ok_and(|answer| answer.into_inner().stored) && context.rng.chance(10) {
        let subscriber_id = Arc::<str>::from(subscriber_id);
        context.promised(Promised::new(format!("{subscriber_id} reported {place:?}"), move |caller| {
            let subscriber_id = Arc::clone(&subscriber_id);
            async move {
                let applied = found(&caller, &subscriber_id).await?.and_then(|found| found.applied);
                Ok(applied.is_some_and(|at| at.revision >= place.revision))
            }
        }));
    }
}

/// Checks at the very end, when the subscribers have left, that none of them is online for longer than a lease lasts.
pub async fn check_offline(context: &WorkloadContext) {
    let deadline = Instant::now() + OFFLINE_MAX;
    for number in 0..SUBSCRIBERS {
        let mut broken = Some("it was never asked for".to_owned());
        while broken.is_some() && Instant::now() < deadline {
            broken = match found(&context.admins[0], &id(number)).await {
                Ok(found) => found.filter(|found| found.online).map(|found| format!("it is online: {found:?}")),
                Err(error) => Some(error.to_string()),
            };
            sleep(AGAIN).await;
        }
        context.promise(format!("{} left, and its lease ended within {OFFLINE_MAX:?}", id(number)), broken);
    }
}
