//! Reads server-sent events (HTML Living Standard §9.2) as a browser does.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::browser::Browser;

/// Longest wait for an event. It only bounds a test that has failed.
const EVENT_TIMEOUT: Duration = Duration::from_secs(60);

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub name: String,
    pub data: String,
}

/// An open stream of events, or the refusal of one.
#[derive(Debug)]
pub struct EventStream {
    connection: BufReader<TcpStream>,
    pub status: u16,
    /// The head in lower case.
    pub head: String,
    /// The text after the last event.
    rest: String,
}

impl EventStream {
    /// Asks for a live part.
    pub fn open(browser: &Browser, path: &str) -> Self {
        let mut stream = TcpStream::connect(&browser.address).expect("a connection");
        stream.set_read_timeout(Some(EVENT_TIMEOUT)).expect("a timeout");
        let (host, cookie) = (&browser.address, &browser.cookie);
        let cookie = if cookie.is_empty() { String::new() } else { format!("cookie: {cookie}\r\n") };
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {host}\r\naccept: text/event-stream\r\n{cookie}\r\n")
            .expect("sent");
        let mut connection = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(connection.read_line(&mut head).expect("a head"), 0, "no answer: {head}");
        }
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status");
        Self { connection, status, head: head.to_lowercase(), rest: String::new() }
    }

    /// Reads the next event; none once the stream has ended in order.
    pub fn next(&mut self) -> Option<Event> {
        assert_eq!(self.status, 200, "{}", self.head);
        loop {
            if let Some((event, rest)) = self.rest.split_once("\n\n") {
                let field = |name: &str| -> Vec<&str> {
                    event.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).collect()
                };
                let event = Event { name: field("event").join(""), data: field("data").join("\n") };
                self.rest = rest.to_owned();
                return Some(event);
            }
            let mut size = String::new();
            self.connection.read_line(&mut size).expect("a chunk");
            let size = usize::from_str_radix(size.trim(), 16).unwrap_or_else(|_| panic!("cut off: {size:?}"));
            let mut chunk = vec![0; size + 2];
            self.connection.read_exact(&mut chunk).expect("a chunk");
            if size == 0 {
                assert_eq!(self.rest, "", "half an event");
                return None;
            }
            self.rest.push_str(std::str::from_utf8(&chunk[..size]).expect("text"));
        }
    }

    /// Reads events until one holds this text.
    pub fn until(&mut self, text: &str) -> Event {
        loop {
            let event = self.next().unwrap_or_else(|| panic!("the stream ended before {text}"));
            assert_eq!(event.name, "part", "{event:?}");
            if event.data.contains(text) {
                return event;
            }
        }
    }

    /// Reads to the end, and returns the last event.
    pub fn last(mut self) -> Option<Event> {
        let mut last = None;
        while let Some(event) = self.next() {
            last = Some(event);
        }
        last
    }
}
