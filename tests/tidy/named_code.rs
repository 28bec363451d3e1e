//! Names of code in pages: every file and function that a page names in backticks is one of the tree.
//!
//! Boundary: looks at text, at short names of files, `hub.rs` or `watch/hub.rs`, and at the function of `Type::function`. Paths in full
//! are citations.

use std::collections::BTreeSet;

use super::citations::is_in_full;
use super::source::Source;

/// The files, modules and functions of a tree, and the targets of its Makefile.
#[derive(Debug, Default)]
pub struct KnownCode {
    paths: Vec<String>,
    names: BTreeSet<String>,
    targets: BTreeSet<String>,
}

impl KnownCode {
    /// Reads the names of files and directories, and of functions in Rust.
    pub fn of(files: &[Source]) -> Self {
        let mut known = Self::default();
        for file in files {
            known.paths.push(format!("/{}", file.path));
            let modules = file.path.split('/').map(|part| part.trim_end_matches(".rs").to_owned());
            known.names.extend(modules);
            if file.path == "Makefile" {
                let targets = file.text.lines().filter_map(|line| line.split_once(':'));
                known.targets.extend(targets.map(|(target, _)| target.to_owned()));
            }
            if file.path.ends_with(".rs") {
                let after = file.text.split("fn ").skip(1);
                known.names.extend(after.map(|rest| rest.chars().take_while(|it| is_of_name(*it)).collect::<String>()));
            }
        }
        known
    }

    /// Finds the names of a page that nothing in the tree has.
    pub fn unknown_names(&self, page: &Source) -> Vec<String> {
        let mut findings = Vec::new();
        for (index, line) in page.text.lines().enumerate() {
            for named in line.split('`').skip(1).step_by(2) {
                if let Some(target) = named.strip_prefix("make ").and_then(|line| line.split(' ').next()) {
                    if !self.targets.contains(target) {
                        findings.push(page.finding(index + 1, &format!("there is no target `{target}`")));
                    }
                } else if named.ends_with(".rs")
                    && !is_in_full(named)
                    && named.chars().all(|it| is_of_name(it) || "./".contains(it))
                {
                    let end = format!("/{named}");
                    if !self.paths.iter().any(|path| path.ends_with(&end)) {
                        findings.push(page.finding(index + 1, &format!("there is no file `{named}`")));
                    }
                } else if let Some((owner, function)) = named.rsplit_once("::")
                    && named.chars().all(|it| is_of_name(it) || it == ':')
                    && function.starts_with(|it: char| it.is_ascii_lowercase())
                    && !owner.starts_with("tokio")
                    && !self.names.contains(function)
                {
                    findings.push(page.finding(index + 1, &format!("there is no function or module `{named}`")));
                }
            }
        }
        findings
    }
}

fn is_of_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_what_is_not_there_are_found() {
        let known = KnownCode::of(&[
            Source::sample("Makefile", "test: build ## Run\n\tcargo test\n"),
            Source::sample("src/watch/hub.rs", "impl Hub {\n    pub async fn wake(&self) {}\n}\n"),
        ]);
        for (text, count) in [
            ("`hub.rs`, `watch/hub.rs`, `src/watch/hub.rs`, `Hub::wake`, `tokio::spawn`, `std`", 0),
            ("`make test`, `make test SEED=1`", 0),
            ("`src/gone.rs`, which citations look up", 0),
            ("`make tset`", 1),
            ("`ub.rs`", 1),
            ("`store/hub.rs` and `Hub::sleep`", 2),
        ] {
            assert_eq!(known.unknown_names(&Source::sample("docs/a.md", text)).len(), count, "{text}");
        }
    }
}
