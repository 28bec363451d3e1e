//! The calling side of a driver: calls kept in flight, and one call at a time.
//!
//! Invariant: a call counts only when its answer came and held a message; a refusal ends the run.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::task::JoinSet;

use super::http2::{self, Http2Event, Http2Messages};
use super::nats;
use super::plan::{BenchCall, LoadPlan, WireFormat};
use super::socket::{BenchSocket, BenchTls};

const SCRATCH_BYTES: usize = 256 * 1024;
const CALL_MAX: Duration = Duration::from_secs(30);

/// The answered calls of all connections together.
#[derive(Debug, Default)]
pub struct Answered {
    /// The number of answered calls.
    pub calls: Cell<u64>,
    stop: Cell<bool>,
}

/// Connections that keep calls in flight.
#[derive(Debug)]
pub struct Load {
    /// What was answered so far.
    pub answered: Rc<Answered>,
    connections: JoinSet<Result<()>>,
}

impl Load {
    /// Starts the connections.
    pub fn begin(plan: &LoadPlan, calls: &[Vec<BenchCall>]) -> Result<Self> {
        let answered = Rc::new(Answered::default());
        let scratch = Rc::new(RefCell::new(vec![0; SCRATCH_BYTES]));
        let mut connections = JoinSet::new();
        for number in 0..plan.connections {
            let calls = calls.get(number % calls.len().max(1)).context("nothing to call")?.clone();
            let (plan, answered, scratch) = (plan.clone(), Rc::clone(&answered), Rc::clone(&scratch));
            connections.spawn_local(async move { keep_calling(&plan, &calls, &answered, &scratch).await });
        }
        Ok(Self { answered, connections })
    }

    /// Waits until the calls in flight have ended.
    ///
    /// # Errors
    /// When a connection or a call failed.
    pub async fn end(mut self) -> Result<()> {
        self.answered.stop.set(true);
        while let Some(ended) = tokio::time::timeout(CALL_MAX, self.connections.join_next()).await? {
            ended??;
        }
        Ok(())
    }
}

async fn keep_calling(
    plan: &LoadPlan,
    calls: &[BenchCall],
    answered: &Answered,
    scratch: &RefCell<Vec<u8>>,
) -> Result<()> {
    let socket = BenchSocket::connect(plan.address, plan.tls()?.as_ref()).await?;
    let mut out = Vec::new();
    http2::hello(&mut out);
    let mut next = calls.iter().cycle();
    let mut stream = 1;
    let mut streams = std::collections::HashMap::new();
    let mut frames = http2::Http2Reader::default();
    while streams.len() < plan.streams {
        http2::request(&mut out, stream, next.next().context("nothing to call")?, &plan.token, 0);
        streams.insert(stream, (Http2Messages::default(), false));
        stream += 2;
    }
    while !streams.is_empty() {
        socket.write_all(&out).await?;
        out.clear();
        socket.readable().await?;
        let mut ended = 0;
        socket.read_all(scratch, |bytes| {
            frames.feed(bytes, &mut out, |event| match event {
                Http2Event::Data { stream, bytes } => {
                    let (messages, is_answered) = streams.get_mut(&stream).context("DATA of a stream that ended")?;
                    messages.feed(bytes, |length| *is_answered = length >= plan.least_bytes);
                    Ok(())
                }
                Http2Event::End { stream } => match streams.remove(&stream) {
                    Some((_, true)) => {
                        ended += 1;
                        Ok(())
                    }
                    _ => bail!("a call was refused"),
                },
            })
        })?;
        answered.calls.set(answered.calls.get() + ended);
        while !answered.stop.get() && streams.len() < plan.streams {
            http2::request(&mut out, stream, next.next().context("nothing to call")?, &plan.token, 0);
            streams.insert(stream, (Http2Messages::default(), false));
            stream += 2;
        }
    }
    Ok(())
}

/// A connection for one call at a time: the publisher.
#[derive(Debug)]
pub struct BenchCaller {
    socket: BenchSocket,
    wire: WireFormat,
    token: String,
    frames: http2::Http2Reader,
    lines: nats::NatsReader,
    stream: u32,
    scratch: RefCell<Vec<u8>>,
}

impl BenchCaller {
    /// Connects, with TLS when given.
    pub async fn connect(address: SocketAddr, tls: Option<&BenchTls>, wire: WireFormat, token: &str) -> Result<Self> {
        let socket = BenchSocket::connect(address, tls).await?;
        let mut out = Vec::new();
        match wire {
            WireFormat::Grpc => http2::hello(&mut out),
            WireFormat::Nats => nats::hello(&mut out, &BenchCall::default(), 0),
        }
        let mut caller = Self {
            socket,
            wire,
            token: token.to_owned(),
            frames: http2::Http2Reader::default(),
            lines: nats::NatsReader::default(),
            stream: 1,
            scratch: RefCell::new(vec![0; SCRATCH_BYTES]),
        };
        match wire {
            WireFormat::Grpc => caller.socket.write_all(&out).await?,
            WireFormat::Nats => caller.pong(&out).await?,
        }
        Ok(caller)
    }

    /// Sends one call and waits for its answer.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn call(&mut self, call: &BenchCall) -> Result<()> {
        if self.wire == WireFormat::Nats {
            let mut out = Vec::new();
            nats::publish(&mut out, call);
            return self.pong(&out).await;
        }
        if self.ask(call).await? { Ok(()) } else { bail!("{} was refused", call.path) }
    }

    /// Sends one call by gRPC and waits for its answer. Returns false when it was refused.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn ask(&mut self, call: &BenchCall) -> Result<bool> {
        let mut out = Vec::new();
        http2::request(&mut out, self.stream, call, &self.token, 0);
        self.stream += 2;
        self.socket.write_all(&out).await?;
        let (mut is_answered, mut has_ended) = (false, false);
        while !has_ended {
            out.clear();
            tokio::time::timeout(CALL_MAX, self.socket.readable()).await.context("a call was not answered")??;
            self.socket.read_all(&self.scratch, |bytes| {
                self.frames.feed(bytes, &mut out, |event| {
                    match event {
                        Http2Event::Data { .. } => is_answered = true,
                        Http2Event::End { .. } => has_ended = true,
                    }
                    Ok(())
                })
            })?;
            self.socket.write_all(&out).await?;
        }
        Ok(is_answered)
    }

    async fn pong(&mut self, out: &[u8]) -> Result<()> {
        self.socket.write_all(out).await?;
        let (mut reply, mut has_answered) = (Vec::new(), false);
        while !has_answered {
            tokio::time::timeout(CALL_MAX, self.socket.readable()).await.context("NATS does not answer")??;
            self.socket.read_all(&self.scratch, |bytes| {
                self.lines.feed(bytes, &mut reply, |event| {
                    has_answered |= event == nats::NatsEvent::Pong;
                    Ok(())
                })
            })?;
        }
        self.socket.write_all(&reply).await
    }
}
