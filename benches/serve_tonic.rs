//! A bare tonic server: one stream and one unary method that answer given bytes, shared and encoded beforehand.
//!
//! Boundary: tonic with its defaults and nothing of Policy Hub: no token, no store, no signature.

use std::convert::Infallible;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context as Poller, Poll};

use anyhow::Result;
use bytes::{Buf as _, BufMut as _, Bytes};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::WatchStream;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{Grpc, NamedService, ServerStreamingService, UnaryService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use super::subscriptions::RETURNING_MAX;

/// The paths of the methods.
pub const WATCH: &str = "/bench.Bench/Watch";
pub const PUBLISH: &str = "/bench.Bench/Publish";
pub const GET: &str = "/bench.Bench/Get";

/// Serves until it is killed. The first line printed is the address.
pub fn run(delivery: &Path, answer: &Path) -> Result<()> {
    let (delivery, answer) = (Bytes::from(std::fs::read(delivery)?), Bytes::from(std::fs::read(answer)?));
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = listen()?;
        println!("{}", listener.local_addr()?);
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let service = TonicBench { delivery, answer, wave: watch::channel(()).0 };
        Ok(Server::builder().add_service(service).serve_with_incoming(incoming).await?)
    })
}

/// Returns a free port with the kernel's largest accept queue: with the default of 128, connection retries would be measured.
pub fn listen() -> Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.bind("127.0.0.1:0".parse()?)?;
    Ok(socket.listen(RETURNING_MAX as u32)?)
}

#[derive(Clone)]
struct TonicBench {
    delivery: Bytes,
    answer: Bytes,
    wave: watch::Sender<()>,
}

impl NamedService for TonicBench {
    const NAME: &'static str = "bench.Bench";
}

type TonicAnswer<T> = Pin<Box<dyn Future<Output = Result<T, Infallible>> + Send>>;

impl tower::Service<http::Request<Body>> for TonicBench {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = TonicAnswer<Self::Response>;

    fn poll_ready(&mut self, _: &mut Poller<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let bench = self.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(RawCodec);
            Ok(match request.uri().path() {
                WATCH => grpc.server_streaming(WatchService(bench), request).await,
                PUBLISH => grpc.unary(PublishService(bench), request).await,
                GET => grpc.unary(GetService(bench), request).await,
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

struct WatchService(TonicBench);
struct PublishService(TonicBench);
struct GetService(TonicBench);

type Reply<T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send>>;

impl ServerStreamingService<Bytes> for WatchService {
    type Response = Bytes;
    type ResponseStream = Pin<Box<dyn tokio_stream::Stream<Item = Result<Bytes, Status>> + Send>>;
    type Future = Reply<Self::ResponseStream>;

    fn call(&mut self, _: Request<Bytes>) -> Self::Future {
        let delivery = self.0.delivery.clone();
        let waves = WatchStream::new(self.0.wave.subscribe());
        let stream: Self::ResponseStream = Box::pin(waves.map(move |()| Ok(delivery.clone())));
        Box::pin(async { Ok(Response::new(stream)) })
    }
}

impl UnaryService<Bytes> for PublishService {
    type Response = Bytes;
    type Future = Reply<Bytes>;

    fn call(&mut self, _: Request<Bytes>) -> Self::Future {
        self.0.wave.send_replace(());
        Box::pin(async { Ok(Response::new(Bytes::new())) })
    }
}

impl UnaryService<Bytes> for GetService {
    type Response = Bytes;
    type Future = Reply<Bytes>;

    fn call(&mut self, _: Request<Bytes>) -> Self::Future {
        let answer = self.0.answer.clone();
        Box::pin(async { Ok(Response::new(answer)) })
    }
}

/// A codec that passes bytes unchanged.
struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = RawCodec;
    type Decoder = RawCodec;

    fn encoder(&mut self) -> RawCodec {
        RawCodec
    }

    fn decoder(&mut self) -> RawCodec {
        RawCodec
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
