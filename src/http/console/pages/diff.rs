//! Two versions of a policy: field by field, and line by line.

use askama::Template;

use crate::api::{pb, request};
use crate::domain::Result;
use crate::domain::access::Rpc;
use crate::domain::version::{FieldDifference, VersionWithContent};
use crate::http::console::layout::{Layout, ShortDigest, StateMark, policy_path, release_of, version_path};
use crate::http::console::rendered::Rendered;
use crate::http::console::visible_text::VisibleText;
use crate::http::console::visit::Visit;

/// Most lines that a page shows, and the longest of them.
const LINES_MAX: usize = 3_000;
const LINE_MAX_CHARS: usize = 2_000;

#[derive(Template)]
#[template(path = "diff.html")]
struct DiffPage {
    layout: Layout,
    base: DiffSide,
    other: DiffSide,
    has_fields: bool,
    fields: Vec<FieldRow>,
    lines: Vec<DiffLine>,
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

struct DiffLine {
    class: &'static str,
    text: VisibleText,
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
    let fields = found.fields.unwrap_or_default();
    let page = DiffPage {
        layout: layout.in_namespace(&name.namespace, &command).below(name.policy.to_string(), policy_path(&name)),
        base,
        other,
        has_fields: !found.json_patch.is_empty() || !fields.fields.is_empty(),
        is_cut: found.too_large || fields.is_cut || found.unified.lines().count() > LINES_MAX,
        fields: fields.fields.iter().map(field_row).collect(),
        lines: found.unified.lines().take(LINES_MAX).map(diff_line).collect(),
    };
    Rendered::page(&page)
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

fn field_row(field: &FieldDifference) -> FieldRow {
    let shown = |value: &Option<String>| VisibleText::line(value.as_deref().unwrap_or_default());
    FieldRow { pointer: VisibleText::line(&field.pointer), old: shown(&field.old), new: shown(&field.new) }
}

fn diff_line(line: &str) -> DiffLine {
    let is_name = line.starts_with("--- namespaces/") || line.starts_with("+++ namespaces/");
    let class = match line.as_bytes().first() {
        _ if is_name => "soft",
        Some(b'+') => "added",
        Some(b'-') => "removed",
        Some(b'@') => "soft",
        _ => "same",
    };
    DiffLine { class, text: VisibleText::bounded(line, LINE_MAX_CHARS) }
}
