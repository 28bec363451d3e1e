//! The active contents that have a text: each policy with the first lines that have it, and how far the search came.

use askama::Template;

use crate::api::pb;
use crate::domain::access::Rpc;
use crate::domain::name::PolicyId;
use crate::domain::policy::is_of_several_files;
use crate::domain::{Error, Reason, Result};
use crate::http::console::layout::{release_of, version_path};
use crate::http::console::pages::content_lines::has_line;
use crate::http::console::visible_text::VisibleText;
use crate::http::console::visit::Visit;
use crate::service::{ActiveMatch, FoundLine, SearchActive};

/// The field of the query with the policy that an earlier search reached.
pub const REACHED_FIELD: &str = "contents_after";
/// Characters that are shown of each part of a line. What is cut there was longer than the search cuts it.
const PART_MAX_CHARS: usize = 100;

/// What was found.
#[derive(Template)]
#[template(path = "parts/content_matches.html")]
pub struct ContentMatchesPart {
    /// Why contents were not searched.
    refusal: Option<VisibleText>,
    rows: Vec<MatchRow>,
    searched: usize,
    active: usize,
    /// The link to what is left to search; empty when nothing is.
    next: String,
}

impl askama::filters::HtmlSafe for ContentMatchesPart {}

impl ContentMatchesPart {
    fn refused(error: &Error) -> Self {
        let refusal = Some(VisibleText::line(&error.message));
        Self { refusal, rows: Vec::new(), searched: 0, active: 0, next: String::new() }
    }
}

/// A line that has the text.
struct MatchRow {
    policy: String,
    release: String,
    href: String,
    file: VisibleText,
    /// The number of the line, and what follows the address of the version to get there.
    number: usize,
    fragment: String,
    before: VisibleText,
    found: VisibleText,
    after: VisibleText,
    /// Whether it is the last one shown of a content of which more lines have the text.
    has_more: bool,
}

/// Searches the active contents for what the search field has; none when that is empty.
///
/// # Errors
/// Errors of authorization and of the search.
pub async fn read_content_matches(visit: &Visit) -> Result<Option<ContentMatchesPart>> {
    let text = visit.fields.get("q");
    if text.is_empty() {
        return Ok(None);
    }
    let reached = visit.fields.get(REACHED_FIELD);
    let after = if reached.is_empty() { None } else { Some(PolicyId::parse(REACHED_FIELD, reached)?) };
    let asked = pb::ListActiveRequest { parent: visit.namespace_name(), ..pb::ListActiveRequest::default() };
    let context = visit.read(Rpc::ListActive, &asked).await?;
    let search = SearchActive { namespace: visit.namespace()?, text: text.to_owned(), after };
    let found = match visit.service().sync.search_active(&context, search).await {
        // The page has more to show than what is found in contents.
        Err(error) if matches!(error.reason, Reason::LimitExceeded | Reason::InvalidArgument) => {
            return Ok(Some(ContentMatchesPart::refused(&error)));
        }
        found => found?,
    };
    let reached = found.reached.as_ref();
    Ok(Some(ContentMatchesPart {
        refusal: None,
        rows: found.items.iter().flat_map(match_rows).collect(),
        searched: found.searched,
        active: found.active,
        next: reached.map(|policy| visit.page_with((REACHED_FIELD, policy.as_str()), &["q"])).unwrap_or_default(),
    }))
}

fn match_rows(found: &ActiveMatch) -> impl Iterator<Item = MatchRow> {
    let version = &found.bundle.version;
    let has_files = is_of_several_files(&version.content_type);
    let last = found.lines.len();
    found.lines.iter().enumerate().map(move |(index, line)| {
        let FoundLine { file, number, before, found: text, after } = line;
        let [before, text, after] = [before, text, after].map(|part| VisibleText::bounded(part, PART_MAX_CHARS));
        MatchRow {
            policy: version.policy.policy.to_string(),
            release: release_of(version),
            href: version_path(&version.policy, version.number),
            file: VisibleText::bounded(file, PART_MAX_CHARS),
            number: *number,
            // The page of a version has no lines of a content that has several files, and the first ones of a long one.
            fragment: if !has_files && has_line(&found.bundle.content, *number) {
                format!("#L{number}")
            } else {
                String::new()
            },
            before,
            found: text,
            after,
            has_more: found.has_more && index + 1 == last,
        }
    })
}
