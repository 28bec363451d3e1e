//! The subscriber side of a driver: many connections, each with many streams, counted with as little work as possible.
//!
//! Invariant: a wave is over when every subscription got exactly one delivery of it. A second one is a failure.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

use super::http2::{self, Http2Messages};
use super::nats;
use super::plan::{BenchCall, LoadPlan, WireFormat};
use super::socket::{BenchSocket, BenchTls};

/// Largest number of connections without an answer yet, when opening is not measured: fewer than the shortest queue of a listener, because
/// the kernel would retry after one second.
pub const OPENING_MAX: usize = 100;
/// The same when a fleet reconnects at once: the kernel's limit of such a queue, `net.core.somaxconn`.
pub const RETURNING_MAX: usize = 4_096;
/// Longest wait for the last subscriber.
const WAVE_MAX: Duration = Duration::from_secs(60);
const SCRATCH_BYTES: usize = 256 * 1024;

/// What all connections count together.
#[derive(Debug)]
pub struct Tally {
    wave: Cell<u32>,
    delivered: Cell<usize>,
    expected: Cell<usize>,
    done: Cell<Option<Instant>>,
    failure: RefCell<Option<anyhow::Error>>,
    wake: Notify,
}

impl Tally {
    /// Waits for the last subscriber of this wave and returns when it got its delivery.
    pub async fn wait(&self) -> Result<Instant> {
        let wait = async {
            loop {
                self.wake.notified().await;
                if let Some(failure) = self.failure.take() {
                    return Err(failure);
                }
                if let Some(done) = self.done.get() {
                    return Ok(done);
                }
            }
        };
        let late = || anyhow!("only {} of {} deliveries came", self.delivered.get(), self.expected.get());
        tokio::time::timeout(WAVE_MAX, wait).await.map_err(|_| late())?
    }

    /// Waits for a connection that fails and returns its error.
    pub async fn failed(&self) -> anyhow::Error {
        loop {
            self.wake.notified().await;
            if let Some(failure) = self.failure.take() {
                return failure;
            }
        }
    }

    /// Begins the next wave.
    pub fn next_wave(&self) {
        self.wave.set(self.wave.get() + 1);
        self.delivered.set(0);
        self.done.set(None);
    }

    fn count(&self, deliveries: &mut u32) -> Result<()> {
        *deliveries += 1;
        if *deliveries > self.wave.get() {
            bail!("a subscriber got the same delivery twice");
        }
        self.delivered.set(self.delivered.get() + 1);
        if self.delivered.get() == self.expected.get() {
            self.done.set(Some(Instant::now()));
            self.wake.notify_one();
        }
        Ok(())
    }

    fn fail(&self, error: anyhow::Error) {
        self.failure.borrow_mut().get_or_insert(error);
        self.wake.notify_one();
    }
}

/// Open subscriptions. Dropping them closes all connections.
#[derive(Debug)]
pub struct Subscriptions {
    /// The shared counts.
    pub tally: Rc<Tally>,
    _connections: JoinSet<()>,
}

impl Subscriptions {
    /// Opens all subscriptions of a plan and waits until each has its first state.
    pub async fn open(plan: &LoadPlan, watch: &BenchCall, at_once: usize) -> Result<Self> {
        let tally = Rc::new(Tally {
            wave: Cell::new(1),
            delivered: Cell::new(0),
            expected: Cell::new(plan.connections * plan.streams),
            done: Cell::new(None),
            failure: RefCell::new(None),
            wake: Notify::new(),
        });
        let gate = Rc::new(Semaphore::new(at_once));
        let scratch = Rc::new(RefCell::new(vec![0; SCRATCH_BYTES]));
        let shared = Rc::new((plan.clone(), watch.clone(), plan.tls()?));
        let mut connections = JoinSet::new();
        for number in 0..plan.connections {
            let (shared, gate, tally) = (Rc::clone(&shared), Rc::clone(&gate), Rc::clone(&tally));
            let scratch = Rc::clone(&scratch);
            connections.spawn_local(async move {
                let connection = BenchConnection::new(&shared.0, &shared.1, number);
                if let Err(error) = connection.run(shared.2.as_ref(), &gate, &scratch, &tally).await {
                    tally.fail(error.context(format!("connection {number}")));
                }
            });
        }
        tally.wait().await.context("failed to open all subscriptions")?;
        Ok(Self { tally, _connections: connections })
    }
}

struct BenchConnection<'a> {
    plan: &'a LoadPlan,
    hello: Vec<u8>,
    reader: SubscriptionReader,
}

/// Reads by the rules of a protocol, and counts the deliveries of each subscription.
enum SubscriptionReader {
    Grpc(http2::Http2Reader, Vec<(Http2Messages, u32)>),
    Nats(nats::NatsReader, Vec<u32>),
}

impl<'a> BenchConnection<'a> {
    fn new(plan: &'a LoadPlan, watch: &BenchCall, number: usize) -> Self {
        let mut hello = Vec::new();
        let reader = match plan.wire {
            WireFormat::Grpc => {
                http2::hello(&mut hello);
                for stream in 0..plan.streams {
                    let id = stream as u32 * 2 + 1;
                    let subscription = number * plan.streams + stream;
                    http2::request(&mut hello, id, watch, plan.subscription_token(subscription), subscription);
                }
                SubscriptionReader::Grpc(
                    http2::Http2Reader::default(),
                    (0..plan.streams).map(|_| Default::default()).collect(),
                )
            }
            WireFormat::Nats => {
                nats::hello(&mut hello, watch, plan.streams);
                SubscriptionReader::Nats(nats::NatsReader::default(), vec![0; plan.streams])
            }
        };
        Self { plan, hello, reader }
    }

    async fn run(
        mut self,
        tls: Option<&BenchTls>,
        gate: &Semaphore,
        scratch: &RefCell<Vec<u8>>,
        tally: &Tally,
    ) -> Result<()> {
        let mut permit = Some(gate.acquire().await?);
        let socket = BenchSocket::connect(self.plan.address, tls).await?;
        socket.write_all(&std::mem::take(&mut self.hello)).await?;
        let mut reply = Vec::new();
        loop {
            socket.readable().await?;
            socket.read_all(scratch, |bytes| self.reader.feed(bytes, &mut reply, self.plan.least_bytes, tally))?;
            permit.take();
            if !reply.is_empty() {
                socket.write_all(&reply).await?;
                reply.clear();
            }
        }
    }
}

impl SubscriptionReader {
    fn feed(&mut self, bytes: &[u8], reply: &mut Vec<u8>, least_bytes: usize, tally: &Tally) -> Result<()> {
        match self {
            Self::Grpc(frames, streams) => frames.feed(bytes, reply, |event| match event {
                http2::Http2Event::Data { stream, bytes } => {
                    let subscription = streams.get_mut(stream as usize / 2);
                    let (messages, deliveries) = subscription.context("DATA of a stream that nobody opened")?;
                    let mut counted = Ok(());
                    messages.feed(bytes, |length| {
                        if length >= least_bytes && counted.is_ok() {
                            counted = tally.count(deliveries);
                        }
                    });
                    counted
                }
                http2::Http2Event::End { stream } => bail!("the server ended stream {stream}"),
            }),
            Self::Nats(lines, subscriptions) => lines.feed(bytes, reply, |event| match event {
                // NATS has no initial state: the PONG only confirms the subscriptions.
                nats::NatsEvent::Pong => subscriptions.iter_mut().try_for_each(|deliveries| tally.count(deliveries)),
                nats::NatsEvent::Message { id, .. } => {
                    let deliveries = subscriptions.get_mut(id as usize - 1);
                    tally.count(deliveries.context("a message of a subscription that nobody made")?)
                }
            }),
        }
    }
}
