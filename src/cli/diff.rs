//! `policyhub diff`

use anyhow::Context as _;
use clap::Args;

use super::annotations;
use super::failure::Usage;
use super::look::{self, Look};
use super::names::{NamedVersion, policy_id};
use super::output::{Format, say, write_stdout};
use super::session::Session;
use crate::client::name::PolicyId;
use crate::client::pb;

/// What changed between two versions
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub diff pricing active latest")]
pub struct Arguments {
    /// Id of the policy
    #[arg(value_parser = policy_id)]
    policy: PolicyId,
    /// The older version: N, vLABEL, POLICY/vLABEL, active or latest
    from: NamedVersion,
    /// The newer version
    to: NamedVersion,
}

/// Runs it.
pub async fn run(session: &Session, arguments: Arguments) -> anyhow::Result<()> {
    let name = |version: &NamedVersion| Ok::<_, Usage>(version.of(&arguments.policy)?.name(&session.namespace));
    let request = pb::DiffVersionsRequest { base: name(&arguments.from)?, other: name(&arguments.to)? };
    let response = session.client.diff_versions(request).await;
    let response = response.with_context(|| format!("failed to compare versions of {}", arguments.policy))?;
    if session.output == Format::Text
        && let (Some(from), Some(to)) = (&response.base, &response.other)
        && let Some(line) = annotations::difference(&from.annotations, &to.annotations)
    {
        // Beside the difference of the contents, which is for `patch`.
        say(&line);
    }
    let to_look = Look::stdout();
    if session.output == Format::Text && to_look.is_plain() {
        // Exact bytes, for `patch`: nobody looks at them.
        return write_stdout(text(&response, to_look).as_bytes());
    }
    session.output.print(&response, |response| text(response, to_look))
}

/// The unified diff: exact where it goes to a file or a pipe, for `patch`; else coloured, and safe to look at.
/// Bytes that differ and are not text show by their digests.
fn text(response: &pb::DiffVersionsResponse, to_look: Look) -> String {
    let digest = |version: &Option<pb::Version>| version.as_ref().map(|it| it.digest.clone()).unwrap_or_default();
    let (from, to) = (digest(&response.base), digest(&response.other));
    if response.unified.is_empty() && response.too_large {
        return format!("what differs is too large for an answer; compare the contents: {from} and {to}\n");
    }
    if response.unified.is_empty() && from != to {
        return format!("contents differ and are not text: {from} and {to}\n");
    }
    if to_look.is_plain() {
        return response.unified.clone();
    }
    let mut shown = String::with_capacity(response.unified.len());
    // The two lines that name the files; a removed line may look like them.
    for (index, line) in response.unified.split_terminator('\n').enumerate() {
        let style = match line.as_bytes().first() {
            _ if index < 2 => look::STRONG,
            Some(b'+') => look::GOOD,
            Some(b'-') => look::BAD,
            Some(b'@') => look::PLACE,
            Some(b'\\') => look::QUIET,
            _ => look::PLAIN,
        };
        shown.push_str(&to_look.paint(style, &look::visible(line)));
        shown.push('\n');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_contents_are_not_called_equal() {
        let version = |digest: &str| Some(pb::Version { digest: digest.to_owned(), ..Default::default() });
        let mut response = pb::DiffVersionsResponse { base: version("a"), other: version("b"), ..Default::default() };
        assert_eq!(text(&response, Look::PLAIN), "contents differ and are not text: a and b\n");
        response.unified = "-1\n+2\n".to_owned();
        assert_eq!(text(&response, Look::PLAIN), "-1\n+2\n");
        response = pb::DiffVersionsResponse { base: version("a"), other: version("a"), ..Default::default() };
        assert_eq!(text(&response, Look::COLOURED), "");
    }

    #[test]
    fn a_difference_is_coloured_and_contents_bring_no_escapes() {
        let unified = "--- a\n+++ b\n@@ -1,3 +1,3 @@\n--- x\n+\u{1b}[2J\u{202e}y\r\n z\n\\ No newline at end of file\n";
        let response = pb::DiffVersionsResponse { unified: unified.to_owned(), ..Default::default() };
        assert_eq!(text(&response, Look::PLAIN), unified, "exact for `patch`");
        let lines = [
            "\u{1b}[1m--- a\u{1b}[0m",
            "\u{1b}[1m+++ b\u{1b}[0m",
            "\u{1b}[36m@@ -1,3 +1,3 @@\u{1b}[0m",
            "\u{1b}[31m--- x\u{1b}[0m",
            "\u{1b}[32m+\\u{1b}[2J\\u{202e}y\\u{d}\u{1b}[0m",
            " z",
            "\u{1b}[2m\\ No newline at end of file\u{1b}[0m",
        ];
        assert_eq!(text(&response, Look::COLOURED), format!("{}\n", lines.join("\n")));
    }
}
