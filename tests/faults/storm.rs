//! A reconnect storm: many streams, all of them reset at once, all of which reconnect.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use policyhub::api::pb;
use policyhub::api::pb::watch_active_response::Message;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::calls::{FaultCaller, NAMESPACE, cursor};
use super::check::record::Cursor;
use super::plan::Link;
use super::proxy::ProxyEnding;
use super::recorder::Recorder;
use super::world::Deployment;

/// Number of streams per connection: the server's limit.
const STREAMS_PER_CONNECTION: usize = 100;
/// How long it may take until all streams are open, and until all are back.
const ALL_MAX: Duration = Duration::from_secs(120);
/// A stream that is silent for this long is opened again.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// The state of all streams.
#[derive(Debug, Default)]
struct StormState {
    there: AtomicUsize,
    back: AtomicUsize,
    cut: AtomicBool,
    wrong: Mutex<Vec<String>>,
}

/// Opens the streams, resets them, and waits until every one is back.
pub async fn strike(world: &mut Deployment, streams: usize, recorder: &Recorder) {
    let token = world.servers[0].token().expect("a token");
    let state = Arc::new(StormState::default());
    let mut workloads = JoinSet::new();
    let replicas = world.servers.len();
    for number in 0..streams.div_ceil(STREAMS_PER_CONNECTION) {
        let caller = FaultCaller::new(world.address(number % replicas), &token);
        let of_connection = STREAMS_PER_CONNECTION.min(streams - number * STREAMS_PER_CONNECTION);
        for stream in 0..of_connection {
            workloads.spawn(follow(caller.clone(), Arc::clone(&state), stream.is_multiple_of(2)));
        }
    }
    let (there, back) = (|| state.there.load(Ordering::Relaxed), || state.back.load(Ordering::Relaxed));
    if !all(streams, there).await {
        recorder.overdue(format!("{} of {streams} streams were there after {ALL_MAX:?}", there()));
    }
    state.cut.store(true, Ordering::Relaxed);
    for replica in 0..replicas {
        world.link(Link::Clients(replica)).end(ProxyEnding::Reset);
    }
    if !all(streams, back).await {
        recorder.overdue(format!("{} of {streams} streams were back after {ALL_MAX:?}", back()));
    }
    workloads.shutdown().await;
    for text in state.wrong.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        recorder.overdue(text);
    }
}

async fn all(streams: usize, count: impl Fn() -> usize) -> bool {
    let deadline = Instant::now() + ALL_MAX;
    while count() < streams {
        if Instant::now() > deadline {
            return false;
        }
        sleep(Duration::from_millis(10)).await;
    }
    true
}

/// Runs one stream and opens it again whenever it ends: at its cursor, or with a snapshot.
async fn follow(caller: FaultCaller, state: Arc<StormState>, resumes: bool) {
    let mut at: Option<Cursor> = None;
    let (mut was_there, mut was_back) = (false, false);
    loop {
        let after_cut = state.cut.load(Ordering::Relaxed);
        let resume = at.filter(|_| resumes).map(|at| pb::Cursor {
            epoch: at.epoch,
            revision: at.revision,
            ..Default::default()
        });
        let request = pb::WatchActiveRequest {
            targets: vec![pb::WatchTarget { parent: NAMESPACE.to_owned(), resume, ..Default::default() }],
            ..Default::default()
        };
        let mut sync = caller.sync.clone();
        if let Ok(Ok(answer)) = timeout(SILENCE_MAX, sync.watch_active(request)).await {
            let mut open = answer.into_inner();
            let mut resumed = resume.is_some();
            while let Ok(Ok(Some(message))) = timeout(SILENCE_MAX, open.message()).await {
                if !was_there {
                    was_there = true;
                    state.there.fetch_add(1, Ordering::Relaxed);
                }
                if after_cut && !was_back {
                    was_back = true;
                    state.back.fetch_add(1, Ordering::Relaxed);
                }
                state.look(&message, &mut at, &mut resumed);
            }
        }
        sleep(Duration::from_millis(20)).await;
    }
}

impl StormState {
    /// Records the cursor of a message and whatever is wrong with it. Only the other watchers verify signatures: thousands of verifiers
    /// would overload this machine.
    fn look(&self, message: &pb::WatchActiveResponse, at: &mut Option<Cursor>, resumed: &mut bool) {
        let (next, strictly) = match &message.message {
            Some(Message::Snapshot(part)) if *resumed => (cursor(part.cursor.as_ref()), true),
            Some(Message::Snapshot(part)) => (cursor(part.cursor.as_ref()), false),
            Some(Message::Activation(activation)) => (cursor(activation.cursor.as_ref()), true),
            Some(Message::Heartbeat(heartbeat)) => (cursor(heartbeat.cursor.as_ref()), false),
            _ => (None, false),
        };
        let Some(next) = next else { return };
        *resumed = false;
        if at.is_some_and(|at| if strictly { next <= at } else { next < at }) {
            let text = format!("a stream of the storm was at {at:?} and was sent {next:?}");
            self.wrong.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        }
        *at = Some(next);
    }
}
