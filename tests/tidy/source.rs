//! Reads the tree: which files there are, and a Rust file with its comments and literals blanked out.
//!
//! Boundary: knows nothing of the rules. Invariant: blanking keeps every line where it was.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One file of the repository.
pub struct Source {
    /// Relative to the root, with forward slashes.
    pub path: String,
    /// As it is.
    pub text: String,
}

impl Source {
    /// Returns a made-up file, for the tests of the rules.
    pub fn sample(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// Returns where a finding is and what to do.
    pub fn finding(&self, line: usize, advice: &str) -> String {
        format!("{}:{line}: {advice}", self.path)
    }
}

/// Returns the root of the repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Returns every `.rs` file below the given directories, in order of their paths. A directory that is absent has none.
pub fn rust_files(directories: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    for directory in directories {
        collect(&root().join(directory), &mut found);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn collect(directory: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.extend(read(&path));
        }
    }
}

/// Returns every text file that git tracks, or would track once added.
pub fn tracked_files() -> Vec<Source> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("failed to run git: this test asks it which files are tracked");
    assert!(output.status.success(), "failed to list files: {}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8_lossy(&output.stdout).into_owned();
    names.split('\0').filter(|name| !name.is_empty()).filter_map(|name| read(&root().join(name))).collect()
}

/// Returns a file as text; none when it is gone or is not text.
pub fn read(path: &Path) -> Option<Source> {
    let text = String::from_utf8(fs::read(path).ok()?).ok()?;
    let path = path.strip_prefix(root()).ok()?.to_string_lossy().replace('\\', "/");
    Some(Source { path, text })
}

/// Returns the code of a Rust file: comments and the insides of string and character literals become blanks.
pub fn code_only(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < letters.len() {
        let end = skipped_until(&letters, at);
        if end == at {
            code.push(letters[at]);
            at += 1;
        } else {
            code.extend(letters[at..end].iter().map(|letter| if *letter == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    code
}

/// Returns where the comment or literal that starts at `at` ends; `at` itself when none starts there.
fn skipped_until(letters: &[char], at: usize) -> usize {
    let is = |offset: usize, wanted: char| letters.get(at + offset) == Some(&wanted);
    match letters[at] {
        '/' if is(1, '/') => find(letters, at, &['\n']).unwrap_or(letters.len()),
        '/' if is(1, '*') => block_comment_end(letters, at),
        '"' => string_end(letters, at),
        'r' if !continues_word(letters, at) => raw_string_end(letters, at).unwrap_or(at),
        // 'x' and '\…' are characters; 'x without a closing quote is a lifetime.
        '\'' if is(1, '\\') => find(letters, at + 3, &['\'']).map_or(letters.len(), |end| end + 1),
        '\'' if is(2, '\'') => at + 3,
        _ => at,
    }
}

fn find(letters: &[char], from: usize, wanted: &[char]) -> Option<usize> {
    (from..letters.len()).find(|start| letters[*start..].starts_with(wanted))
}

fn block_comment_end(letters: &[char], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at < letters.len() {
        if letters[at..].starts_with(&['/', '*']) {
            depth += 1;
            at += 2;
        } else if letters[at..].starts_with(&['*', '/']) {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn string_end(letters: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < letters.len() && letters[at] != '"' {
        at += if letters[at] == '\\' { 2 } else { 1 };
    }
    letters.len().min(at + 1)
}

fn raw_string_end(letters: &[char], start: usize) -> Option<usize> {
    let hashes = letters[start + 1..].iter().take_while(|letter| **letter == '#').count();
    if letters.get(start + 1 + hashes) != Some(&'"') {
        return None;
    }
    let mut close = vec!['"'];
    close.resize(hashes + 1, '#');
    Some(find(letters, start + 2 + hashes, &close).map_or(letters.len(), |end| end + close.len()))
}

/// Returns whether the letter before belongs to the same word: `br"…"` starts a raw string, `for"…"` does not.
fn continues_word(letters: &[char], at: usize) -> bool {
    let in_word = |back: usize| {
        let letter = at.checked_sub(back).map(|index| letters[index]);
        letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
    };
    let prefixed = at > 0 && matches!(letters[at - 1], 'b' | 'c') && !in_word(2);
    in_word(1) && !prefixed
}

#[test]
fn comments_and_literals_are_blanked_and_lines_stay() {
    let text = "a(); // tokio::x\n/* tokio /* y */ tokio */ b();\nlet s = \"tokio \\\" tokio\\\\\"; c();\n\
        let r = br#\"tokio \" tokio\"#; let q = '\"'; let e = '\\''; d::<'static>();\nfor r#type in x {}\n";
    let code = code_only(text);
    assert!(!code.contains("tokio"), "{code}");
    assert_eq!(code.lines().count(), text.lines().count());
    for kept in ["a();", "b();", "c();", "d::<'static>();", "for r#type in x {}"] {
        assert!(code.contains(kept), "{kept} was lost: {code}");
    }
}
