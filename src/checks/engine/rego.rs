//! Rego: parses modules and data, compiles them together, and runs the tests of the content.

use std::num::{NonZeroU32, NonZeroUsize};

use regorus::utils::limits::PolicyLengthConfig;
use regorus::{Engine, Value};

use super::rego_builtins::replace_builtins;
use super::rego_error::finding;
use super::rego_tests::run_tests;
use super::texts::{TextFile, has_extension};
use crate::checks::check_limit::ANSWER_FINDINGS_MAX;
use crate::checks::document;
use crate::checks::parse_failure::DOES_NOT_PARSE;
use crate::domain::counted_noun::counted_noun;
use crate::domain::limits::CONTENT_MAX_BYTES;
use crate::domain::policy::PolicyKind;
use crate::domain::report::{CheckFinding, Severity};

/// A query that evaluates no rule, so that nothing but compilation can fail.
const NOTHING: &str = "true";

/// Parses every text.
pub(super) fn parse(files: &[TextFile]) -> Vec<CheckFinding> {
    match read(files) {
        Ok((_, old)) => {
            let modules = files.iter().filter(|file| !has_extension(&file.path, "json")).count();
            let mut findings = vec![CheckFinding::new(
                Severity::Info,
                format!("Rego: {}", counted_noun(modules, "module", "modules")),
            )];
            let warning = |file: &&TextFile| {
                CheckFinding::new(
                    Severity::Warning,
                    "written in Rego v0, which OPA 1.0 takes with --v0-compatible alone",
                )
                .in_file(file.path.clone())
                .with_hint("`opa fmt --rego-v1` writes it as v1")
            };
            findings.extend(old.iter().take(ANSWER_FINDINGS_MAX).map(warning));
            findings
        }
        Err(findings) => findings,
    }
}

/// Compiles the modules together, and runs their tests.
pub(super) fn compile_and_test(files: &[TextFile]) -> Result<Vec<CheckFinding>, &'static str> {
    let Ok((mut engine, _)) = read(files) else { return Err(DOES_NOT_PARSE) };
    let compiled = replace_builtins(&mut engine).and_then(|()| engine.eval_query(NOTHING.to_owned(), false));
    if let Err(error) = compiled {
        let own = finding(files, "", &error).with_hint("correct it there and draft it again");
        return Ok(vec![own]);
    }
    Ok(run_tests(&mut engine, files))
}

/// Reads all texts into an engine, and returns it with the modules that are of v0; or returns what is wrong with them.
fn read(files: &[TextFile]) -> Result<(Engine, Vec<&TextFile>), Vec<CheckFinding>> {
    let (mut engine, mut old) = (Engine::new(), Vec::new());
    if let Some(limits) = length_limits() {
        engine.set_policy_length_config(limits);
    }
    // Otherwise a policy that prints fills the standard error of the worker, from which nobody reads.
    engine.set_gather_prints(true);
    let mut errors = Vec::new();
    for file in files {
        let read = if has_extension(&file.path, "json") {
            add_data(&mut engine, file)
        } else {
            add_module(&mut engine, file).map(|is_v0| old.extend(is_v0.then_some(file)))
        };
        errors.extend(read.err().map(|error| error.with_hint("correct it there and draft it again")));
    }
    if errors.is_empty() {
        return Ok((engine, old));
    }
    errors.truncate(ANSWER_FINDINGS_MAX);
    Err(errors)
}

/// Adds a module, and returns whether it is of v0. A module is read as v1 whenever it is one; else the error is that of v1.
fn add_module(engine: &mut Engine, file: &TextFile) -> Result<bool, CheckFinding> {
    let mut add = |is_v0| {
        engine.set_rego_v0(is_v0);
        engine.add_policy(file.path.clone(), file.text.clone())
    };
    let Err(error) = add(false) else { return Ok(false) };
    match add(true) {
        Ok(_) => Ok(true),
        Err(_) => Err(finding(std::slice::from_ref(file), &file.path, &error)),
    }
}

/// Returns limits that every content is within: the library's own ones are lower, and OPA has none.
fn length_limits() -> Option<PolicyLengthConfig> {
    let most = NonZeroUsize::new(CONTENT_MAX_BYTES + 1)?;
    let max_col = NonZeroU32::new(u32::try_from(CONTENT_MAX_BYTES + 1).ok()?)?;
    Some(PolicyLengthConfig { max_col, max_file_bytes: most, max_lines: most })
}

/// Adds a data document. Its folders are its path below `data`, as in a bundle of OPA.
fn add_data(engine: &mut Engine, file: &TextFile) -> Result<(), CheckFinding> {
    let error = |message: String| CheckFinding::new(Severity::Error, message).in_file(file.path.clone());
    let parsed = document::parse(PolicyKind::Json, file.text.as_bytes())
        .map_err(|failure| error(failure.message).at_pointer(failure.pointer).at_place(failure.line, failure.column))?;
    let mut value = parsed.map(|parsed| parsed.value).unwrap_or_default();
    for folder in file.path.split('/').rev().skip(1) {
        value = serde_json::json!({ folder: value });
    }
    let value: Value = serde_json::from_value(value).map_err(|failed| error(failed.to_string()))?;
    engine.add_data(value).map_err(|failed| finding(&[], &file.path, &failed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> TextFile {
        TextFile { path: path.to_owned(), text: text.to_owned() }
    }

    fn checked(text: &str) -> Vec<CheckFinding> {
        compile_and_test(&[file("a_test.rego", text)]).expect("it parses")
    }

    #[test]
    fn parse_errors_have_their_file_and_place() {
        let found = parse(&[file("a.rego", "package a"), file("b/c.rego", "package b\n\nx := \"é\" }\n")]);
        assert_eq!(
            (found[0].file.as_str(), found[0].line, found[0].severity),
            ("b/c.rego", 3, Severity::Error),
            "{found:?}"
        );
        assert!(found[0].column > 1 && !found[0].message.contains('\n'), "{found:?}");
        let found = parse(&[file("", "package a\nallow { true }")]);
        assert_eq!((found.len(), found[1].severity), (2, Severity::Warning), "v0: {found:?}");
        let found = parse(&[file("data.json", "{\"a\": 1, \"a\": 2}")]);
        assert_eq!((found[0].file.as_str(), found[0].message.as_str()), ("data.json", "duplicate key \"a\""));
        assert_eq!(parse(&[file("", "package a\n")])[0].message, "Rego: 1 module");
    }

    #[test]
    fn modules_are_compiled_together() {
        let found = compile_and_test(&[file("a.rego", "package a\n\nx if y > 1\n\ny if z > 1")]).expect("it parses");
        assert_eq!(
            (found[0].file.as_str(), found[0].line, found[0].severity),
            ("a.rego", 5, Severity::Error),
            "{found:?}"
        );
        let found = compile_and_test(&[file("", "package a\n\nallow if input.user == \"root\"")]).expect("it parses");
        assert_eq!(found, [], "nothing to test");
    }

    #[test]
    fn tests_run_and_the_failing_ones_are_named() {
        let policy = file("a.rego", "package a\n\nallow if input.n > data.limits.least\n");
        let data = file("limits/data.json", "{\"least\": 3}");
        let tests = "package a_test\n\nimport data.a\n\ntest_more if a.allow with input as {\"n\": 4}\n\n\
                     test_less if a.allow with input as {\"n\": 2}\n\ntest_odd if 1 / 0 == 1\n\ntodo_test_later if false\n";
        let found = compile_and_test(&[policy, file("a_test.rego", tests), data]).expect("it parses");
        let named: Vec<_> = found.iter().map(|each| (each.severity, each.message.as_str(), each.line)).collect();
        assert_eq!(named[0].1, "2 of 3 tests failed", "{found:?}");
        assert_eq!(named[1], (Severity::Error, "data.a_test.test_less failed", 7));
        assert!(named[2].1.starts_with("data.a_test.test_odd ended with an error: "), "{found:?}");
        assert_eq!(found[1].file, "a_test.rego");
        let found = checked("package t\n\ntest_a if true\n\ntest_b := true\n\ntest_a if false\n");
        assert_eq!((found.len(), found[0].message.as_str(), found[0].severity), (1, "2 tests passed", Severity::Info));
    }

    #[test]
    fn what_does_not_depend_on_the_content_is_not_there() {
        for call in [
            "http.send({\"method\": \"get\", \"url\": \"http://localhost\"})",
            "opa.runtime()",
            "time.now_ns()",
            "rand.intn(\"x\", 5)",
            "uuid.rfc4122(\"x\")",
        ] {
            let found = checked(&format!("package t\n\ntest_it if {call}\n"));
            assert_eq!(found[0].message, "1 of 1 test failed", "{call}: {found:?}");
            assert!(found[1].message.contains("is not available in a check"), "{call}: {found:?}");
        }
        let mocked = "package t\n\nlate if time.now_ns() > 5\n\ntest_late if late with time.now_ns as 6\n";
        assert_eq!(checked(mocked)[0].message, "1 test passed");
        assert!(
            checked("package t\n\ntest_it if net.lookup_ip_addr(\"localhost\")\n")[1]
                .message
                .contains("could not find")
        );
    }

    #[test]
    fn findings_are_bounded() {
        let tests: String = (0..50).map(|number| format!("test_{number} if false\n\n")).collect();
        assert_eq!(checked(&format!("package t\n\n{tests}")).len(), ANSWER_FINDINGS_MAX);
        let depth = |deep: usize| format!("package t\n\nx := {}1{}\n", "(".repeat(deep), ")".repeat(deep));
        assert_eq!(parse(&[file("", &depth(20))])[0].severity, Severity::Info);
        assert_eq!(parse(&[file("", &depth(100))])[0].severity, Severity::Error);
    }
}
