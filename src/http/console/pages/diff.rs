//! Two versions of a policy: field by field, and line beside line.

use askama::Template;

use crate::api::{pb, request};
use crate::domain::Result;
use crate::domain::access::Rpc;
use crate::domain::side_by_side::{NumberedLine, SideBySideRow};
use crate::domain::version::{FieldDifference, VersionWithContent};
use crate::http::console::layout::{Layout, ShortDigest, StateMark, policy_path, release_of, version_path};
use crate::http::console::rendered::Rendered;
use crate::http::console::visible_text::VisibleText;
use crate::http::console::visit::Visit;

/// Most bytes of the page that fields take, and that lines take. Together with the frame they bound the page.
const FIELDS_MAX_BYTES: usize = 64 * 1024;
const LINES_MAX_BYTES: usize = 192 * 1024;
/// About what the tags of a row take.
const ROW_TAGS_BYTES: usize = 110;
/// Longest line. Those of the comparison are shorter.
const LINE_MAX_CHARS: usize = 4_000;

#[derive(Template)]
#[template(path = "diff.html")]
struct DiffPage {
    layout: Layout,
    base: DiffSide,
    other: DiffSide,
    is_same: bool,
    has_fields: bool,
    fields: Vec<FieldRow>,
    rows: Vec<DiffRow>,
    is_cut: bool,
}

struct DiffSide {
    release: String,
    number: i64,
    href: String,
    state: StateMark,
    digest: ShortDigest,
}

struct FieldRow {
    pointer: VisibleText,
    old: VisibleText,
    new: VisibleText,
}

/// A row of the two columns.
enum DiffRow {
    File(VisibleText),
    Gap(usize),
    Same(DiffLine, usize),
    Changed(Option<DiffLine>, Option<DiffLine>),
}

struct DiffLine {
    number: usize,
    text: VisibleText,
    is_ended: bool,
}

/// Shows the page. The active version is the base unless another is named.
pub async fn show(visit: &Visit) -> Result<Rendered> {
    let or = |field: &str, default: &str| {
        let given = visit.fields.get(field);
        format!("{}/versions/{}", visit.policy_name(), if given.is_empty() { default } else { given })
    };
    let asked = pb::DiffVersionsRequest { base: or("base", "active"), other: or("other", "latest") };
    visit.read(Rpc::DiffVersions, &asked).await?;
    let (from, to) = (request::version("base", &asked.base)?, request::version("other", &asked.other)?);
    let found = visit.service().policies.diff_versions(&from, &to).await?;
    let name = visit.policy()?;
    let (base, other) = (side(&found.from), side(&found.to));
    let command = format!("diff {} {} {}", name.policy, base.number, other.number);
    let layout = visit.layout(format!("{} {} → {}", name.policy, base.release, other.release));
    let all = found.fields.unwrap_or_default();
    let fields = while_it_fits(FIELDS_MAX_BYTES, all.fields.iter().map(field_row));
    let rows = while_it_fits(LINES_MAX_BYTES, found.side_by_side.rows.iter().map(diff_row));
    let page = DiffPage {
        layout: layout.in_namespace(&name.namespace, &command).below(name.policy.to_string(), policy_path(&name)),
        is_same: found.from.version.digest == found.to.version.digest,
        has_fields: !found.json_patch.is_empty() || !all.fields.is_empty(),
        is_cut: found.side_by_side.is_cut
            || all.is_cut
            || fields.len() < all.fields.len()
            || rows.len() < found.side_by_side.rows.len(),
        base,
        other,
        fields,
        rows,
    };
    Rendered::page(&page)
}

/// Returns the rows, each given with its size, as long as they are not larger than this together.
fn while_it_fits<T>(max_bytes: usize, rows: impl Iterator<Item = (T, usize)>) -> Vec<T> {
    let mut left = max_bytes;
    let fits = |(row, bytes): (T, usize)| {
        left = left.checked_sub(bytes + ROW_TAGS_BYTES)?;
        Some(row)
    };
    rows.map_while(fits).collect()
}

fn side(each: &VersionWithContent) -> DiffSide {
    let version = &each.version;
    DiffSide {
        release: release_of(version),
        number: version.number,
        href: version_path(&version.policy, version.number),
        state: StateMark::of(version, each.active),
        digest: ShortDigest::from(&version.digest),
    }
}

fn field_row(field: &FieldDifference) -> (FieldRow, usize) {
    let shown = |value: &Option<String>| VisibleText::line(value.as_deref().unwrap_or_default());
    let row = FieldRow { pointer: VisibleText::line(&field.pointer), old: shown(&field.old), new: shown(&field.new) };
    let bytes = row.pointer.page_bytes() + row.old.page_bytes() + row.new.page_bytes();
    (row, bytes)
}

fn diff_row(row: &SideBySideRow) -> (DiffRow, usize) {
    let line = |line: &NumberedLine| {
        let text = VisibleText::bounded(&line.text, LINE_MAX_CHARS);
        DiffLine { number: line.number, text, is_ended: line.is_ended }
    };
    let bytes = |line: &Option<DiffLine>| line.as_ref().map_or(0, |line| line.text.page_bytes());
    match row {
        SideBySideRow::File(name) => {
            let name = VisibleText::line(name);
            let bytes = name.page_bytes();
            (DiffRow::File(name), bytes)
        }
        SideBySideRow::Gap(lines) => (DiffRow::Gap(*lines), 0),
        SideBySideRow::Same(same, other) => {
            let same = line(same);
            let bytes = 2 * same.text.page_bytes();
            (DiffRow::Same(same, *other), bytes)
        }
        SideBySideRow::Changed(old, new) => {
            let (old, new) = (old.as_ref().map(line), new.as_ref().map(line));
            let size = bytes(&old) + bytes(&new);
            (DiffRow::Changed(old, new), size)
        }
    }
}
