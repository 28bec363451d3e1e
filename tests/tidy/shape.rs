//! Shape of files and words: lengths, headers, module names, private paths, and the reasons of `docs/errors.md`.
//!
//! Boundary: looks at text, never at imports.

use super::paths::names;
use super::source::{Source, code_only};

/// Files longer than the cap.
pub fn length(source: &Source, cap: usize) -> Vec<String> {
    let lines = source.text.lines().count();
    let advice = format!("{lines} lines, the cap is {cap}: split the file by what its parts answer");
    if lines > cap { vec![source.finding(cap + 1, &advice)] } else { Vec::new() }
}

/// Files that do not open with a header of one to `most` lines.
pub fn header(source: &Source, most: usize) -> Vec<String> {
    let lines = source.text.lines().take_while(|line| line.starts_with("//!")).count();
    let said = source.text.lines().next().is_some_and(|line| line.trim_start_matches("//!").trim().len() > 2);
    if lines == 0 || !said {
        vec![source.finding(1, "no header: open with `//!` lines that say purpose, boundary and invariant")]
    } else if lines > most {
        let advice = format!("a header of {lines} lines, {most} are the most: keep purpose, boundary and invariant");
        vec![source.finding(most + 1, &advice)]
    } else {
        Vec::new()
    }
}

/// Modules whose names say nothing.
pub fn module_names(source: &Source, refused: &[&str]) -> Vec<String> {
    let advice = |name: &str| format!("a module named `{name}` says nothing: name it by the question it answers");
    let file = source.path.strip_suffix(".rs").unwrap_or(&source.path);
    let of_path = file.split('/').filter(|part| refused.contains(part)).map(|part| source.finding(1, &advice(part)));
    let declared = names(source).modules;
    let inline = declared.iter().filter(|(name, _)| refused.contains(&name.as_str()));
    of_path.chain(inline.map(|(name, line)| source.finding(*line, &advice(name)))).collect()
}

/// Absolute paths that exist on one machine only. `roots` are names of directories below `/`.
pub fn private_paths(source: &Source, roots: &[&str]) -> Vec<String> {
    let mut findings = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        for root in roots.iter().filter(|root| names_root(line, root)) {
            let advice = format!("an absolute path below /{root}: make it relative, or a parameter");
            findings.push(source.finding(index + 1, &advice));
        }
    }
    findings
}

/// Returns whether a line holds `/` and a root as the start of an absolute path,
/// and not as the tail of a URL, a relative path or a variable.
fn names_root(line: &str, root: &str) -> bool {
    let part = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '-');
    let leads = |letter: char| part(letter) || matches!(letter, '.' | '~' | '*' | '/' | '}' | ')' | '>');
    line.match_indices(&format!("/{root}")).any(|(at, found)| {
        !line[..at].ends_with(leads) && !line[at + found.len()..].starts_with(|letter| part(letter) || letter == '.')
    })
}

/// Reasons without a section in the errors page, and sections of reasons that are none.
pub fn reasons(code: &Source, page: &Source) -> Vec<String> {
    let reasons = reasons_of(code);
    let sections = sections_of(page);
    let mut findings = Vec::new();
    if reasons.is_empty() {
        findings.push(code.finding(1, "no `enum Reason` found: tell tests/tidy/shape.rs where it went"));
    }
    for (reason, line) in &reasons {
        if !sections.iter().any(|(section, _, _)| section == reason) {
            findings
                .push(code.finding(*line, &format!("{reason} has no section: write `## {reason}` in {}", page.path)));
        }
    }
    for (section, line, says_something) in &sections {
        if !reasons.iter().any(|(reason, _)| reason == section) {
            findings.push(page.finding(*line, &format!("{section} is no reason of {}: drop the section", code.path)));
        } else if !says_something {
            findings
                .push(page.finding(*line, &format!("{section} is an empty section: say what the caller does next")));
        }
        if sections.iter().any(|(other, first, _)| other == section && first < line) {
            findings.push(page.finding(*line, &format!("{section} has two sections: keep one")));
        }
    }
    findings
}

/// Returns the variants of `enum Reason` as words of the wire, with their lines.
fn reasons_of(source: &Source) -> Vec<(String, usize)> {
    let code = code_only(&source.text);
    let numbered = code.lines().enumerate().map(|(index, line)| (line.trim(), index + 1));
    numbered
        .skip_while(|(line, _)| !line.ends_with("enum Reason {"))
        .skip(1)
        .take_while(|(line, _)| *line != "}")
        .filter_map(|(line, number)| Some((line.strip_suffix(',')?, number)))
        .map(|(variant, number)| (upper_snake(variant), number))
        .collect()
}

fn upper_snake(camel: &str) -> String {
    let mut word = String::new();
    for letter in camel.chars() {
        if letter.is_ascii_uppercase() && !word.is_empty() {
            word.push('_');
        }
        word.push(letter.to_ascii_uppercase());
    }
    word
}

/// Returns the `## REASON` sections of a page: word, line, and whether text follows before the next heading.
fn sections_of(page: &Source) -> Vec<(String, usize, bool)> {
    let lines: Vec<&str> = page.text.lines().collect();
    let mut sections = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(title) = line.strip_prefix("## ") else { continue };
        let word = title.trim().trim_matches('`');
        if word.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_') {
            let next = lines[index + 1..].iter().find(|line| !line.trim().is_empty());
            sections.push((word.to_owned(), index + 1, next.is_some_and(|line| !line.starts_with('#'))));
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Vec<String> = Vec::new();

    fn file(text: &str) -> Source {
        Source::sample("core/src/domain/x.rs", text)
    }

    #[test]
    fn a_file_over_the_cap_is_found() {
        assert_eq!(length(&file("a\nb\n"), 2), NONE);
        assert!(length(&file("a\nb\nc\n"), 2)[0].starts_with("core/src/domain/x.rs:3: 3 lines"));
    }

    #[test]
    fn a_missing_empty_or_endless_header_is_found() {
        assert_eq!(header(&file("//! What is true.\n//!\n//! Pure.\n\nuse x;\n"), 3), NONE);
        for text in ["use x;\n", "\n//! Late.\n", "// Not a header.\n", "//!\n//! Late.\n", "", "/// For an item.\n"] {
            assert_eq!(header(&file(text), 3).len(), 1, "{text:?}");
        }
        assert_eq!(header(&file("//! One.\n//! 2\n//! 3\n//! 4\n"), 3).len(), 1);
    }

    #[test]
    fn a_module_without_a_meaning_is_found() {
        let refused = ["util", "common"];
        assert_eq!(module_names(&file("mod utility; // mod util\nmod uncommon {}"), &refused), NONE);
        assert_eq!(module_names(&file("fn f() {}\npub mod util;"), &refused).len(), 1);
        assert_eq!(module_names(&file("mod common { }"), &refused).len(), 1);
        assert_eq!(module_names(&Source::sample("tests/it/common/mod.rs", ""), &refused).len(), 1);
        assert_eq!(module_names(&Source::sample("src/store/util.rs", ""), &refused).len(), 1);
    }

    #[test]
    fn a_path_of_one_machine_is_found() {
        let roots = ["attic"];
        let find = |text: &str| private_paths(&file(text), &roots);
        for text in ["x = \"/attic/a\"", "cd /attic", "a:/attic/b", "`/attic`", "(/attic/x)", "--out=/attic/y"] {
            assert_eq!(find(text).len(), 1, "{text}");
        }
        for text in ["https://a.b/attic/c", "./attic", "~/attic", "$HOME/attic", "${A}/attic", "/attics", "a/attic"] {
            assert_eq!(find(text), NONE, "{text}");
        }
    }

    #[test]
    fn reasons_and_sections_that_do_not_match_are_found() {
        let code =
            file("pub enum Reason {\n    // Fix it.\n    EtagMismatch,\n    Internal,\n}\nenum Other {\n    A,\n}\n");
        let page = |text: &str| Source::sample("docs/errors.md", text);
        let good = "# Errors\n## How to read\n## ETAG_MISMATCH\nLook again.\n## INTERNAL\n\nTell us.\n";
        assert_eq!(reasons(&code, &page(good)), NONE);
        for (bad, place) in [
            ("## ETAG_MISMATCH\nLook.\n", "core/src/domain/x.rs:4: INTERNAL has no section"),
            ("## ETAG_MISMATCH\nLook.\n## INTERNAL\nTell.\n## OLD_WORD\nGone.\n", "docs/errors.md:5: OLD_WORD is no"),
            ("## ETAG_MISMATCH\n## INTERNAL\nTell.\n", "docs/errors.md:1: ETAG_MISMATCH is an empty"),
            ("## ETAG_MISMATCH\nA.\n## INTERNAL\nB.\n## INTERNAL\nC.\n", "docs/errors.md:5: INTERNAL has two"),
        ] {
            let found = reasons(&code, &page(bad));
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].starts_with(place), "{found:?}");
        }
        assert_eq!(reasons(&file("struct Reason;"), &page("")).len(), 1);
    }
}
