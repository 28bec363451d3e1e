//! Formats responses for people: one line per item, aligned columns, times in UTC.

use std::fmt::Write as _;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::cli::names::{policy_of, short};
use crate::cli::output::terminal_style::is_acted_on;
use crate::client::name::PolicyId;
use crate::client::{Cursor, pb};

/// Characters of a digest that are shown.
const DIGEST_SHOWN: usize = "sha256:".len() + 12;

/// Widest column of a table, in columns of the terminal; a longer cell exceeds it.
const COLUMN_MAX_WIDTH: usize = 200;

/// Returns a table without borders: each column as wide as its widest cell, each row one line whatever its cells contain.
#[must_use]
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| line(cell)).collect()).collect();
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.width()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    let mut text = String::new();
    let header: Vec<String> = header.iter().map(|cell| (*cell).to_owned()).collect();
    for row in std::iter::once(&header).chain(&rows) {
        let cells = row.iter().zip(&widths).map(|(cell, width)| padded(cell, *width) + "  ");
        text.push_str(cells.collect::<String>().trim_end());
        text.push('\n');
    }
    text
}

/// Pads a cell to the width of its column. Does not use a format width, which panics when it is large.
#[must_use]
pub fn padded(cell: &str, width: usize) -> String {
    let missing = width.min(COLUMN_MAX_WIDTH).saturating_sub(cell.width());
    cell.to_owned() + &" ".repeat(missing)
}

/// Returns a time as RFC 3339 in UTC, in seconds; empty when unset.
#[must_use]
pub fn time(time: Option<&prost_types::Timestamp>) -> String {
    time.and_then(|time| OffsetDateTime::from_unix_timestamp(time.seconds).ok())
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_default()
}

/// Parses an RFC 3339 time from the command line.
pub fn parse_time(text: &str) -> Result<prost_types::Timestamp, String> {
    let time =
        OffsetDateTime::parse(text, &Rfc3339).map_err(|_| "must be a time such as 2026-01-02T03:04:05Z".to_owned())?;
    let nanos = i32::try_from(time.nanosecond()).unwrap_or_default();
    Ok(prost_types::Timestamp { seconds: time.unix_timestamp(), nanos })
}

/// Parses a duration from the command line: whole numbers with units, the largest first, each unit once (`1h30m`).
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    duration(text).ok_or_else(|| "must be numbers with d, h, m, s or ms, such as 1h30m or 500ms".to_owned())
}

fn duration(text: &str) -> Option<Duration> {
    let mut units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)].into_iter();
    let (mut rest, mut sum) = (text, Duration::ZERO);
    while !rest.is_empty() || text.is_empty() {
        let (number, unit_and_on) = rest.split_at(rest.find(|letter: char| !letter.is_ascii_digit())?);
        let end = unit_and_on.find(|letter: char| letter.is_ascii_digit()).unwrap_or(unit_and_on.len());
        let (unit, after) = unit_and_on.split_at(end);
        // The iterator continues after the last unit, so that only smaller units may follow.
        let (_, milliseconds) = units.find(|(name, _)| *name == unit)?;
        let number: u32 = number.parse().ok()?;
        sum = sum.checked_add(Duration::from_millis(u64::from(number) * milliseconds))?;
        rest = after;
    }
    Some(sum)
}

/// Returns a cursor as text: `1:42`.
#[must_use]
pub fn at(cursor: Cursor) -> String {
    format!("{}:{}", cursor.epoch, cursor.revision)
}

/// Returns a cursor of the wire as text; empty when unset.
#[must_use]
pub fn cursor(cursor: Option<&pb::Cursor>) -> String {
    cursor.map(|cursor| at(Cursor { epoch: cursor.epoch, revision: cursor.revision })).unwrap_or_default()
}

/// What identifies a version for people: its label, else its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// The number.
    pub version: i64,
    /// The label; empty when there is none.
    pub label: String,
}

/// Returns the label, else the number. A label is a SemVer, so it never looks like a number.
#[must_use]
pub fn release(release: &Release) -> String {
    if release.label.is_empty() { release.version.to_string() } else { line(&release.label) }
}

/// Returns the beginning of a digest.
#[must_use]
pub fn digest(digest: &str) -> String {
    line(digest).chars().take(DIGEST_SHOWN).collect()
}

/// Returns text as one line: untrusted text must not move the cursor or break a column.
#[must_use]
pub fn line(text: &str) -> String {
    text.chars().map(|letter| if is_acted_on(letter) { ' ' } else { letter }).collect()
}

/// Returns a line of at most `max_width` columns of the terminal, with an ellipsis in place of the rest.
#[must_use]
pub fn shortened(text: &str, max_width: usize) -> String {
    let text = line(text);
    if text.width() <= max_width {
        return text;
    }
    let mut width = '…'.width().unwrap_or_default();
    let fits = |letter: &char| {
        width += letter.width().unwrap_or_default();
        width <= max_width
    };
    let mut shown: String = text.chars().take_while(fits).collect();
    shown.push('…');
    shown
}

/// Returns how long ago a time was, in its largest unit; a time in the future counts as now.
#[must_use]
pub fn age(time: Option<&prost_types::Timestamp>, now_seconds: i64) -> String {
    let Some(time) = time else { return String::new() };
    let seconds = now_seconds.saturating_sub(time.seconds).max(0);
    let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let fits = units.iter().find(|(_, unit)| seconds >= *unit);
    fits.map_or_else(|| "0s".to_owned(), |(name, unit)| format!("{}{name}", seconds / unit))
}

/// Returns the name of a state.
#[must_use]
pub fn state(state: i32) -> &'static str {
    pb::VersionState::try_from(state).map_or("UNKNOWN", |state| word(state.as_str_name(), "VERSION_STATE_"))
}

/// Returns the name of an event kind.
#[must_use]
pub fn event_kind(kind: i32) -> &'static str {
    pb::EventKind::try_from(kind).map_or("UNKNOWN", |kind| word(kind.as_str_name(), "EVENT_KIND_"))
}

/// Returns the name of a policy kind.
#[must_use]
pub fn policy_kind(kind: i32) -> &'static str {
    pb::PolicyKind::try_from(kind).map_or("UNKNOWN", |kind| word(kind.as_str_name(), "POLICY_KIND_"))
}

/// Returns an enum value of the contract without its prefix.
#[must_use]
pub fn word(name: &'static str, prefix: &str) -> &'static str {
    name.strip_prefix(prefix).unwrap_or(name)
}

/// Returns who wrote an adopted version: `system at 2024-03-01T00:00:00Z`, or without a time.
#[must_use]
pub fn written(adopted: &pb::Adopted) -> String {
    let author = line(&adopted.author);
    if adopted.create_time.is_none() { author } else { format!("{author} at {}", time(adopted.create_time.as_ref())) }
}

/// Returns a version on one line: `pricing@3 1.2.0 PUBLISHED sha256:…`.
#[must_use]
pub fn version(version: &pb::Version) -> String {
    version_that_is(version, state(version.state))
}

/// Returns a version that was published, with the revision of its event, or would have been without `validate_only`.
#[must_use]
pub fn published(of: &pb::Version, cursor: Option<pb::Cursor>, validate_only: bool) -> String {
    if validate_only {
        version_that_is(of, "would be published")
    } else {
        format!("{}{}", version(of), at_revision(cursor))
    }
}

fn version_that_is(version: &pb::Version, state: &str) -> String {
    let mut text = format!("{}@{}", policy_of(&version.name), version.version);
    if !version.label.is_empty() {
        let _ = write!(text, " {}", version.label);
    }
    let _ = write!(text, " {state} {}", digest(&version.digest));
    line(&text)
}

/// What an answer without an event says.
const NOTHING_CHANGED: &str = "nothing was changed";

/// Returns the revision of an event, as the end of a line. Without an event nothing was changed, and it says so.
#[must_use]
pub fn at_revision(cursor: Option<pb::Cursor>) -> String {
    cursor.map_or_else(|| format!("; {NOTHING_CHANGED}"), |cursor| format!(" at revision {}", cursor.revision))
}

/// Returns a line with the revision, for changes without a version. Without an event nothing was changed, and it says so.
#[must_use]
pub fn done_at(done: &str, cursor: Option<pb::Cursor>) -> String {
    if cursor.is_none() { format!("{NOTHING_CHANGED}\n") } else { format!("{done}{}\n", at_revision(cursor)) }
}

/// Returns approvals, one per line: `approved by local:ann until 2026-01-02T03:04:05Z: fine`.
#[must_use]
pub fn approvals(approvals: &[pb::Approval]) -> String {
    let mut text = String::new();
    for approval in approvals {
        let _ = write!(text, "approved by {} until ", line(&approval.approver));
        text.push_str(&time(approval.expire_time.as_ref()));
        if !approval.reason.is_empty() {
            let _ = write!(text, ": {}", line(&approval.reason));
        }
        text.push('\n');
    }
    text
}

/// Returns pointers that moved, one per line: `pricing 2 -> 3 sha256:…`.
#[must_use]
pub fn moves(activation: &pb::ActivationSummary) -> String {
    let mut text = String::new();
    for change in &activation.changes {
        let (from, to) = (pointer(change.previous_version), pointer(change.version));
        let _ = write!(text, "{} {from} -> {to}", line(short(&change.policy)));
        if !change.digest.is_empty() {
            let _ = write!(text, " {}", digest(&change.digest));
        }
        text.push('\n');
    }
    text
}

fn pointer(version: i64) -> String {
    if version == 0 { "none".to_owned() } else { version.to_string() }
}

/// Returns the message about a named policy that does not exist.
#[must_use]
pub fn missing(policy: &PolicyId) -> String {
    format!("{policy} does not exist; waiting for it to be made (see `policyhub policy list` for those that do)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_of_time_has_units_from_the_largest_on() {
        for (text, milliseconds) in
            [("90s", 90_000), ("500ms", 500), ("1h30m", 5_400_000), ("1d1m1ms", 86_460_001), ("0s", 0)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for bad in ["", "1", "s", "m1", "1h30", "30m1h", "1h1h", "1h 30m", "1.5h", "-1h", "1ms1s", "1y", "99999999999h"]
        {
            assert!(parse_duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn columns_line_up() {
        let rows = vec![vec!["a".to_owned(), "long cell".to_owned()], vec!["längst".to_owned(), String::new()]];
        assert_eq!(table(&["ID", "NOTE"], &rows), "ID      NOTE\na       long cell\nlängst\n");
        // A wide character takes two columns, a combining one none.
        let rows = vec![vec!["価格".to_owned(), "b".to_owned()], vec!["e\u{301}tat".to_owned(), "c".to_owned()]];
        assert_eq!(table(&["ID", "NOTE"], &rows), "ID    NOTE\n価格  b\ne\u{301}tat  c\n");
    }

    #[test]
    fn no_cell_moves_another_or_ends_its_line() {
        let long = "x".repeat(70_000);
        let rows = vec![vec![long.clone(), "b".to_owned()], vec!["a\nnext: c\u{1b}[2J".to_owned(), "d".to_owned()]];
        let text = table(&["ID", "NOTE"], &rows);
        let [header, first, second] = text.lines().collect::<Vec<_>>()[..] else {
            panic!("three lines: {}", text.len())
        };
        assert_eq!((header.find("NOTE"), first), (Some(COLUMN_MAX_WIDTH + 2), format!("{long}  b").as_str()));
        assert!(second.starts_with("a next: c [2J  ") && second.ends_with(" d"), "{second}");
    }

    #[test]
    fn times_go_both_ways() {
        let parsed = parse_time("2026-01-02T03:04:05+01:00").expect("a time");
        assert_eq!(time(Some(&parsed)), "2026-01-02T02:04:05Z");
        assert_eq!(time(None), "");
        assert!(parse_time("2026-01-02").is_err());
    }

    #[test]
    fn words_of_others_stay_on_their_line() {
        assert_eq!(line("a\n\u{1b}[2Jb\u{202e}c"), "a  [2Jb c");
    }

    #[test]
    fn a_cell_is_bounded() {
        assert_eq!((shortened("längst", 6).as_str(), shortened("längster", 6).as_str()), ("längst", "längs…"));
        assert_eq!((shortened("価格表", 6).as_str(), shortened("価格表示", 6).as_str()), ("価格表", "価格…"));
        assert_eq!(shortened("a\n\u{1b}[2J", 9), "a  [2J");
    }

    #[test]
    fn an_age_has_one_unit() {
        let at = |seconds| prost_types::Timestamp { seconds, nanos: 0 };
        for (seconds, age_of) in [(0, "0s"), (-5, "0s"), (59, "59s"), (60, "1m"), (7_199, "1h"), (86_400 * 400, "400d")]
        {
            assert_eq!(age(Some(&at(1_000 - seconds)), 1_000), age_of);
        }
        assert_eq!(age(Some(&at(i64::MIN)), i64::MAX), format!("{}d", i64::MAX / 86_400));
        assert_eq!(age(None, 5), "");
    }

    #[test]
    fn a_version_is_one_line() {
        let shown = pb::Version {
            name: "namespaces/default/policies/pricing/versions/3".to_owned(),
            version: 3,
            label: "1.2.0".to_owned(),
            state: pb::VersionState::Published.into(),
            digest: format!("sha256:{}", "ab".repeat(32)),
            ..Default::default()
        };
        assert_eq!(version(&shown), "pricing@3 1.2.0 PUBLISHED sha256:abababababab");
    }

    #[test]
    fn an_approval_is_one_line() {
        let approval = |reason: &str| pb::Approval {
            approver: "local:ann".to_owned(),
            reason: reason.to_owned(),
            expire_time: Some(prost_types::Timestamp::default()),
            ..Default::default()
        };
        let text = approvals(&[approval("read\nit"), approval("")]);
        let line = "approved by local:ann until 1970-01-01T00:00:00Z";
        assert_eq!(text, format!("{line}: read it\n{line}\n"));
    }

    #[test]
    fn moves_say_from_where_to_where() {
        let change = |version, previous_version| pb::PointerChange {
            policy: "namespaces/default/policies/pricing".to_owned(),
            version,
            previous_version,
            ..Default::default()
        };
        let activation = pb::ActivationSummary { changes: vec![change(3, 0), change(0, 3)], ..Default::default() };
        assert_eq!(moves(&activation), "pricing none -> 3\npricing 3 -> none\n");
    }

    #[test]
    fn a_version_that_was_only_validated_is_not_called_published() {
        let of = pb::Version {
            name: "namespaces/default/policies/pricing/versions/3".to_owned(),
            version: 3,
            state: pb::VersionState::Published.into(),
            ..Default::default()
        };
        let said = |cursor, validate_only| published(&of, cursor, validate_only);
        assert!(said(Some(pb::Cursor::of_revision(4)), false).starts_with("pricing@3 PUBLISHED"));
        assert!(said(Some(pb::Cursor::of_revision(4)), false).ends_with("at revision 4"));
        assert!(said(None, true).starts_with("pricing@3 would be published"), "{}", said(None, true));
    }

    #[test]
    fn only_what_was_done_has_a_revision() {
        assert_eq!(
            (done_at("activated", Some(pb::Cursor::of_revision(4))).as_str(), done_at("activated", None).as_str()),
            ("activated at revision 4\n", "nothing was changed\n")
        );
    }
}
