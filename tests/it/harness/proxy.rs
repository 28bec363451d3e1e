//! A TCP proxy on loopback whose target can change, and that can silently lose a link.
//!
//! Its tasks end with the runtime of the test.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How the proxy treats connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Way {
    /// The port that new connections go to; `None` while they get no answer.
    target: Option<u16>,
    /// Counts the losses of the link: connections made before one never carry anything again.
    lost: u32,
}

/// A proxy.
#[derive(Debug, Clone)]
pub struct NetworkProxy {
    /// The port that it listens on.
    pub port: u16,
    way: Arc<watch::Sender<Way>>,
}

impl NetworkProxy {
    /// Starts a proxy in front of a local port.
    pub async fn before(target: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let way = Arc::new(watch::Sender::new(Way { target: Some(target), lost: 0 }));
        let received = Arc::clone(&way);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(carry(connection, received.subscribe()));
            }
        });
        Self { port, way }
    }

    /// Loses the link: open connections stay open but carry nothing, and new ones get no answer.
    pub fn lose(&self) {
        self.way.send_modify(|way| (way.target, way.lost) = (None, way.lost + 1));
    }

    /// Sends new connections to this port.
    pub fn aim(&self, target: u16) {
        self.way.send_modify(|way| way.target = Some(target));
    }
}

async fn carry(client: TcpStream, way: watch::Receiver<Way>) {
    let made = *way.borrow();
    let Some(target) = made.target else {
        // The connection is kept open and never answered.
        return std::future::pending().await;
    };
    let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pump(from_client, to_server, way.clone(), made) => {}
        () = pump(from_server, to_client, way, made) => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, way: watch::Receiver<Way>, made: Way) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else {
            if way.borrow().lost != made.lost {
                std::future::pending::<()>().await;
            }
            return;
        };
        if way.borrow().lost != made.lost {
            // The end of one side is not passed on either.
            std::future::pending::<()>().await;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
