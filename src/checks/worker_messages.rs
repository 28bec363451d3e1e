//! The messages between a server and its check workers: a length in four bytes, big-endian, then JSON of that length.
//!
//! A request is an `Evaluation`. Each of its tasks is answered by a message of its own as soon as it has ended, so that the server knows
//! which one a limit ended. Neither side accepts more than the other may send.

use std::io::{self, Read};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::check_limit::ANSWER_FINDINGS_MAX;
use super::parse_failure::{MESSAGE_MAX_CHARS, POINTER_MAX_BYTES};
use crate::domain::limits::{CONTENT_MAX_BYTES, CONTENT_PATH_MAX_BYTES, GUARDRAILS_MAX_BYTES, SCHEMA_MAX_BYTES};

/// The argument with which a server starts this program as a worker. It is none of the commands: no help or suggestion names it.
pub const CHECK_WORKER_COMMAND: &str = "check-worker";
/// Bytes of the length before a message.
pub const LENGTH_BYTES: usize = 4;
/// Most bytes of JSON for one byte of text: `\u0001`.
const ESCAPED_MAX_FACTOR: usize = 6;
/// Largest request: a content with all expanded aliases, its text, the active content, a schema and guardrails, each byte escaped.
pub const CHECK_REQUEST_MAX_BYTES: usize =
    ESCAPED_MAX_FACTOR * (7 * CONTENT_MAX_BYTES + SCHEMA_MAX_BYTES + 2 * GUARDRAILS_MAX_BYTES);
/// Largest answer to one task: the most findings, each with the longest pointer, message and hint, all escaped, and the path of a file.
pub const CHECK_RESPONSE_MAX_BYTES: usize = 256 * 1024;
const _: () = assert!(
    ANSWER_FINDINGS_MAX * (ESCAPED_MAX_FACTOR * (POINTER_MAX_BYTES + 2 * MESSAGE_MAX_CHARS) + CONTENT_PATH_MAX_BYTES)
        < CHECK_RESPONSE_MAX_BYTES
);

/// The first message of a worker: it has dropped every right that it could.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerReady {
    /// How far the kernel isolates it, besides the limits.
    pub isolation: Isolation,
}

/// How far the kernel isolates a worker from files, the network and other processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Isolation {
    /// It is isolated from all of them.
    Full,
    /// It is isolated from some: the kernel is older.
    Partial,
    /// It is isolated from none: the kernel has no Landlock.
    None,
}

/// Encodes a message with its length.
///
/// # Errors
/// The message is over `max_bytes`.
pub fn encode(message: &impl Serialize, max_bytes: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; LENGTH_BYTES];
    serde_json::to_writer(&mut bytes, message)?;
    let length = check_length(bytes.len() - LENGTH_BYTES, max_bytes)?;
    let length = u32::try_from(length).map_err(io::Error::other)?.to_be_bytes();
    for (to, from) in bytes.iter_mut().zip(length) {
        *to = from;
    }
    Ok(bytes)
}

/// Decodes the length of the next message.
///
/// # Errors
/// The length is over `max_bytes`.
pub fn length(bytes: [u8; LENGTH_BYTES], max_bytes: usize) -> io::Result<usize> {
    check_length(usize::try_from(u32::from_be_bytes(bytes)).map_err(io::Error::other)?, max_bytes)
}

fn check_length(length: usize, max_bytes: usize) -> io::Result<usize> {
    if length <= max_bytes {
        return Ok(length);
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {length} bytes is over {max_bytes}")))
}

/// Decodes a message from its bytes, without their length.
///
/// # Errors
/// The bytes are not a valid message.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    Ok(serde_json::from_slice(bytes)?)
}

/// Reads the next message. `None`: the other side has ended.
///
/// # Errors
/// Reading fails, or the message is not valid or is over `max_bytes`.
pub fn read<T: DeserializeOwned>(from: &mut impl Read, max_bytes: usize) -> io::Result<Option<T>> {
    let mut head = [0; LENGTH_BYTES];
    match from.read_exact(&mut head) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut bytes = vec![0; length(head, max_bytes)?];
    from.read_exact(&mut bytes)?;
    decode(&bytes).map(Some)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::checks::{EvaluatedContent, Evaluation, Facts, Task, TaskAnswer};
    use crate::domain::limits::CHECK_FINDINGS_MAX;
    use crate::domain::report::{CheckFinding, Severity};

    #[test]
    fn messages_come_out_as_they_went_in() {
        for document in [json!(null), json!([-0.0, 1e300, 9_007_199_254_740_991_i64, "\u{1}\u{2028}"]), json!({"": {}})]
        {
            let content = EvaluatedContent::Document(document);
            let check = Evaluation {
                content,
                facts: Facts::default(),
                tasks: vec![Task::JsonSchema { schema: "{}".to_owned() }],
            };
            let sent = encode(&check, CHECK_REQUEST_MAX_BYTES).unwrap();
            assert_eq!(read(&mut sent.as_slice(), CHECK_REQUEST_MAX_BYTES).unwrap(), Some(check));
        }
        assert_eq!(read::<Value>(&mut io::empty(), CHECK_RESPONSE_MAX_BYTES).unwrap(), None);
    }

    #[test]
    fn lengths_are_bounded_on_both_sides() {
        assert_eq!(encode(&"x".repeat(8), 10).unwrap().len(), LENGTH_BYTES + 10);
        assert!(encode(&"x".repeat(9), 10).is_err());
        assert!(read::<Value>(&mut [0xff; 64].as_slice(), CHECK_REQUEST_MAX_BYTES).is_err());
        assert!(read::<Value>(&mut [0, 0, 0, 2, b'1'].as_slice(), 10).is_err(), "half a message");
    }

    #[test]
    fn the_largest_question_and_answer_fit() {
        let check = Evaluation {
            content: EvaluatedContent::Document(vec!["\u{1}".repeat(CONTENT_MAX_BYTES); 2].into()),
            facts: Facts::default(),
            tasks: vec![Task::JsonSchema { schema: "\u{1}".repeat(SCHEMA_MAX_BYTES) }],
        };
        assert!(encode(&check, CHECK_REQUEST_MAX_BYTES).is_ok());
        let finding = CheckFinding::new(Severity::Error, "\u{1}".repeat(401)).at_pointer("\u{1}".repeat(1_024));
        let answer = TaskAnswer::Findings(vec![finding.with_hint("x".repeat(400)); CHECK_FINDINGS_MAX + 1]);
        assert!(encode(&answer, CHECK_RESPONSE_MAX_BYTES).is_ok());
    }
}
