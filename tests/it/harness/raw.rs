//! Calls with any bytes: a codec that sends them unchanged and reads no answer.

use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_types::StatusExt as _;

use super::Hub;

/// Encodes bytes unchanged and decodes nothing.
#[derive(Default)]
pub struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = Vec<u8>;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        BytesCodec
    }

    fn decoder(&mut self) -> Self {
        BytesCodec
    }
}

impl Encoder for BytesCodec {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put_slice(buffer, &item);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

impl Decoder for BytesCodec {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        bytes::Buf::advance(buffer, bytes::Buf::remaining(buffer));
        Ok(Some(()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

/// Opens a connection that is not shared.
pub async fn channel(hub: &Hub) -> Channel {
    let endpoint = tonic::transport::Endpoint::from_shared(hub.grpc.clone()).expect("an address");
    endpoint.connect().await.expect("a connection")
}

/// Calls a method with this message and returns the status.
pub async fn call(channel: Channel, method: &str, token: &str, message: Vec<u8>) -> Status {
    let mut grpc = tonic::client::Grpc::new(channel);
    let mut asked = Request::new(message);
    asked.metadata_mut().insert("authorization", format!("Bearer {token}").parse().expect("a header"));
    grpc.ready().await.expect("ready");
    let path = format!("/policyhub.v1.{method}").parse().expect("a path");
    match grpc.unary(asked, path, BytesCodec).await {
        Ok(_) => Status::ok(""),
        Err(status) => status,
    }
}

/// Returns the reason in the details of a status; empty without one.
pub fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}
