//! What the server counts, as a scrape reads it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;

use super::Hub;
use super::watching::DEADLINE;

/// The text of a scrape.
pub fn text(hub: &Hub) -> String {
    let address = hub.http.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).expect("the HTTP port");
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// The value of a row, named with its labels.
pub fn counted(text: &str, row: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(row)?.strip_prefix(' ')?.parse().ok())
}

/// Waits until a scrape has this row.
pub async fn wait_for(hub: &Hub, row: &str) {
    let started = Instant::now();
    loop {
        let text = text(hub);
        if text.lines().any(|line| line == row) {
            return;
        }
        assert!(started.elapsed() < DEADLINE, "never came to {row}:\n{text}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
