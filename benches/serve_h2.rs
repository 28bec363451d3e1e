//! A bare HTTP/2 server: the h2 crate writes given bytes to every open stream. It is the limit for anything built on h2.
//!
//! Boundary: it answers POST on two paths and knows nothing else of gRPC.

use std::path::Path;

use anyhow::Result;
use bytes::{BufMut as _, Bytes, BytesMut};
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Response};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};

use super::serve_tonic::{PUBLISH, listen};

/// Serves until it is killed. The first line printed is the address.
pub fn run(delivery: &Path) -> Result<()> {
    let message = std::fs::read(delivery)?;
    let mut framed = BytesMut::with_capacity(message.len() + 5);
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.put_slice(&message);
    let framed = framed.freeze();
    // One thread: the server under test has one core too, and this is faster.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = listen()?;
        println!("{}", listener.local_addr()?);
        let wave = watch::channel(()).0;
        loop {
            let (socket, _) = listener.accept().await?;
            let (framed, wave) = (framed.clone(), wave.clone());
            tokio::task::spawn_local(async move {
                // A client that disconnects is the usual end.
                let _ = connection(socket, framed, wave).await;
            });
        }
    })
}

async fn connection(socket: TcpStream, framed: Bytes, wave: watch::Sender<()>) -> Result<()> {
    socket.set_nodelay(true)?;
    let mut connection = h2::server::handshake(socket).await?;
    let mut streams = JoinSet::new();
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        if request.uri().path() == PUBLISH {
            publish(respond)?;
            wave.send_replace(());
        } else {
            streams.spawn_local(watch_stream(respond, framed.clone(), wave.subscribe()));
        }
    }
    Ok(())
}

fn answer() -> Response<()> {
    let mut response = Response::new(());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

fn publish(mut respond: SendResponse<Bytes>) -> Result<()> {
    let mut body = respond.send_response(answer(), false)?;
    body.send_data(Bytes::from_static(&[0; 5]), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    body.send_trailers(trailers)?;
    Ok(())
}

async fn watch_stream(mut respond: SendResponse<Bytes>, framed: Bytes, mut wave: watch::Receiver<()>) -> Result<()> {
    let mut body = respond.send_response(answer(), false)?;
    loop {
        body.send_data(framed.clone(), false)?;
        wave.changed().await?;
    }
}
