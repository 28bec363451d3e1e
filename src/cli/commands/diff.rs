//! `policyhub diff`

use anyhow::Context as _;
use clap::Args;

use crate::cli::commands::{annotations, requirements};
use crate::cli::exit_code::UsageError;
use crate::cli::names::{NamedVersion, policy_id};
use crate::cli::output::document::{Format, say, write_stdout};
use crate::cli::output::terminal_style;
use crate::cli::output::terminal_style::TerminalStyle;
use crate::cli::session::Session;
use crate::client::name::PolicyId;
use crate::client::pb;

/// What changed between two versions
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub diff pricing active latest")]
pub struct DiffArguments {
    /// Id of the policy
    #[arg(value_parser = policy_id)]
    policy: PolicyId,
    /// The older version: N, vLABEL, POLICY/vLABEL, active or latest
    from: NamedVersion,
    /// The newer version
    to: NamedVersion,
}

/// Runs the command.
pub async fn run(session: &Session, arguments: DiffArguments) -> anyhow::Result<()> {
    let name = |version: &NamedVersion| Ok::<_, UsageError>(version.of(&arguments.policy)?.name(&session.namespace));
    let request = pb::DiffVersionsRequest { base: name(&arguments.from)?, other: name(&arguments.to)? };
    let response = session.client.diff_versions(request).await;
    let response = response.with_context(|| format!("failed to compare versions of {}", arguments.policy))?;
    if session.output == Format::Text
        && let (Some(from), Some(to)) = (&response.base, &response.other)
    {
        let annotations = annotations::difference(&from.annotations, &to.annotations);
        // stderr, since the diff on stdout is for `patch`.
        for line in [annotations, requirements::difference(&from.requires, &to.requires)].into_iter().flatten() {
            say(&line);
        }
    }
    let style_of = TerminalStyle::stdout();
    if session.output == Format::Text && style_of.is_plain() {
        // Exact bytes, for `patch`: the reader is no terminal.
        return write_stdout(text(&response, style_of).as_bytes());
    }
    session.output.print(&response, |response| text(response, style_of))
}

/// Returns the unified diff: exact when it goes to a file or a pipe, for `patch`; else coloured and escaped. Contents that differ
/// and are not text are shown by their digests.
fn text(response: &pb::DiffVersionsResponse, style_of: TerminalStyle) -> String {
    let digest = |version: &Option<pb::Version>| version.as_ref().map(|it| it.digest.clone()).unwrap_or_default();
    let (from, to) = (digest(&response.base), digest(&response.other));
    if response.unified.is_empty() && response.too_large {
        return format!("what differs is too large for an answer; compare the contents: {from} and {to}\n");
    }
    if response.unified.is_empty() && from != to {
        return format!("contents differ and are not text: {from} and {to}\n");
    }
    if style_of.is_plain() {
        return response.unified.clone();
    }
    let mut shown = String::with_capacity(response.unified.len());
    // Lines of both files that are left of a hunk. Outside of hunks a line names a file; in one, a removed line may look like that.
    let (mut old, mut new) = (0_u64, 0_u64);
    for line in response.unified.split_terminator('\n') {
        let is_outside = old == 0 && new == 0;
        let style = match line.as_bytes().first() {
            Some(b'\\') => terminal_style::QUIET,
            Some(b'@') if is_outside => {
                (old, new) = hunk_lines(line);
                terminal_style::HEADING
            }
            _ if is_outside => terminal_style::STRONG,
            Some(b'+') => {
                new = new.saturating_sub(1);
                terminal_style::GOOD
            }
            Some(b'-') => {
                old = old.saturating_sub(1);
                terminal_style::BAD
            }
            _ => {
                (old, new) = (old.saturating_sub(1), new.saturating_sub(1));
                terminal_style::PLAIN
            }
        };
        shown.push_str(&style_of.paint(style, &terminal_style::visible(line)));
        shown.push('\n');
    }
    shown
}

/// Returns how many lines of the old file and of the new one a hunk has, by its first line: `@@ -1,3 +1,4 @@`.
fn hunk_lines(first: &str) -> (u64, u64) {
    let lines = |range: Option<&str>| match range.and_then(|range| range.split_once(',')) {
        Some((_, count)) => count.parse::<u64>().unwrap_or_default(),
        None => 1,
    };
    let mut ranges = first.split(' ').skip(1);
    (lines(ranges.next()), lines(ranges.next()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_contents_are_not_called_equal() {
        let version = |digest: &str| Some(pb::Version { digest: digest.to_owned(), ..Default::default() });
        let mut response = pb::DiffVersionsResponse { base: version("a"), other: version("b"), ..Default::default() };
        assert_eq!(text(&response, TerminalStyle::PLAIN), "contents differ and are not text: a and b\n");
        response.unified = "-1\n+2\n".to_owned();
        assert_eq!(text(&response, TerminalStyle::PLAIN), "-1\n+2\n");
        response = pb::DiffVersionsResponse { base: version("a"), other: version("a"), ..Default::default() };
        assert_eq!(text(&response, TerminalStyle::COLOURED), "");
    }

    #[test]
    fn a_difference_is_coloured_and_contents_bring_no_escapes() {
        let unified = "--- a\n+++ b\n@@ -1,3 +1,3 @@\n--- x\n+\u{1b}[2J\u{202e}y\r\n z\n\\ No newline at end of file\n";
        let response = pb::DiffVersionsResponse { unified: unified.to_owned(), ..Default::default() };
        assert_eq!(text(&response, TerminalStyle::PLAIN), unified, "exact for `patch`");
        let lines = [
            "\u{1b}[1m--- a\u{1b}[0m",
            "\u{1b}[1m+++ b\u{1b}[0m",
            "\u{1b}[36m@@ -1,3 +1,3 @@\u{1b}[0m",
            "\u{1b}[31m--- x\u{1b}[0m",
            "\u{1b}[32m+\\u{1b}[2J\\u{202e}y\\u{d}\u{1b}[0m",
            " z",
            "\u{1b}[2m\\ No newline at end of file\u{1b}[0m",
        ];
        assert_eq!(text(&response, TerminalStyle::COLOURED), format!("{}\n", lines.join("\n")));
    }

    #[test]
    fn each_file_is_named() {
        let of = |name: &str| format!("--- a/{name}\n+++ b/{name}\n@@ -1,2 +1 @@\n 1\n--- 2\n");
        let unified = format!("{}{}", of("x"), of("y"));
        let response = pb::DiffVersionsResponse { unified, ..Default::default() };
        let shown = text(&response, TerminalStyle::COLOURED);
        for (style, lines) in [("\u{1b}[1m--- a/", 2), ("\u{1b}[1m+++ b/", 2), ("\u{1b}[31m--- 2", 2)] {
            assert_eq!(shown.matches(style).count(), lines, "{shown:?}");
        }
    }
}
