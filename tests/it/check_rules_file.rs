//! `policyhub check` with a file of rules that can't be used: a usage error, which programs read too. And places in contents that begin
//! with a byte order mark.

use serde_json::Value;

use crate::check::{CEILING, Folder, ended};

const BROKEN_GUARDRAIL: &str = "guardrails:
- {id: fine, expression: 'true', severity: DENY}
- id: broken
  expression: content.
  severity: WARN
";

/// A file of rules, the place in the SARIF log, and what is said of it.
struct Wrong {
    rules: &'static str,
    file: &'static str,
    place: Option<(u32, u32)>,
    message: &'static str,
}

/// Given a file of rules that is absent or broken, or a schema or a guardrail in it that does not compile, nothing is checked: exit code 2,
/// and the document says so, with the place.
#[test]
fn rules_that_can_not_be_used_are_told_to_programs_too() {
    let folder = Folder::of(&[
        ("good.yaml", "max: 1\n"),
        ("broken.yaml", "guardrails:\n  - [\n"),
        ("other.yaml", "rules: []\n"),
        ("syntax.yaml", "policies: {good: {json_schema: s/syntax.json}}"),
        ("s/syntax.json", "{\n  \"type\": }\n"),
        ("type.yaml", "policies: {other: {json_schema: s/type.json}}"),
        ("s/type.json", r#"{"properties": {"max": {"type": "nothing"}}}"#),
        ("cel.yaml", BROKEN_GUARDRAIL),
    ]);
    for Wrong { rules, file, place, message } in [
        Wrong {
            rules: "absent.yaml",
            file: "absent.yaml",
            place: None,
            message: "absent.yaml: failed to read it: No such file",
        },
        Wrong { rules: "broken.yaml", file: "broken.yaml", place: Some((2, 5)), message: "broken.yaml:2:5: " },
        Wrong {
            rules: "other.yaml",
            file: "other.yaml",
            place: Some((1, 1)),
            message: "other.yaml:1:1: it is no file of rules: unknown field",
        },
        Wrong { rules: "syntax.yaml", file: "s/syntax.json", place: Some((2, 11)), message: "s/syntax.json:2:11: " },
        Wrong {
            rules: "type.yaml",
            file: "s/type.json",
            place: None,
            message: "s/type.json: not a usable JSON Schema: at /properties/max/type: \"nothing\"",
        },
        Wrong {
            rules: "cel.yaml",
            file: "cel.yaml",
            place: Some((3, 3)),
            message: "cel.yaml:3:3: the guardrail broken does not compile: expression: line 1",
        },
    ] {
        let line = format!("check good.yaml --rules {rules}");
        let (stdout, stderr) = ended(&folder.run(&line), 2);
        assert!(stdout.is_empty() && stderr.starts_with(&format!("error: {message}")), "{stdout}{stderr}");
        assert!(stderr.ends_with(" (USAGE)\n"), "{stderr}");

        let (stdout, _) = ended(&folder.run(&format!("{line} --output sarif")), 2);
        let log: Value = serde_json::from_str(&stdout).expect("JSON");
        let run = &log["runs"][0];
        let invocation = &run["invocations"][0];
        assert_eq!((&invocation["executionSuccessful"], &invocation["exitCode"]), (&false.into(), &2.into()), "{log}");
        let notification = &invocation["toolExecutionNotifications"][0];
        assert!(notification["message"]["text"].as_str().is_some_and(|text| text.starts_with(message)), "{log}");
        let physical = &notification["locations"][0]["physicalLocation"];
        assert_eq!(
            (&notification["level"], &physical["artifactLocation"]["uri"]),
            (&"error".into(), &file.into()),
            "{log}"
        );
        let region = &physical["region"];
        let found = region["startLine"].as_u64().zip(region["startColumn"].as_u64());
        assert_eq!(found, place.map(|(line, column)| (line.into(), column.into())), "{log}");
        assert_eq!(run["results"], Value::Array(Vec::new()), "{log}");

        let (stdout, _) = ended(&folder.run(&format!("{line} --output json")), 2);
        let document: Value = serde_json::from_str(&stdout).expect("JSON");
        assert!(document["error"].as_str().is_some_and(|text| text.starts_with(message)), "{document}");
        assert_eq!(document["contents"], Value::Array(Vec::new()), "{document}");
    }
    folder.write("good-rules.yaml", CEILING);
    let (stdout, _) = ended(&folder.run("check good.yaml --rules good-rules.yaml --output json"), 0);
    let document: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(document["error"], "", "every field is there");
}

/// A byte order mark at the beginning of a content is no column, as in an editor: the place and the mark below the line are those of the
/// same content without it.
#[test]
fn a_byte_order_mark_moves_no_place() {
    let folder = Folder::of(&[("rules.yaml", CEILING)]);
    for content in ["max: 40\n", "max: @\n"] {
        let shown = |content: &str| {
            folder.write("bad.yaml", content);
            ended(&folder.run("check bad.yaml --rules rules.yaml"), 1).0
        };
        let without = shown(content);
        assert!(without.contains(" at 1:6") && without.contains("\n  |      ^"), "{without}");
        assert_eq!(shown(&format!("\u{feff}{content}")), without);
    }
}
