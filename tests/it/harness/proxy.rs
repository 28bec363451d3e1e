//! A TCP proxy on loopback that can be aimed elsewhere, and that can lose a link without telling anybody.
//!
//! Its tasks end with the runtime of the test.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Holds what it does with connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Way {
    /// Says where new ones lead; nowhere while it is a black hole.
    target: Option<u16>,
    /// Raised when the link is lost: connections made before never carry anything again.
    lost: u32,
}

/// A proxy.
#[derive(Debug, Clone)]
pub struct NetworkProxy {
    /// Says where it listens.
    pub port: u16,
    way: Arc<watch::Sender<Way>>,
}

impl NetworkProxy {
    /// Returns a proxy before a port of this machine.
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

    /// Loses the link: what is open stays open and carries nothing for ever, what is new gets no answer.
    pub fn lose(&self) {
        self.way.send_modify(|way| (way.target, way.lost) = (None, way.lost + 1));
    }

    /// Leads new connections to a port.
    pub fn aim(&self, target: u16) {
        self.way.send_modify(|way| way.target = Some(target));
    }
}

async fn carry(client: TcpStream, way: watch::Receiver<Way>) {
    let made = *way.borrow();
    let Some(target) = made.target else {
        // Held, and never answered.
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
            // The end of a side is not told either.
            std::future::pending::<()>().await;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
