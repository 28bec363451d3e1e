//! Reflection, which needs no token: its streams end, are limited per peer, and can be turned off.

use std::time::Duration;

use tonic::Code;
use tonic::transport::Channel;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

use crate::harness::raw::{channel, reason};
use crate::harness::watching::DEADLINE;
use crate::harness::{Database, Hub};

/// Concurrent streams of one peer, as docs/operations/limits.md states.
const STREAMS_MAX: usize = 8;

fn ask() -> ServerReflectionRequest {
    let message_request = Some(MessageRequest::ListServices(String::new()));
    ServerReflectionRequest { message_request, ..Default::default() }
}

/// Opens a stream whose requests never end, and reads one answer.
async fn endless(channel: Channel) -> Result<tonic::Streaming<impl Sized>, tonic::Status> {
    let requests = futures_util::StreamExt::chain(tokio_stream::once(ask()), tokio_stream::pending());
    let mut answers = ServerReflectionClient::new(channel).server_reflection_info(requests).await?.into_inner();
    answers.message().await?.ok_or_else(|| tonic::Status::internal("no answer"))?;
    Ok(answers)
}

#[tokio::test]
async fn streams_that_are_left_open_are_few_and_end() {
    let hub = Hub::start(Database::Sqlite).await;
    let mut open = Vec::new();
    for _ in 0..STREAMS_MAX {
        // Each by a separate connection, because the limit is per peer.
        open.push(endless(channel(&hub).await).await.expect("a stream"));
    }
    let refused = endless(channel(&hub).await).await.map(drop).expect_err("one too many");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "TOO_MANY_STREAMS"));
    for mut stream in open {
        let end = tokio::time::timeout(DEADLINE, stream.message()).await.expect("an end before the deadline");
        let end = end.err().expect("an end with a status");
        assert_eq!((end.code(), reason(&end).as_str()), (Code::DeadlineExceeded, "REQUEST_TIMEOUT"));
    }
    // The slot of the last one may be freed a moment after its end was sent.
    let again = async {
        while endless(channel(&hub).await).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, again).await.expect("room again");
}

#[tokio::test]
async fn it_can_be_turned_off() {
    let hub = Hub::start_with(Database::Sqlite, &["--reflection=false"]).await;
    let refused = endless(channel(&hub).await).await.map(drop).expect_err("no reflection");
    assert_eq!(refused.code(), Code::Unimplemented);
}
