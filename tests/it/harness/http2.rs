//! HTTP/2 requests with any headers and any bytes, as `curl --http2-prior-knowledge` makes them.

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use tokio::net::TcpStream;

use super::Hub;

/// A response.
#[derive(Debug)]
pub struct Http2Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: HeaderMap,
}

impl Http2Answer {
    /// Returns a field of the trailers, or of the headers when there are no trailers.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.trailers.get(name).or_else(|| self.headers.get(name)).and_then(|value| value.to_str().ok())
    }
}

/// Posts a body as the admin on a new connection. A field replaces the default of the same name; `-name` removes the default.
pub async fn post(hub: &Hub, path: &str, fields: &[(&str, &str)], body: Vec<u8>) -> Http2Answer {
    ask(hub, Method::POST, path, fields, body).await
}

/// Sends such a request with any method.
pub async fn ask(hub: &Hub, method: Method, path: &str, fields: &[(&str, &str)], body: Vec<u8>) -> Http2Answer {
    let stream = TcpStream::connect(hub.grpc.trim_start_matches("http://")).await.expect("a connection");
    let (mut client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(format!("{}{path}", hub.grpc)).body(()).expect("a request");
    let bearer = format!("Bearer {}", hub.token());
    for (name, value) in [("authorization", bearer.as_str()), ("te", "trailers")].iter().chain(fields) {
        let name: http::HeaderName = name.parse().expect("a name");
        match name.as_str().strip_prefix('-') {
            Some(gone) => drop(request.headers_mut().remove(gone)),
            None => drop(request.headers_mut().insert(name, value.parse().expect("a value"))),
        }
    }
    let (answer, mut sending) = client.send_request(request, false).expect("a stream");
    // A server that has already refused the request does not read its body.
    let _ = sending.send_data(Bytes::from(body), true);
    let (head, mut from) = answer.await.expect("an answer").into_parts();
    let mut body = Vec::new();
    while let Some(Ok(data)) = from.data().await {
        let _ = from.flow_control().release_capacity(data.len());
        body.extend_from_slice(&data);
    }
    let trailers = from.trailers().await.ok().flatten().unwrap_or_default();
    connection.abort();
    Http2Answer { status: head.status.as_u16(), headers: head.headers, body, trailers }
}

/// Returns a message in gRPC framing, with this flag.
pub fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    [&[flag], &u32::try_from(message.len()).expect("small").to_be_bytes()[..], message].concat()
}
