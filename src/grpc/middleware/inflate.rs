//! Inflates compressed requests (gRPC over HTTP/2, "Compressed-Flag"; gzip, RFC 1952) before they are decoded.
//!
//! Invariant: memory is reserved before it is inflated into, and a message never becomes larger than its method allows.
//! A message may inflate to a thousand times its size, so its compressed size is no limit.

use std::io::{self, Read as _};

use flate2::bufread::GzDecoder;
use http::HeaderMap;

use super::in_flight::Reserved;
use super::message_prefix::{MESSAGE_PREFIX_BYTES, not_one_message, size, too_large};
use super::whole_body::{CHUNK_BYTES, WholeBody};
use crate::domain::{Error, Reason, Result};

const ENCODING: &str = "grpc-encoding";
/// Number of bytes inflated at once.
const STEP_BYTES: usize = 8 * 1024;
/// The memory of the decoder: the window and tables of DEFLATE, 43 KiB, and one step.
const INFLATER_BYTES: u64 = 64 * 1024;
/// The maximal memory of the header of a gzip file: flate2 keeps three texts of up to 64 KiB.
const HEADER_MAX_BYTES: u64 = 3 * 64 * 1024;
/// The highest ratio of DEFLATE: two bits may become 258 bytes.
const RATIO_MAX: usize = 1032;

/// Returns whether the messages of a request may be compressed by gzip. If so, removes the header, because the inner layers get an
/// uncompressed request. The decoder refuses every other encoding.
pub(super) fn take_gzip(headers: &mut HeaderMap) -> bool {
    let mut given = headers.get_all(ENCODING).iter();
    let is_gzip = given.next().is_some_and(|value| value == "gzip") && given.next().is_none();
    if is_gzip {
        headers.remove(ENCODING);
    }
    is_gzip
}

/// Returns the maximal size to which a message of `compressed` bytes may inflate, with `max_bytes` as the limit.
pub(super) fn inflated_max_bytes(compressed: usize, max_bytes: usize) -> usize {
    compressed.saturating_mul(RATIO_MAX).min(max_bytes)
}

/// Returns the memory of a message while `inflated` bytes of it are inflated.
pub(super) fn inflating_bytes(compressed: usize, inflated: usize) -> u64 {
    // The texts of a header come from the compressed bytes, and the buffer of a text may be twice its size.
    let header = HEADER_MAX_BYTES.min(2 * size(compressed));
    size(compressed) + header + INFLATER_BYTES + size(inflated.next_multiple_of(CHUNK_BYTES))
}

/// Inflates a body of one compressed message, whose prefix claims `claimed` bytes. The result has the prefix of a message that is
/// not compressed.
///
/// # Errors
/// `MESSAGE_TOO_LARGE`; `INVALID_ARGUMENT` when it is not one whole gzip message; the errors of `reserved`.
pub(super) async fn inflate(
    mut body: WholeBody,
    claimed: usize,
    max_bytes: usize,
    mut reserved: Option<&mut Reserved>,
) -> Result<WholeBody> {
    if body.len() != MESSAGE_PREFIX_BYTES + claimed {
        return Err(not_one_message());
    }
    body.read_exact(&mut [0; MESSAGE_PREFIX_BYTES]).map_err(|error| broken(&error))?;
    let mut decoder = GzDecoder::new(body);
    let (mut inflated, mut step) = (WholeBody::default(), vec![0; STEP_BYTES]);
    loop {
        if let Some(reserved) = &mut reserved {
            reserved.grow_to(inflating_bytes(claimed, inflated.len() + STEP_BYTES)).await?;
        }
        let count = decoder.read(&mut step).map_err(|error| broken(&error))?;
        if count == 0 {
            break;
        }
        if inflated.len() + count > max_bytes {
            return Err(too_large(max_bytes));
        }
        inflated.push(step.get(..count).unwrap_or_default());
    }
    if decoder.into_inner().len() > 0 {
        return Err(not_one_message());
    }
    // It is below `max_bytes`, which fits into a prefix.
    let length = u32::try_from(inflated.len()).unwrap_or(u32::MAX).to_be_bytes();
    inflated.prepend(&[&[0], &length[..]].concat());
    Ok(inflated)
}

fn broken(error: &io::Error) -> Error {
    Error::new(Reason::InvalidArgument, format!("the request message can't be inflated by gzip: {error}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::grpc::middleware::in_flight::{IN_FLIGHT_MIN_BYTES, InFlight};

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).expect("memory");
        encoder.finish().expect("memory")
    }

    fn framed(compressed: &[u8]) -> WholeBody {
        let mut body = WholeBody::default();
        body.push(&[1]);
        body.push(&u32::try_from(compressed.len()).expect("small").to_be_bytes());
        body.push(compressed);
        body
    }

    #[tokio::test]
    async fn a_message_is_inflated_within_its_bound() {
        for length in [0, 1, STEP_BYTES, 3 * CHUNK_BYTES + 7] {
            let message: Vec<u8> = (0..=u8::MAX).cycle().take(length).collect();
            let compressed = gzip(&message);
            let in_flight = InFlight::of_requests(IN_FLIGHT_MIN_BYTES);
            let most = inflating_bytes(compressed.len(), length);
            let mut reserved = in_flight.claim("ann", most + size(STEP_BYTES)).await.expect("room");
            let inflated = inflate(framed(&compressed), compressed.len(), length, Some(&mut reserved)).await;
            let mut bytes = Vec::new();
            inflated.expect("a message").read_to_end(&mut bytes).expect("bytes");
            let prefix = [&[0], &u32::try_from(length).expect("small").to_be_bytes()[..]].concat();
            assert!(bytes == [prefix, message].concat(), "{length}");
            assert!(in_flight.counts().used_bytes >= size(length), "{length}");
            if length > 0 {
                let refused = inflate(framed(&compressed), compressed.len(), length - 1, None).await;
                assert_eq!(refused.expect_err("too large").reason, Reason::MessageTooLarge);
            }
        }
    }

    #[tokio::test]
    async fn a_body_that_is_not_one_whole_message_is_refused() {
        let whole = gzip(b"a message");
        let mut crc = whole.clone();
        let last = crc.len() - 8;
        crc[last] ^= 1;
        let bodies = [
            Vec::new(),
            b"no gzip at all".to_vec(),
            whole[..whole.len() - 1].to_vec(),
            whole[..5].to_vec(),
            [&whole[..], b"x"].concat(),
            whole.repeat(2),
            crc,
        ];
        for body in bodies {
            let refused = inflate(framed(&body), body.len(), 1_000, None).await.expect_err("no message");
            assert_eq!(refused.reason, Reason::InvalidArgument, "{body:?}");
        }
        for claimed in [whole.len() - 1, whole.len() + 1] {
            assert!(inflate(framed(&whole), claimed, 1_000, None).await.is_err(), "{claimed}");
        }
    }

    #[test]
    fn only_gzip_is_removed() {
        for (given, is_gzip) in [
            (&["gzip"][..], true),
            (&["identity"], false),
            (&["deflate"], false),
            (&["GZIP"], false),
            (&["gzip", "zstd"], false),
            (&[], false),
        ] {
            let mut headers = HeaderMap::new();
            for value in given {
                headers.append(ENCODING, value.parse().expect("a header"));
            }
            assert_eq!(take_gzip(&mut headers), is_gzip, "{given:?}");
            assert_eq!(headers.contains_key(ENCODING), !is_gzip && !given.is_empty(), "{given:?}");
        }
    }

    /// Given a compression bomb, it claims at most what its method allows, not a thousand times what it sends.
    #[test]
    fn the_method_bounds_the_claim() {
        assert_eq!(inflated_max_bytes(10, 1_000_000), 10_320);
        assert_eq!(inflated_max_bytes(10_000, 1_000_000), 1_000_000);
    }
}
