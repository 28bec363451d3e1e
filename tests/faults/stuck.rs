//! Stuck readers: connections that answer pings, with streams that never open their window (docs/guarantees.md#g15, #g22).
//!
//! A client library would read ahead, so these speak HTTP/2 themselves. They must cost the server little, be closed after 30 s, and not
//! delay its shutdown.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use policyhub::api::pb;
use prost::Message as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::calls::NAMESPACE;
use super::inject;
use super::recorder::Recorder;
use super::world::Deployment;

/// Number of streams per connection: the server's limit.
const STREAMS_PER_CONNECTION: usize = 100;
/// What a reader may cost the server while it reads nothing: far below the two messages and 256 KiB of docs/guarantees.md#g15, since what
/// is not read is not written.
const GROWTH_PER_READER_BYTES: u64 = 64 * 1024;
/// What the load beside them may cost: caches, contents of the ring, arenas.
const GROWTH_BESIDE_BYTES: u64 = 96 * 1024 * 1024;
/// Number of writes that are published while they are stuck.
const WRITES: usize = 20;
const WRITES_MAX: Duration = Duration::from_secs(30);
const OPEN_MAX: Duration = Duration::from_secs(60);
/// When they must be closed: 30 s, and a reserve for a busy machine.
const CLOSED_MAX: Duration = Duration::from_secs(45);

/// Opens them, lets writers continue, and checks the server's memory, the end of the streams, and its shutdown.
pub async fn strike(world: &mut Deployment, readers: usize, recorder: &Recorder) {
    let before = world.servers[0].resident_bytes().unwrap_or(0);
    let token = world.servers[0].token().expect("a token");
    let (open, closed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut connections = JoinSet::new();
    for number in 0..readers.div_ceil(STREAMS_PER_CONNECTION) {
        let streams = STREAMS_PER_CONNECTION.min(readers - number * STREAMS_PER_CONNECTION);
        let (address, token) = (world.servers[0].grpc, token.clone());
        connections.spawn(connect(address, token, streams, Arc::clone(&open), Arc::clone(&closed)));
    }
    if !reaches(&open, readers, OPEN_MAX).await {
        recorder.overdue(format!("{} of {readers} stuck readers could open", open.load(Ordering::Relaxed)));
    }
    let wanted = recorder.acknowledged() + WRITES;
    let deadline = Instant::now() + WRITES_MAX;
    while recorder.acknowledged() < wanted && !recorder.stopped() && Instant::now() < deadline {
        sleep(Duration::from_millis(10)).await;
    }
    if recorder.acknowledged() < wanted {
        recorder.overdue(format!("stuck readers hold up writers: {} of {wanted}", recorder.acknowledged()));
    }
    let growth = world.servers[0].resident_bytes().unwrap_or(u64::MAX).saturating_sub(before);
    let allowed = readers as u64 * GROWTH_PER_READER_BYTES + GROWTH_BESIDE_BYTES;
    recorder.note(|history| history.stuck_growth_bytes = Some(growth));
    if growth > allowed {
        recorder.overdue(format!("{readers} stuck readers cost {growth} bytes, {allowed} are allowed"));
    }
    if !reaches(&closed, readers, CLOSED_MAX).await {
        let closed = closed.load(Ordering::Relaxed);
        recorder.overdue(format!("{closed} of {readers} stuck readers were closed after {CLOSED_MAX:?}"));
    }
    // A second group of streams for the shutdown: the first one may be closed already.
    let again = Arc::new(AtomicUsize::new(0));
    let streams = STREAMS_PER_CONNECTION.min(readers);
    connections.spawn(connect(world.servers[0].grpc, token, streams, Arc::clone(&again), closed));
    if !reaches(&again, streams, OPEN_MAX).await {
        recorder.overdue("stuck readers could not open again".to_owned());
    }
    inject::drain(world, 0, recorder).await;
    connections.shutdown().await;
}

async fn reaches(count: &AtomicUsize, wanted: usize, at_most: Duration) -> bool {
    let deadline = Instant::now() + at_most;
    while count.load(Ordering::Relaxed) < wanted {
        if Instant::now() > deadline {
            return false;
        }
        sleep(Duration::from_millis(10)).await;
    }
    true
}

/// Opens one connection with this many streams whose windows are closed. Returns when the connection ends.
async fn connect(
    address: SocketAddr,
    token: String,
    streams: usize,
    open: Arc<AtomicUsize>,
    closed: Arc<AtomicUsize>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let socket = TcpStream::connect(address).await?;
    let handshake = h2::client::Builder::new().initial_window_size(0).handshake::<_, Bytes>(socket);
    let (sender, connection) = handshake.await?;
    // Drive the connection, so that pings are answered: these peers are not dead.
    let mut workloads = JoinSet::new();
    workloads.spawn(async move {
        let _ = connection.await;
    });
    for _ in 0..streams {
        let mut sender = sender.clone().ready().await?;
        let request = http::Request::post(format!("http://{address}/policyhub.v1.SyncService/WatchActive"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("authorization", format!("Bearer {token}"))
            .body(())
            .expect("a request");
        let (response, mut body) = sender.send_request(request, false)?;
        body.send_data(message(), true)?;
        let (open, closed) = (Arc::clone(&open), Arc::clone(&closed));
        workloads.spawn(async move {
            if let Ok(answer) = response.await {
                open.fetch_add(1, Ordering::Relaxed);
                let mut body = answer.into_body();
                // No data can arrive, so the next event is the end.
                let _ = body.data().await;
            }
            closed.fetch_add(1, Ordering::Relaxed);
        });
    }
    while workloads.join_next().await.is_some() {}
    Ok(())
}

/// Returns the request in gRPC framing.
fn message() -> Bytes {
    let request = pb::WatchActiveRequest {
        targets: vec![pb::WatchTarget { parent: NAMESPACE.to_owned(), ..Default::default() }],
        ..Default::default()
    }
    .encode_to_vec();
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(request.len()).expect("a small request"));
    framed.put_slice(&request);
    framed.freeze()
}
