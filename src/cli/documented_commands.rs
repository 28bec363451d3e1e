//! The commands in the pages of the repository are commands of this program.

use clap::CommandFactory as _;

use super::command_line::Cli;

/// Returns the pages of the repository that people read commands in.
fn pages() -> Vec<(String, String)> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![root.join("README.md"), root.join("client/README.md"), root.join("CONTRIBUTING.md")];
    let examples =
        ["ci", "go", "guardrails", "pre-commit", "python", "typescript"].map(|name| format!("examples/{name}"));
    for directory in ["docs".to_owned(), "docs/operations".to_owned()].into_iter().chain(examples) {
        let listed = std::fs::read_dir(root.join(directory)).expect("a directory of pages");
        pages.extend(
            listed
                .map(|entry| entry.expect("an entry").path())
                .filter(|path| path.extension().is_some_and(|it| it == "md")),
        );
    }
    let read = |path: std::path::PathBuf| (path.display().to_string(), std::fs::read_to_string(&path).expect("a page"));
    pages.into_iter().map(read).collect()
}

/// Returns the first word of a command that is not defined: a subcommand or a long flag.
fn undefined_word(root: &clap::Command, line: &str) -> Option<String> {
    let mut command = root;
    let mut words = line.split_whitespace().take_while(|word| !matches!(*word, "|" | "||" | "&&" | ";" | "#" | ">"));
    while let Some(word) = words.next() {
        if word.starts_with('-') {
            let name: String = word.chars().take_while(|it| it.is_ascii_alphanumeric() || *it == '-').collect();
            let is_named = |argument: &&clap::Arg| {
                let longs = argument.get_long_and_visible_aliases().unwrap_or_default();
                let short = argument.get_short().map(|letter| format!("-{letter}"));
                longs.iter().any(|long| format!("--{long}") == name) || short.as_deref() == Some(&*name)
            };
            match command.get_arguments().find(is_named).or_else(|| root.get_arguments().find(is_named)) {
                Some(flag) if flag.get_action().takes_values() && !word.contains('=') => _ = words.next(),
                Some(_) => {}
                None if ["-", "--", "-h", "--help", "-V", "--version"].contains(&&*name) => {}
                None => return Some(word.to_owned()),
            }
        } else if let Some(inner) = command.find_subcommand(word) {
            command = inner;
        } else if command.has_subcommands() && word.starts_with(|it: char| it.is_ascii_lowercase()) {
            return Some(word.to_owned());
        }
    }
    None
}

/// Given the commands in code of every page, then each of their subcommands and long flags is defined.
#[test]
fn commands_in_the_pages_are_defined() {
    let root = Cli::command();
    let (mut count, mut undefined) = (0, Vec::new());
    for (path, text) in pages() {
        for line in text.lines() {
            let block = line.trim_start().trim_start_matches("$ ");
            let spans = line.split('`').skip(1).step_by(2).chain(line.starts_with("    ").then_some(block));
            for command in spans.filter_map(|span| span.strip_prefix("policyhub ")) {
                count += 1;
                undefined.extend(undefined_word(&root, command).map(|word| format!("{path}: {command}: {word}")));
            }
        }
    }
    assert!(count > 100, "{count} commands were found: where are the pages?");
    assert!(undefined.is_empty(), "not defined:\n{}", undefined.join("\n"));
}

#[test]
fn undefined_words_of_commands_are_found() {
    let root = Cli::command();
    for (line, found) in [
        ("draft pricing pricing.yaml --create", None),
        ("--output json keys list", None),
        ("-n team-a active", None),
        ("role grant admin local:a --all-namespaces && policyhub x", None),
        ("drift pricing", Some("drift")),
        ("keys lift", Some("lift")),
        ("active --at-revison 7", Some("--at-revison")),
    ] {
        assert_eq!(undefined_word(&root, line).as_deref(), found, "{line}");
    }
}
