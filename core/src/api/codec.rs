//! The codec of every generated service and client: it scans a message, then has prost decode it.
//!
//! `build.rs` names it to the generator, and says which messages are requests and which are answers.

use std::marker::PhantomData;

use bytes::Buf as _;
use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

use super::wire_scan::{Excess, ScanBounds, scan};
use crate::domain::limits::{
    ANSWER_DECODED_EXTRA_MAX_BYTES, ANSWER_FIELDS_MAX, REQUEST_DECODED_EXTRA_MAX_BYTES, REQUEST_FIELDS_MAX,
};

/// Begins the error for a message that would decode to too much.
pub const TOO_COMPLEX: &str = "message is too complex";
/// Begins the error of prost for a message that it can't decode; the scan says the same of what it can't read.
pub const UNDECODABLE: &str = "failed to decode Protobuf message";

/// Bounds the size of a request.
pub const REQUEST: ScanBounds = ScanBounds { fields: REQUEST_FIELDS_MAX, extra_bytes: REQUEST_DECODED_EXTRA_MAX_BYTES };
/// Bounds the size of an answer, and of a message of a stream.
pub const ANSWER: ScanBounds = ScanBounds { fields: ANSWER_FIELDS_MAX, extra_bytes: ANSWER_DECODED_EXTRA_MAX_BYTES };

/// A message that is only decoded within bounds. `build.rs` writes this for every request and every answer.
pub trait BoundedMessage: Message + Default + 'static {
    /// Its full name, `policyhub.v1.DraftRequest`.
    const NAME: &'static str;
    /// Bounds the size of the message.
    const BOUNDS: ScanBounds;
}

/// The codec. Encoding is prost's.
#[derive(Debug)]
pub struct BoundedCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for BoundedCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for BoundedCodec<T, U>
where
    T: Message + Send + 'static,
    U: BoundedMessage + Send,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::default())
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder(ProstDecoder::new(BufferSettings::default()))
    }
}

/// The decoder of the codec.
#[derive(Debug)]
pub struct BoundedDecoder<U>(ProstDecoder<U>);

impl<U: BoundedMessage> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // tonic keeps a message in one piece; were it in several, none would be decoded past what was scanned.
        let bytes = buffer.chunk();
        if bytes.len() != buffer.remaining() {
            return Err(Status::internal("a message is in several pieces"));
        }
        scan(U::NAME, bytes, U::BOUNDS).map_err(|excess| match excess {
            Excess::Malformed => Status::internal(format!("{UNDECODABLE}: {excess}")),
            // INTERNAL without a reason looks to a client like a stream that broke, so it tries again, perhaps at another server.
            _ => Status::internal(format!("{TOO_COMPLEX}: {excess}")),
        })?;
        self.0.decode(buffer)
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}
