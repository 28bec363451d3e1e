//! A network link with faults: carries TCP between loopback ports, and closes, resets, holds, delays or throttles it.
//!
//! Invariant: carried bytes stay in order and unchanged; a fault only decides whether and when.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Largest size of one read.
const PIECE_BYTES: usize = 16 * 1024;
/// A COMMIT in PostgreSQL's protocol: a simple query, ended by a zero byte.
const COMMIT: &[u8] = b"COMMIT\0";

/// How a link carries data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Open,
    /// Carries nothing, silently.
    Blackhole,
    /// Carries nothing until it is ended explicitly: no fault that ends by itself ends this mode.
    Isolated,
    /// Carries nothing to the server (up), or nothing from it (down).
    BlackholeUp,
    BlackholeDown,
    /// Delays each piece by this duration.
    Delay(Duration),
    /// Carries this many bytes a second, in each direction.
    Throttle(u64),
    /// Resets the connection of the next COMMIT instead of carrying it.
    LoseCommit,
    /// Carries the next COMMIT, and resets its connection instead of carrying the answer.
    LoseCommitAnswer,
}

impl Mode {
    /// Returns whether it holds back what goes to the server (`up`), or what comes from it.
    fn holds(self, up: bool) -> bool {
        match self {
            Self::Blackhole | Self::Isolated => true,
            Self::BlackholeUp => up,
            Self::BlackholeDown => !up,
            _ => false,
        }
    }
}

/// How connections end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyEnding {
    Fin,
    Reset,
}

#[derive(Debug)]
struct ProxyWire {
    target: SocketAddr,
    mode: watch::Sender<Mode>,
    /// Counts the cuts; every open connection ends this way when it changes.
    cuts: watch::Sender<(u64, ProxyEnding)>,
    lost_commits: AtomicU64,
}

/// A listening link. Dropping it ends it and all its connections.
#[derive(Debug)]
pub struct FaultProxy {
    /// The address that it listens on.
    pub address: SocketAddr,
    wire: Arc<ProxyWire>,
    listening: JoinHandle<()>,
}

impl FaultProxy {
    /// Returns a link to `target`, on a port of its own.
    pub async fn to(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let wire = Arc::new(ProxyWire {
            target,
            mode: watch::Sender::new(Mode::Open),
            cuts: watch::Sender::new((0, ProxyEnding::Fin)),
            lost_commits: AtomicU64::new(0),
        });
        let carrying = Arc::clone(&wire);
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let wire = Arc::clone(&carrying);
                tokio::spawn(async move { wire.carry(client).await });
            }
        });
        Ok(Self { address, wire, listening })
    }

    /// Sets how it carries from now on.
    pub fn set(&self, mode: Mode) {
        self.wire.mode.send_replace(mode);
    }

    /// Sets how it carries for a duration; afterwards it is open.
    pub fn set_for(&self, mode: Mode, hold: Duration) {
        self.set(mode);
        let wire = Arc::clone(&self.wire);
        tokio::spawn(async move {
            tokio::time::sleep(hold).await;
            // A mode that was set meanwhile stays.
            wire.mode.send_if_modified(|now| *now == mode && std::mem::replace(now, Mode::Open) == mode);
        });
    }

    /// Ends every open connection.
    pub fn end(&self, ending: ProxyEnding) {
        self.wire.cuts.send_modify(|cut| *cut = (cut.0 + 1, ending));
    }

    /// Returns how many COMMITs, or answers to COMMITs, it lost.
    pub fn lost_commits(&self) -> u64 {
        self.wire.lost_commits.load(Ordering::Relaxed)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.listening.abort();
        self.end(ProxyEnding::Fin);
    }
}

impl ProxyWire {
    async fn carry(&self, client: TcpStream) {
        let mut cuts = self.cuts.subscribe();
        let Ok(server) = TcpStream::connect(self.target).await else { return };
        for stream in [&client, &server] {
            let _ = stream.set_nodelay(true);
        }
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let answer_is_lost = AtomicBool::new(false);
        let ending = tokio::select! {
            ending = self.pump(&mut from_client, &mut to_server, Some(&answer_is_lost), &answer_is_lost) => ending,
            ending = self.pump(&mut from_server, &mut to_client, None, &answer_is_lost) => ending,
            _ = cuts.changed() => cuts.borrow().1,
        };
        let halves = from_client.reunite(to_client).into_iter().chain(from_server.reunite(to_server));
        for stream in halves {
            if ending == ProxyEnding::Reset {
                // With this setting, the kernel sends RST instead of FIN when the socket is dropped.
                let _ = stream.set_zero_linger();
            }
        }
    }

    /// Carries one direction until it ends and returns how its connection ends. `up` is set on the way to the server.
    async fn pump(
        &self,
        from: &mut OwnedReadHalf,
        to: &mut OwnedWriteHalf,
        up: Option<&AtomicBool>,
        answer_is_lost: &AtomicBool,
    ) -> ProxyEnding {
        let mut mode = self.mode.subscribe();
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let length = match from.read(&mut piece).await {
                Ok(length) if length > 0 => length,
                Ok(_) => return ProxyEnding::Fin,
                Err(_) => return ProxyEnding::Reset,
            };
            if up.is_none() && answer_is_lost.load(Ordering::Relaxed) {
                return ProxyEnding::Reset;
            }
            let read = &piece[..length];
            if mode.wait_for(|mode| !mode.holds(up.is_some())).await.is_err() {
                return ProxyEnding::Fin;
            }
            let now = *mode.borrow_and_update();
            match now {
                Mode::Open | Mode::Blackhole | Mode::Isolated | Mode::BlackholeUp | Mode::BlackholeDown => {}
                Mode::Delay(time) => tokio::time::sleep(time).await,
                Mode::Throttle(rate) => {
                    tokio::time::sleep(Duration::from_secs_f64(length as f64 / rate as f64)).await;
                }
                Mode::LoseCommit | Mode::LoseCommitAnswer => {
                    let commits = up.is_some() && read.windows(COMMIT.len()).any(|window| window == COMMIT);
                    // One of the connections gets it, whichever commits next.
                    if commits && self.mode.send_if_modified(|mode| std::mem::replace(mode, Mode::Open) == now) {
                        self.lost_commits.fetch_add(1, Ordering::Relaxed);
                        if now == Mode::LoseCommit {
                            return ProxyEnding::Reset;
                        }
                        answer_is_lost.store(true, Ordering::Relaxed);
                    }
                }
            }
            if to.write_all(read).await.is_err() {
                return ProxyEnding::Reset;
            }
        }
    }
}
