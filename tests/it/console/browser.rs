//! A browser without scripts: one cookie, one request for each connection.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::harness::Hub;

/// Longest wait for an answer. It only bounds a test that has failed.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
    /// Whether the answer came to its end.
    pub is_complete: bool,
}

impl Answer {
    /// Returns a header; empty when it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(each, _)| each == name).map_or("", |(_, value)| value)
    }

    /// Returns the reason code on a page that refuses.
    pub fn reason(&self) -> &str {
        between(&self.body, "id=\"reason\">", "<")
    }

    /// Returns what a page that refuses says to do next: the sentence, and where its link leads; empty without one.
    pub fn next(&self) -> (&str, &str) {
        let said = between(&self.body, "<p id=\"next\">", "</p>");
        (said.split(" <a").next().unwrap_or_default(), between(said, "href=\"", "\""))
    }

    /// Returns the page that an action leads to, without the code of what was done.
    pub fn next_page(&self) -> &str {
        self.header("location").split('?').next().unwrap_or_default()
    }

    /// Returns what a page says that was done; empty when it says nothing.
    pub fn done(&self) -> &str {
        between(&self.body, "<p class=\"done\" role=\"status\">", "</p>")
    }

    /// Returns the token of the forms of a page.
    pub fn form_token(&self) -> String {
        let token = between(&self.body, "name=\"form_token\" value=\"", "\"").to_owned();
        assert!(!token.is_empty(), "no form: {self:?}");
        token
    }
}

/// Returns what stands between two texts; empty when they are not there.
pub fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    text.split_once(from).and_then(|(_, rest)| rest.split_once(to)).map_or("", |(found, _)| found)
}

/// A browser.
#[derive(Debug, Clone)]
pub struct Browser {
    pub address: String,
    pub cookie: String,
}

impl Browser {
    /// Opens a browser in which nobody is signed in.
    pub fn new(hub: &Hub) -> Self {
        let address = hub.console.trim_start_matches("http://").to_owned();
        assert!(address.contains(':'), "the server has no console: {:?}", hub.console);
        Self { address, cookie: String::new() }
    }

    /// Opens a browser and signs in by a pasted token.
    pub fn signed_in(hub: &Hub, token: &str) -> Self {
        let mut browser = Self::new(hub);
        let answer = browser.post("/sign-in", &[("token", token)]);
        assert_eq!(answer.status, 303, "{answer:?}");
        assert!(!browser.cookie.is_empty(), "{answer:?}");
        browser
    }

    /// Gets a page.
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "")
    }

    /// Sends a form as a page of the console does, and keeps the cookie that comes.
    pub fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let origin = format!("http://{}", self.address);
        let answer = self.post_with(path, &[("origin", &origin)], fields);
        let set = answer.headers.iter().find(|(name, _)| name == "set-cookie");
        if let Some((_, set)) = set {
            self.cookie = set.split(';').next().unwrap_or_default().to_owned();
        }
        answer
    }

    /// Sends a form with these headers.
    pub fn post_with(&self, path: &str, headers: &[(&str, &str)], fields: &[(&str, &str)]) -> Answer {
        let encode = |text: &str| -> String { text.bytes().map(|byte| format!("%{byte:02X}")).collect() };
        let body: Vec<String> =
            fields.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
        let form = ("content-type", "application/x-www-form-urlencoded");
        self.send("POST", path, &[&[form], headers].concat(), &body.join("&"))
    }

    /// Sends a request. A header of the name `host` takes the place of the own one.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut text = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "host") {
            text.push_str(&format!("host: {}\r\n", self.address));
        }
        if !self.cookie.is_empty() {
            text.push_str(&format!("cookie: {}\r\n", self.cookie));
        }
        headers.iter().for_each(|(name, value)| text.push_str(&format!("{name}: {value}\r\n")));
        if method == "POST" {
            text.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        self.exchange(format!("{text}\r\n{body}").as_bytes())
    }

    /// Sends bytes and reads the answer to its end.
    pub fn exchange(&self, bytes: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(&self.address).expect("a connection");
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).expect("a timeout");
        // The server may answer and close before it has read all.
        let _ = stream.write_all(bytes);
        let mut received = Vec::new();
        let _ = stream.read_to_end(&mut received);
        parse(&received)
    }
}

/// Reads an answer.
pub fn parse(received: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(received);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|word| word.parse().ok());
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers: Vec<(String, String)> =
        headers.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())).collect();
    let is_chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, length)| length.parse().ok());
    let (body, is_complete) = if is_chunked {
        join_chunks(body)
    } else {
        (body.to_owned(), length.is_none_or(|length: usize| body.len() >= length))
    };
    Answer { status: status.unwrap_or_default(), headers, body, is_complete }
}

/// Returns the text of a body in chunks, and whether the last one came (RFC 9112 §7.1).
fn join_chunks(mut rest: &str) -> (String, bool) {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("the size of a chunk");
        if size == 0 {
            return (body, true);
        }
        let Some(chunk) = after.get(..size) else { break };
        body.push_str(chunk);
        rest = after.get(size + 2..).unwrap_or_default();
    }
    (body, false)
}
