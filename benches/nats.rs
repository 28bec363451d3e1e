//! Just enough of the text protocol of NATS: subscribe, publish, and count what is delivered.
//!
//! Boundary: bytes only, no sockets.

use anyhow::{Context as _, Result, bail};

use super::plan::BenchCall;

/// Longest accepted line of the protocol: INFO is the longest.
const LINE_MAX_BYTES: usize = 64 * 1024;

/// Opens a connection with subscriptions 1 to `streams`; the server's PONG confirms them.
pub fn hello(out: &mut Vec<u8>, call: &BenchCall, streams: usize) {
    out.extend_from_slice(b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\n");
    for id in 1..=streams {
        out.extend_from_slice(format!("SUB {} {id}\r\n", call.path).as_bytes());
    }
    out.extend_from_slice(b"PING\r\n");
}

/// Writes a publication; the server's PONG confirms it.
pub fn publish(out: &mut Vec<u8>, call: &BenchCall) {
    out.extend_from_slice(format!("PUB {} {}\r\n", call.path, call.body.len()).as_bytes());
    out.extend_from_slice(&call.body);
    out.extend_from_slice(b"\r\nPING\r\n");
}

/// An event on a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum NatsEvent {
    /// Everything before the PING was done.
    Pong,
    /// One delivery to a subscription.
    Message { id: u32, length: usize },
}

/// Reads lines and payloads that arrive in pieces.
#[derive(Debug, Default)]
pub struct NatsReader {
    line: Vec<u8>,
    /// The delivery whose payload is being read, and what is left of it, with its line end.
    payload: Option<(u32, usize, usize)>,
}

impl NatsReader {
    /// Reads bytes; `reply` gets what has to be answered.
    ///
    /// # Errors
    /// When the server refuses something or sends what is no NATS.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        reply: &mut Vec<u8>,
        mut on: impl FnMut(NatsEvent) -> Result<()>,
    ) -> Result<()> {
        while !bytes.is_empty() {
            if let Some((id, length, left)) = self.payload {
                let taken = bytes.len().min(left);
                bytes = bytes.split_at(taken).1;
                self.payload = (taken < left).then_some((id, length, left - taken));
                if self.payload.is_none() {
                    on(NatsEvent::Message { id, length })?;
                }
                continue;
            }
            let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
                self.line.extend_from_slice(bytes);
                if self.line.len() > LINE_MAX_BYTES {
                    bail!("the server sends no NATS");
                }
                return Ok(());
            };
            let (now, later) = bytes.split_at(end + 1);
            bytes = later;
            self.line.extend_from_slice(now);
            let line = std::mem::take(&mut self.line);
            self.take(std::str::from_utf8(&line)?.trim_end(), reply, &mut on)?;
        }
        Ok(())
    }

    fn take(&mut self, line: &str, reply: &mut Vec<u8>, on: &mut impl FnMut(NatsEvent) -> Result<()>) -> Result<()> {
        if let Some(message) = line.strip_prefix("MSG ") {
            let mut words = message.split(' ');
            let id = words.nth(1).context("a message without a subscription")?.parse()?;
            let length: usize = words.next_back().context("a message without a length")?.parse()?;
            self.payload = Some((id, length, length + 2));
        } else if line == "PING" {
            reply.extend_from_slice(b"PONG\r\n");
        } else if line == "PONG" {
            on(NatsEvent::Pong)?;
        } else if line.starts_with("-ERR") {
            bail!("NATS said {line}");
        }
        Ok(())
    }
}
