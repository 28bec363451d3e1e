//! References: every link and citation leads to something, and none to what the repository does not hold.
//!
//! Boundary: looks at text. Citations are `docs/PAGE.md#anchor`; links are those of Markdown, relative to their file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::source::Source;

/// Directories of the repository that a path in backticks begins with.
const DIRECTORIES: &[&str] = &[
    "benches/",
    "client/",
    "config/",
    "core/",
    "docs/",
    "examples/",
    "fuzz/",
    "helm/",
    "migrations/",
    "proto/",
    "scripts/",
    "src/",
    "tests/",
];
/// Ends of names of files that are named in full.
const ENDS: &[&str] = &[".json", ".md", ".proto", ".py", ".rs", ".sh", ".toml", ".ts", ".yaml"];
/// Pages that are no part of the repository, and whose names are no citation.
const ELSEWHERE: &[&str] = &["DESIGN", "GUARANTEES", "STYLE", "THREATS"];

/// The anchors of each page, by its path.
pub type Anchors = BTreeMap<String, BTreeSet<String>>;

/// Reads the anchors of every page.
pub fn anchors(files: &[Source]) -> Anchors {
    let pages = files.iter().filter(|file| file.path.ends_with(".md"));
    pages.map(|page| (page.path.clone(), anchors_of(&page.text))).collect()
}

/// Returns the headings of a page, as code hosts name them, and what it names itself.
fn anchors_of(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in outside_of_fences(text) {
        if let Some(heading) = line.strip_prefix('#') {
            let heading = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = heading.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
            found.insert(kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect());
        }
        for after in line.split("<a id=\"").skip(1) {
            found.extend(after.split('"').next().map(str::to_owned));
        }
    }
    found
}

fn outside_of_fences(text: &str) -> impl Iterator<Item = &str> {
    let mut is_inside = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_inside ^= is_fence;
        !is_inside && !is_fence
    })
}

/// Links of a page that lead nowhere.
pub fn links(page: &Source, anchors: &Anchors, exists: &dyn Fn(&str) -> bool) -> Vec<String> {
    let mut findings = Vec::new();
    let mut is_inside = false;
    for (index, line) in page.text.lines().enumerate() {
        is_inside ^= line.trim_start().starts_with("```");
        let targets = line.split("](").skip(1).filter_map(|after| after.split(')').next());
        for target in targets.filter(|target| !is_inside && !target.contains("://") && !target.starts_with("mailto:")) {
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if path.is_empty() { page.path.clone() } else { beside(&page.path, path) };
            let has_anchor = || anchors.get(&path).is_none_or(|known| known.contains(anchor));
            if !exists(&path) || !(anchor.is_empty() || has_anchor()) {
                findings.push(page.finding(index + 1, &format!("`{target}` leads nowhere")));
            }
        }
    }
    findings
}

/// Returns a relative path, as seen from the root.
fn beside(page: &str, target: &str) -> String {
    let mut path = PathBuf::from(page);
    path.pop();
    for part in Path::new(target).components() {
        match part {
            Component::ParentDir => drop(path.pop()),
            Component::Normal(name) => path.push(name),
            _ => {}
        }
    }
    path.to_string_lossy().into_owned()
}

/// Citations of pages, sections and files that are not there.
pub fn citations(file: &Source, anchors: &Anchors, exists: &dyn Fn(&str) -> bool) -> Vec<String> {
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        let mut page = String::new();
        for word in line.split(|letter: char| !(letter.is_alphanumeric() || "#._-/".contains(letter))) {
            let word = word.trim_end_matches(['.', '-']);
            if let Some((path, anchor)) =
                word.split_once('#').filter(|(path, _)| path.starts_with("docs/") && path.ends_with(".md"))
            {
                page = path.to_owned();
                if !anchors.get(path).is_some_and(|known| known.contains(anchor)) {
                    findings.push(file.finding(index + 1, &format!("`{word}` leads nowhere")));
                }
            } else if let Some(anchor) = word.strip_prefix('#').filter(|_| !page.is_empty())
                && !anchors.get(&page).is_some_and(|known| known.contains(anchor))
            {
                findings.push(file.finding(index + 1, &format!("`{page}#{anchor}` leads nowhere")));
            } else if ELSEWHERE.contains(&word) {
                findings.push(file.finding(index + 1, &format!("{word} is no page of this repository: cite docs/")));
            }
        }
        for named in line.split('`').skip(1).step_by(2) {
            let is_path = is_in_full(named) && ENDS.iter().any(|end| named.ends_with(end));
            let is_plain = named.chars().all(|letter| letter.is_alphanumeric() || "._-/".contains(letter));
            if is_path && is_plain && !exists(named) {
                findings.push(file.finding(index + 1, &format!("there is no file `{named}`")));
            }
        }
    }
    findings
}

/// Returns whether a path begins at the root of the repository.
pub fn is_in_full(path: &str) -> bool {
    DIRECTORIES.iter().any(|start| path.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Source {
        Source::sample("docs/a.md", text)
    }

    fn known() -> Anchors {
        anchors(&[
            page("# The first page\n<a id=\"g1\"></a>\n```\n# no heading\n```\n"),
            Source::sample("README.md", "# Read me\n"),
        ])
    }

    fn exists(path: &str) -> bool {
        ["docs/a.md", "README.md", "src/lib.rs"].contains(&path)
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        for (text, count) in [
            ("[a](../README.md) [b](#the-first-page) [c](a.md#g1) [d](https://example.org/x#y)", 0),
            ("```\n[a](gone.md)\n```", 0),
            ("[a](gone.md)", 1),
            ("[a](#no-heading) [b](../README.md#gone)", 2),
        ] {
            assert_eq!(links(&page(text), &known(), &exists).len(), count, "{text}");
        }
    }

    #[test]
    fn citations_of_what_is_not_there_are_found() {
        for (text, count) in [
            ("// docs/a.md#g1, and `src/lib.rs`.", 0),
            ("// docs/a.md#g1, #the-first-page", 0),
            ("// docs/a.md#g1, #g2", 1),
            ("// docs/a.md#g7, docs/gone.md#g1", 2),
            ("// DESIGN rule 5", 1),
            ("// `src/gone.rs` and `docs/*.md`", 1),
        ] {
            assert_eq!(citations(&Source::sample("src/lib.rs", text), &known(), &exists).len(), count, "{text}");
        }
    }
}
