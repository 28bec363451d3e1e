//! Requests to the HTTP port in plain HTTP/1.1.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

/// Requests a path and returns the status, the head in lower case, and the body.
pub fn get(base: &str, path: &str) -> std::io::Result<(u16, String, String)> {
    let address = base.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or(std::io::ErrorKind::InvalidData)?;
    Ok((status, head.to_lowercase(), body.to_owned()))
}

/// Returns the value of a metric by its full name including labels; `None` when it is absent.
pub fn metric(base: &str, name: &str) -> Option<f64> {
    let (_, _, text) = get(base, "/metrics").ok()?;
    super::metrics::counted(&text, name)
}
