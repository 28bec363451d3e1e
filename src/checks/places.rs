//! Adds to findings with a JSON Pointer the line and column of the value, which people look for.
//!
//! JSON is read as YAML here: a JSON content that parsed is a document of both (YAML 1.2.2 §1.3). Where a reader of YAML takes it
//! differently, a finding stays without a place.

use granit_parser::{Event, Marker, Parser};

use super::content_tar;
use super::parse_failure::count;
use crate::domain::policy::PolicyKind;
use crate::domain::report::{CheckFinding, Report};

/// Adds the places to a report of a content.
pub fn add_places(report: &mut Report, kind: PolicyKind, has_several_files: bool, content: &[u8]) {
    if !matches!(kind, PolicyKind::Json | PolicyKind::Yaml | PolicyKind::Template) {
        return;
    }
    let is_without_place = |finding: &&mut CheckFinding| finding.line == 0 && !finding.pointer.is_empty();
    let findings = report.checks.iter_mut().flat_map(|check| &mut check.findings).filter(is_without_place);
    let mut findings: Vec<&mut CheckFinding> = findings.collect();
    if findings.is_empty() {
        return;
    }
    if !has_several_files {
        return place(findings, content);
    }
    let files = content_tar::read(content).unwrap_or_default();
    for file in files {
        let (here, others) = findings.into_iter().partition(|finding| finding.file == file.path);
        place(here, file.bytes);
        findings = others;
    }
}

/// Returns line and column, from 1, of the value that a JSON Pointer leads to in a text of YAML or JSON; else of the deepest value on its
/// way. `None`: the text is not a document, or the pointer does not begin in it.
#[must_use]
pub fn place_of(text: &str, pointer: &str) -> Option<(u32, u32)> {
    let mut wanted = [Wanted::of(pointer)];
    find_places(text, &mut wanted)?;
    let [Wanted { at, .. }] = wanted;
    at.map(|at| (count(at.line()), count(at.col() + 1)))
}

fn place(findings: Vec<&mut CheckFinding>, content: &[u8]) {
    let Ok(text) = std::str::from_utf8(content) else { return };
    let mut wanted: Vec<Wanted> = findings.iter().map(|finding| Wanted::of(&finding.pointer)).collect();
    if wanted.is_empty() || find_places(text, &mut wanted).is_none() {
        return;
    }
    for (finding, Wanted { at, .. }) in findings.into_iter().zip(wanted) {
        if let Some(at) = at {
            (finding.line, finding.column) = (count(at.line()), count(at.col() + 1));
        }
    }
}

/// A pointer, and the place of the deepest value on its way that was met.
struct Wanted {
    tokens: Vec<String>,
    met: usize,
    at: Option<Marker>,
}

impl Wanted {
    fn of(pointer: &str) -> Self {
        let tokens = pointer.split('/').skip(1).map(|token| token.replace("~1", "/").replace("~0", "~")).collect();
        Self { tokens, met: 0, at: None }
    }
}

/// A list or map that is open, with the part of a pointer that leads to its next value.
enum Open {
    List(usize),
    Map(Option<(String, Marker)>),
}

/// Finds the places. `None`: the text is not a document of YAML.
fn find_places(text: &str, wanted: &mut [Wanted]) -> Option<()> {
    let mut documents = 0;
    for next in Parser::new_from_str(text) {
        documents += usize::from(matches!(next.ok()?.0, Event::DocumentStart(..)));
    }
    // A pointer into a stream begins with the index of the document.
    let mut open: Vec<Open> = (documents > 1).then_some(Open::List(0)).into_iter().collect();
    for next in Parser::new_from_str(text) {
        let (event, span) = next.ok()?;
        let (is_collection, begins) = match &event {
            Event::SequenceStart(..) => (true, Some(Open::List(0))),
            Event::MappingStart(..) => (true, Some(Open::Map(None))),
            Event::Scalar(text, ..) if wants_key(&open) => {
                set_key(&mut open, text, span.start);
                continue;
            }
            // The parser tells no text of an alias; as a key it stands for one that no pointer here leads to.
            Event::Alias(_) if wants_key(&open) => {
                set_key(&mut open, "", span.start);
                continue;
            }
            Event::Scalar(..) | Event::Alias(_) => (span.start.index() == span.end.index(), None),
            Event::SequenceEnd | Event::MappingEnd => {
                open.pop();
                advance(&mut open);
                continue;
            }
            _ => continue,
        };
        meet(&open, span.start, is_collection, wanted);
        match begins {
            Some(begins) => open.push(begins),
            None => advance(&mut open),
        }
    }
    Some(())
}

fn wants_key(open: &[Open]) -> bool {
    matches!(open.last(), Some(Open::Map(None)))
}

fn set_key(open: &mut [Open], text: &str, at: Marker) {
    if let Some(Open::Map(key)) = open.last_mut() {
        *key = Some((text.to_owned(), at));
    }
}

fn advance(open: &mut [Open]) {
    match open.last_mut() {
        Some(Open::List(index)) => *index += 1,
        Some(Open::Map(key)) => *key = None,
        None => {}
    }
}

/// Notes the place of a value for the pointers whose way leads to it. A list or map in a map is where its key is, and so is nothing.
fn meet(open: &[Open], at: Marker, is_at_key: bool, wanted: &mut [Wanted]) {
    let Some(last) = open.last() else { return };
    let at = match last {
        Open::Map(Some((_, key_at))) if is_at_key => *key_at,
        _ => at,
    };
    // What leads to the value that contains this one was met before, so the last part decides, together with their number.
    for each in wanted.iter_mut().filter(|each| each.met + 1 == open.len()) {
        let leads = |(open, token): (&Open, &String)| match open {
            // Without a text of the index: a list of half a million is looked through for each pointer.
            Open::List(index) => token.parse() == Ok(*index),
            Open::Map(key) => key.as_ref().is_some_and(|(key, _)| key == token),
        };
        let is_on_way = each.tokens.len() >= open.len() && open.iter().zip(&each.tokens).rev().all(leads);
        if is_on_way {
            (each.met, each.at) = (open.len(), Some(at));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::digest::Digest;
    use crate::domain::report::{Check, CheckResult, Severity};
    use crate::domain::time::Micros;

    fn places(kind: PolicyKind, text: &str, pointers: &[&str]) -> Vec<(u32, u32)> {
        let finding = |pointer: &&str| CheckFinding::new(Severity::Error, "x").at_pointer(*pointer);
        let check = Check::of("c", CheckResult::Failed, pointers.iter().map(finding).collect());
        let mut report = Report::new(Digest::from_sha256(&[0; 32]), String::new(), vec![check], Micros(0));
        add_places(&mut report, kind, false, text.as_bytes());
        report.checks[0].findings.iter().map(|finding| (finding.line, finding.column)).collect()
    }

    #[test]
    fn values_are_found_where_they_stand() {
        let yaml = "a:\n  b: [1, é, {c: 2}]\n'x/y~z': &k\n  d:\nalias: *k\n";
        let pointers =
            ["/a", "/a/b", "/a/b/1", "/a/b/2/c", "/x~1y~0z/d", "/alias/d", "/a/b/9", "/nothing", "/a/b/2", ""];
        let found = [(1, 1), (2, 3), (2, 10), (2, 17), (4, 3), (5, 8), (2, 3), (0, 0), (2, 13), (0, 0)];
        assert_eq!(places(PolicyKind::Yaml, yaml, &pointers), found);
        let json = "{\n\t\"a\": {\"b\\u0041\":\n [1,\t\"ü\",2]}}";
        assert_eq!(places(PolicyKind::Json, json, &["/a/bA/2", "/a/bA"]), [(3, 10), (2, 8)]);
        let with_bom = "\u{feff}a: 1\nb: 2\n";
        assert_eq!(places(PolicyKind::Yaml, with_bom, &["/a", "/b"]), [(1, 4), (2, 4)], "no column");
    }

    #[test]
    fn a_pointer_into_a_stream_begins_with_the_document() {
        assert_eq!(places(PolicyKind::Yaml, "a: 1\n---\na: 2\n", &["/0/a", "/1/a", "/2/a"]), [(1, 4), (3, 4), (0, 0)]);
        assert_eq!(places(PolicyKind::Yaml, "- 1\n- - 2\n", &["/1/0"]), [(2, 5)]);
    }

    #[test]
    fn what_is_no_document_stays_without_places() {
        assert_eq!(places(PolicyKind::Json, r#"{"a":"\ud83d\ude00","b":1}"#, &["/b"]), [(1, 25)]);
        assert_eq!(places(PolicyKind::Yaml, "a: 1\nb: [", &["/a"]), [(0, 0)]);
        assert_eq!(places(PolicyKind::Cedar, "a: 1", &["/a"]), [(0, 0)]);
    }

    proptest! {
        #[test]
        fn a_place_is_that_of_the_value(before in "[ \n]{0,8}", keys in proptest::collection::vec("[a-z~/]{1,4}", 1..6)) {
            let open: String = keys.iter().map(|key| format!("{{\"{key}\":{before}")).collect();
            let text = format!("{open}\"@\"{}", "}".repeat(keys.len()));
            let pointer: String = keys.iter().map(|key| format!("/{}", key.replace('~', "~0").replace('/', "~1"))).collect();
            let (line, column) = places(PolicyKind::Json, &text, &[&pointer])[0];
            let found = text.lines().nth(line as usize - 1).and_then(|line| line.get(column as usize - 1..));
            prop_assert!(found.is_some_and(|rest| rest.starts_with("\"@\"")), "{line}:{column} of {text:?}");
        }

        #[test]
        fn any_text_ends(text in "[-a1\\[\\]{}:,?&*!|>'\"%#@~<. \t\n\\\\]{0,60}", pointer in "(/[a1~]{0,2}){0,3}") {
            places(PolicyKind::Yaml, &text, &[&pointer]);
        }
    }
}
