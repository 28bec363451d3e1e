//! Prints data: one document on stdout, as text for people or as JSON or YAML for programs.
//!
//! JSON is the proto3 mapping with the field names of the proto, numbers as numbers and every field present, so that scripts and
//! the contract use the same names. A mutation also includes its `request_id`.

use std::io::{self, Write as _};
use std::sync::LazyLock;

use anyhow::Context as _;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value;

use crate::cli::output::json::escaped;
use crate::cli::output::terminal_style::TerminalStyle;
use crate::cli::output::{text, yaml};
use crate::client::pb;

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// For programs and people: the same document as JSON.
    Yaml,
    /// For code hosts, of `check` and `report`: SARIF 2.1.0.
    Sarif,
}

/// A message whose proto name is known.
pub trait Named: prost::Message {
    /// Name of the message, without the package.
    const NAME: &'static str;
}

macro_rules! named {
    ($($message:ident),* $(,)?) => { $(impl Named for pb::$message { const NAME: &'static str = stringify!($message); })* };
}

named!(
    AbandonDraftResponse,
    ActivateResponse,
    ActivateSigningKeyResponse,
    ApproveVersionResponse,
    CancelScheduleResponse,
    CompleteRunResponse,
    CreateNamespaceResponse,
    CreateRoleBindingResponse,
    CreateScheduleResponse,
    DeleteRoleBindingResponse,
    ListRoleBindingsResponse,
    ListDenialsResponse,
    CreatePolicyResponse,
    DeactivateResponse,
    DiffVersionsResponse,
    DraftResponse,
    GetActiveResponse,
    GetConvergenceResponse,
    GetNamespaceResponse,
    GetPolicyResponse,
    GetRunResponse,
    GetScheduleResponse,
    GetValidationReportResponse,
    GetGuardrailsResponse,
    GetVersionResponse,
    ListActiveResponse,
    ListEventsResponse,
    ListNamespacesResponse,
    ListPoliciesResponse,
    ListRunsResponse,
    ListSchedulesResponse,
    ListSigningKeysResponse,
    ListSubscribersResponse,
    ListVersionsResponse,
    PrepareSigningKeyResponse,
    PublishResponse,
    PublishVersionsResponse,
    RecordRunResponse,
    RejectVersionResponse,
    ResumeScheduleResponse,
    RevokeSigningKeyResponse,
    RevokeTokenResponse,
    RollbackResponse,
    StageResponse,
    ThawNamespaceResponse,
    UpdateGuardrailsResponse,
    UpdateNamespaceResponse,
    UpdatePolicyResponse,
    WatchActiveResponse,
);

static DESCRIPTORS: LazyLock<Result<DescriptorPool, prost_reflect::DescriptorError>> =
    LazyLock::new(|| DescriptorPool::decode(pb::DESCRIPTORS));

impl Format {
    /// Returns whether the output is JSON or YAML instead of text.
    #[must_use]
    pub fn is_document(self) -> bool {
        self != Self::Text
    }

    /// Prints a document.
    pub fn print_document(self, value: &Value) -> anyhow::Result<()> {
        match self {
            Self::Yaml => write_stdout(yaml::document(&with_sorted_members(value))?.as_bytes()),
            Self::Json | Self::Text | Self::Sarif => print_json(value),
        }
    }

    /// Prints a response: `text` for people, the message itself for programs.
    pub fn print<M: Named>(self, message: &M, text: impl FnOnce(&M) -> String) -> anyhow::Result<()> {
        match self {
            Self::Text => print_text(&text(message)),
            Self::Json | Self::Yaml | Self::Sarif => self.print_document(&to_json(message)?),
        }
    }

    /// Prints the response of a mutation, with its request id.
    pub fn print_mutation<M: Named>(
        self,
        message: &M,
        request_id: &str,
        text: impl FnOnce(&M) -> String,
    ) -> anyhow::Result<()> {
        match self {
            Self::Text => print_text(&text(message)),
            Self::Json | Self::Yaml | Self::Sarif => {
                let mut value = to_json(message)?;
                if let Value::Object(fields) = &mut value {
                    fields.insert("request_id".to_owned(), Value::from(request_id));
                }
                self.print_document(&value)
            }
        }
    }
}

/// Returns a message as JSON.
pub fn to_json<M: Named>(message: &M) -> anyhow::Result<Value> {
    let pool = DESCRIPTORS.as_ref().map_err(|error| anyhow::anyhow!("descriptors can't be read: {error}"))?;
    let name = format!("policyhub.v1.{}", M::NAME);
    let descriptor = pool.get_message_by_name(&name).with_context(|| format!("{name} is not in the descriptors"))?;
    let mut dynamic = DynamicMessage::new(descriptor);
    dynamic.transcode_from(message).with_context(|| format!("{name} can't be read"))?;
    let options =
        SerializeOptions::new().stringify_64_bit_integers(false).use_proto_field_name(true).skip_default_fields(false);
    Ok(dynamic.serialize_with_options(serde_json::value::Serializer, &options)?)
}

/// Prints one JSON document on one line.
pub fn print_json(value: &Value) -> anyhow::Result<()> {
    write_stdout(format!("{}\n", escaped(&with_sorted_members(value).to_string())).as_bytes())
}

/// Returns the value with its members by name: their order must not depend on the features of the JSON library.
fn with_sorted_members(value: &Value) -> Value {
    let mut value = value.clone();
    value.sort_all_objects();
    value
}

/// Prints text to stdout, with characters that a terminal would act on made visible.
pub fn print_text(text: &str) -> anyhow::Result<()> {
    write_stdout(TerminalStyle::stdout().guarded(text).as_bytes())
}

/// Writes exact bytes to stdout. A reader that closed the pipe (`| head`) is not an error.
pub fn write_stdout(bytes: &[u8]) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("failed to write to stdout"),
        _ => Ok(()),
    }
}

/// Prints a line to stderr. Untrusted text in it can't start a new line or move the cursor.
pub fn say(line: &str) {
    // An error is ignored: without stderr it can't be reported.
    let _ = writeln!(io::stderr(), "{}", text::line(line));
}

/// Prints lines to stderr. The caller must pass untrusted text through `text::line`; otherwise it could start a line of its own.
pub fn say_lines(lines: &str) {
    let _ = writeln!(io::stderr(), "{}", TerminalStyle::stderr().guarded(lines));
}

/// The writer of the log: each event is one line, whatever text of the server it has.
#[derive(Debug)]
struct CleanStderr;

impl io::Write for CleanStderr {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        say(String::from_utf8_lossy(event).trim_end_matches('\n'));
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Prints the warnings of the SDK to stderr, for commands that run for long.
pub fn show_warnings() {
    let filter = tracing_subscriber::EnvFilter::new("policyhub_client=warn");
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| CleanStderr).with_ansi(false);
    // A subscriber that is already set up shows more, so it stays.
    let _ = lines.without_time().with_target(false).try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_the_words_of_the_contract() {
        let version = pb::Version {
            name: "namespaces/default/policies/pricing/versions/3".to_owned(),
            version: 3,
            state: pb::VersionState::Published.into(),
            create_time: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
            content: b"\x00\xff".as_slice().into(),
            ..Default::default()
        };
        let json = to_json(&pb::DraftResponse {
            version: Some(version),
            cursor: Some(pb::Cursor::of_revision(9_007_199_254_740_993)),
        })
        .expect("json");
        assert_eq!(json["cursor"]["revision"], 9_007_199_254_740_993_i64);
        assert_eq!(json["version"]["state"], "VERSION_STATE_PUBLISHED");
        assert_eq!(json["version"]["create_time"], "2023-11-14T22:13:20Z");
        assert_eq!(json["version"]["content"], "AP8=");
        assert_eq!(json["version"]["label"], "", "fields are there when they are empty");
    }

    #[test]
    fn json_has_nothing_that_a_terminal_acts_on() {
        let value = serde_json::json!({"a\u{9b}": "\u{9b}31m \u{202e}txt \u{7f}\u{2066}\u{200f} zoë 😀\n"});
        let text = escaped(&value.to_string());
        assert!(text.contains(r"\u009b31m \u202etxt \u007f\u2066\u200f zoë 😀\n"), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), value);
    }

    #[test]
    fn every_named_message_is_in_the_descriptors() {
        fn check<M: Named + Default>() {
            to_json(&M::default()).expect(M::NAME);
        }
        check::<pb::GetActiveResponse>();
        check::<pb::WatchActiveResponse>();
        check::<pb::ListEventsResponse>();
    }
}
