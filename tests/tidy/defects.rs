//! Planted defects: a function holds one at most, so that a reader can skip it and see what the function does.
//!
//! Boundary: looks at functions and calls of `planted`, by their text. Nested functions count by themselves; closures do not.

use super::source::{Source, code_only};

const CALL: &str = "planted(";

/// Functions that ask for a planted defect more than once: the line of each question after the first.
pub fn planted_twice(source: &Source) -> Vec<String> {
    let code = code_only(&source.text);
    let bodies = function_bodies(&code);
    let innermost = |at: usize| bodies.iter().rposition(|(start, end)| (*start..*end).contains(&at));
    let calls = code.match_indices(CALL).filter(|(at, _)| !code[..*at].ends_with(|letter: char| is_of_word(letter)));
    let mut seen = Vec::new();
    let mut findings = Vec::new();
    for (at, _) in calls {
        let Some(function) = innermost(at) else { continue };
        if seen.contains(&function) {
            let line = code[..at].lines().count();
            findings
                .push(source.finding(line, "a second planted defect in one function: move one to where it is a seam"));
        }
        seen.push(function);
    }
    findings
}

fn is_of_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Returns where the bodies of functions start and end, in the order of their starts: the last one around a place is the innermost.
fn function_bodies(code: &str) -> Vec<(usize, usize)> {
    let starts = code.match_indices("fn ").filter(|(at, _)| !code[..*at].ends_with(is_of_word));
    starts.filter_map(|(at, _)| body(code, at)).collect()
}

/// Returns the braces after a signature; none when it ends in a semicolon, as in a trait.
fn body(code: &str, signature: usize) -> Option<(usize, usize)> {
    let mut brackets = 0_usize;
    let mut start = None;
    for (offset, letter) in code[signature..].char_indices() {
        let at = signature + offset;
        match letter {
            '(' | '[' if start.is_none() => brackets += 1,
            ')' | ']' if start.is_none() => brackets = brackets.checked_sub(1)?,
            ';' if start.is_none() && brackets == 0 => return None,
            '{' if start.is_none() && brackets == 0 => (start, brackets) = (Some(at), 1),
            '{' if start.is_some() => brackets += 1,
            '}' if start.is_some() => {
                brackets -= 1;
                if brackets == 0 {
                    return start.map(|start| (start, at));
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str) -> Vec<String> {
        planted_twice(&Source::sample("src/store/x.rs", text))
    }

    #[test]
    fn a_function_with_two_planted_defects_is_found() {
        let twice = "fn f(a: [u8; 2]) -> bool {\n    if planted(A) {\n    }\n    planted(B)\n}\n";
        let found = find(twice);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("src/store/x.rs:4: a second planted defect"), "{found:?}");
        assert_eq!(find("async fn f() { if planted(A) || planted(B) { g(); } }").len(), 1, "on one line");
        assert_eq!(find("fn f() { g(|| planted(A)); h(move || { planted(A) }) }").len(), 1, "in closures");
    }

    #[test]
    fn one_planted_defect_in_each_function_is_allowed() {
        for text in [
            "fn f() { planted(A) }\nfn g() { planted(A) }",
            "fn f() { fn g() { planted(A) }\n planted(B) }",
            "trait T { fn f(); fn g() { planted(A) } }",
            "pub const fn planted(_: Defect) -> bool { false }\nuse x::planted;",
            "fn f() { planted(A); // planted(B)\n \"planted(C)\"; transplanted(D) }",
        ] {
            assert_eq!(find(text), Vec::<String>::new(), "{text}");
        }
    }
}
