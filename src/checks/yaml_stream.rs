//! Handles streams of several YAML documents in one content: where one begins, and messages that name one.

/// Returns whether a document begins after a line, from 1: the marker can't be a part of anything else (YAML 1.2.2 §9.1.2).
pub(super) fn begins_another(text: &str, line: usize) -> bool {
    let is_marker = |line: &str| {
        line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r']))
    };
    text.split('\n').skip(line).any(is_marker)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::checks::yaml;

    #[test]
    fn documents_of_a_stream_are_told_apart() {
        let several =
            |text: &str| yaml::parse(text).map_err(|failure| (failure.message, failure.line, failure.pointer));
        let two = Ok(vec![json!({"a": 1}), json!([2])]);
        for text in ["a: 1\n---\n- 2\n", "---\na: 1\n...\n---\n- 2\n...\n", "# x\n---\na: 1\n--- # y\n- 2\n"] {
            assert_eq!(several(text), two, "{text}");
        }
        assert_eq!(several("a: 1\n---\na: 1\n").map(|all| all.len()), Ok(2), "keys are those of one document");
        assert_eq!(several("%YAML 1.2\n---\n1\n...\n%YAML 1.2\n---\n2\n"), Ok(vec![json!(1), json!(2)]));
        let refused = |text: &str| several(text).unwrap_err();
        let at = |message: &str, line, pointer: &str| (message.to_owned(), line, pointer.to_owned());
        assert_eq!(refused("a: 1\na: 2\n---\nb: 1\n"), at("document 1: duplicate key \"a\"", 2, "/0/a"));
        assert_eq!(refused("a: 1\n---\nb: [1, {c: 1, c: 2}]\n"), at("document 2: duplicate key \"c\"", 3, "/1/b/1/c"));
        assert_eq!(refused("a: 1\n---\n---\nb: 1\n").0, "document 2: empty document");
        assert_eq!(refused("a: 1\n---\n").0, "document 2: empty document");
        assert_eq!(refused("a: 1\n...\n%YAML 1.1\n---\nb: 1\n").0, "document 2: %YAML 1.1: only 1.2 is accepted");
        assert!(refused("a: &x 1\n---\nb: *x\n").0.starts_with("document 2: "), "an anchor is its document's");
        assert!(!refused("a: [\n").0.starts_with("document"), "one that is alone is not counted");
    }
}
