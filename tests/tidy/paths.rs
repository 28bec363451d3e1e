//! Finds the paths a Rust file names: in `use` trees, with groups spelt out, and in code.
//!
//! Not a parser: it reads words and signs, which is enough for `a::b::c`. Invariant: a path is relative to where it
//! stands, so each carries the inline modules around it and whether it belongs to test code.

use super::source::{Source, code_only};

/// A path, such as `crate::store::open`.
#[derive(Clone, Debug, Default)]
pub struct Path {
    /// Its words; a glob is `*`.
    pub segments: Vec<String>,
    /// Line of its first word.
    pub line: usize,
    /// Inline modules around it, outermost first.
    pub inside: Vec<String>,
    /// Stands in a `use`.
    pub imported: bool,
    /// Stands in a `pub use`: it is handed on.
    pub handed_on: bool,
    /// Stands below `#[cfg(test)]`.
    pub in_test: bool,
}

/// Holds what a Rust file names.
#[derive(Default)]
pub struct Names {
    /// Every path of two words or more, and every imported one.
    pub paths: Vec<Path>,
    /// Every `mod x`, with its line.
    pub modules: Vec<(String, usize)>,
    /// Those of them that stand below `#[cfg(test)]`.
    pub test_modules: Vec<String>,
}

struct Token {
    word: String,
    line: usize,
}

impl Token {
    fn is_word(&self) -> bool {
        self.word.starts_with(|letter: char| letter.is_alphanumeric() || letter == '_')
    }
}

/// Reads the names of a file.
pub fn names(source: &Source) -> Names {
    let tokens = tokens(&code_only(&source.text));
    let mut names = Names::default();
    let mut open: Vec<Option<String>> = Vec::new();
    let mut test_end = 0;
    let mut at = 0;
    while at < tokens.len() {
        if starts_with(&tokens, at, &["#", "[", "cfg", "(", "test", ")", "]"]) {
            test_end = test_end.max(item_end(&tokens, at + 7));
        }
        let here = Path {
            line: tokens[at].line,
            inside: open.iter().flatten().cloned().collect(),
            in_test: at < test_end,
            ..Path::default()
        };
        let mut next = at + 1;
        match tokens[at].word.as_str() {
            "{" => open.push(module_opened_at(&tokens, at)),
            "}" => drop(open.pop()),
            "mod" if tokens.get(next).is_some_and(Token::is_word) => {
                names.modules.push((tokens[next].word.clone(), here.line));
                names.test_modules.extend(here.in_test.then(|| tokens[next].word.clone()));
                next += 1;
            }
            "use" if !starts_with(&tokens, next, &["<"]) => {
                // `pub use`, or `pub(super) use`.
                let handed_on = at > 0 && ["pub", ")"].contains(&tokens[at - 1].word.as_str());
                next = read_tree(&tokens, next, &Path { imported: true, handed_on, ..here }, &mut names.paths);
            }
            _ if starts_path(&tokens, at) => {
                let segments = read_path(&tokens, at);
                next = at + segments.len() * 2 - 1;
                if segments.len() > 1 {
                    names.paths.push(Path { segments, ..here });
                }
            }
            _ => {}
        }
        at = next;
    }
    names
}

fn tokens(code: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let word = |letter: char| letter.is_alphanumeric() || letter == '_';
            let length = if word(first) {
                rest.find(|letter| !word(letter)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            tokens.push(Token { word: rest[..length].to_owned(), line: index + 1 });
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

fn starts_with(tokens: &[Token], at: usize, words: &[&str]) -> bool {
    words.iter().enumerate().all(|(offset, word)| tokens.get(at + offset).is_some_and(|token| token.word == *word))
}

/// Returns where the item that starts at `at` ends: after its block, or after the semicolon when it has none.
fn item_end(tokens: &[Token], at: usize) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(at) {
        match token.word.as_str() {
            "{" => depth += 1,
            "}" if depth <= 1 => return index + 1,
            "}" => depth -= 1,
            ";" if depth == 0 => return index + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// Returns the `x` of the `mod x {` whose brace is at `at`.
fn module_opened_at(tokens: &[Token], at: usize) -> Option<String> {
    (at >= 2 && tokens[at - 2].word == "mod").then(|| tokens[at - 1].word.clone())
}

/// Returns whether a word begins a path here, not continues one (`a::b`) nor names a member (`a.b`).
fn starts_path(tokens: &[Token], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).map(|index| &tokens[index]);
    let continued = || before(2).is_some_and(|token| token.is_word() || token.word == ">");
    tokens[at].is_word()
        && match before(1).map(|token| token.word.as_str()) {
            Some(".") => false,
            Some("::") => !continued(),
            _ => true,
        }
}

fn read_path(tokens: &[Token], at: usize) -> Vec<String> {
    let mut segments = vec![tokens[at].word.clone()];
    let mut next = at + 1;
    while tokens.get(next).is_some_and(|token| token.word == "::") && tokens.get(next + 1).is_some_and(Token::is_word) {
        segments.push(tokens[next + 1].word.clone());
        next += 2;
    }
    segments
}

/// Reads one branch of a `use` tree into `paths`, one path per leaf, and says where it ends.
fn read_tree(tokens: &[Token], mut at: usize, prefix: &Path, paths: &mut Vec<Path>) -> usize {
    let mut path = prefix.clone();
    while let Some(token) = tokens.get(at) {
        match token.word.as_str() {
            "{" => {
                at += 1;
                // A `;` ends the group too: what looks like a tree and is none must not be read for ever.
                while tokens.get(at).is_some_and(|token| token.word != "}" && token.word != ";") {
                    at = read_tree(tokens, at, &Path { line: tokens[at].line, ..path.clone() }, paths);
                    at += usize::from(tokens.get(at).is_some_and(|token| token.word == ","));
                }
                return at + 1;
            }
            ";" | "," | "}" => break,
            "as" => at += 1,
            // `self` inside a group is the prefix itself.
            "self" if !path.segments.is_empty() => {}
            "::" => {}
            _ => path.segments.push(token.word.clone()),
        }
        at += 1;
    }
    paths.push(path);
    at
}

#[test]
fn use_trees_code_paths_and_test_modules_are_read() {
    let text = "use crate::{domain::{self, Error}, store as shelf};\nuse ::ring::digest;\nmod inner {\n    \
        fn f(a: &super::B) { a.ring(); tokio::time::sleep(1); Vec::<u8>::new(); }\n}\n#[cfg(test)]\nmod tests {\n    \
        use super::*;\n}\nfn g() { axum::serve() }\n";
    let names = names(&Source::sample("src/x/y.rs", text));
    let shown: Vec<String> = names
        .paths
        .iter()
        .map(|path| format!("{} {} {:?} {}", path.line, path.segments.join("::"), path.inside, path.in_test))
        .collect();
    assert_eq!(
        shown,
        [
            "1 crate::domain [] false",
            "1 crate::domain::Error [] false",
            "1 crate::store [] false",
            "2 ring::digest [] false",
            "4 super::B [\"inner\"] false",
            "4 tokio::time::sleep [\"inner\"] false",
            "8 super::* [\"tests\"] true",
            "10 axum::serve [] false",
        ]
    );
    assert_eq!(names.modules, [("inner".to_owned(), 3), ("tests".to_owned(), 7)]);
}
