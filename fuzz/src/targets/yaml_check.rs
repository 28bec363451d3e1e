//! The YAML check: what passes has a meaning in JSON, within the limits, and JSON that passes both checks is one document.

use policyhub::checks::parse;
use policyhub::domain::limits::{CONTENT_MAX_BYTES, DOCUMENT_MAX_DEPTH};
use policyhub::domain::policy::PolicyKind;

use super::json_check::{placed, sound};
use super::texts;

/// Largest size of an expanded document, as JSON: the document, what its aliases may repeat, and escapes.
const UNFOLDED_MAX_BYTES: usize = 6 * 3 * CONTENT_MAX_BYTES;

pub fn check(input: &[u8]) {
    let value = match parse(PolicyKind::Yaml, input) {
        Ok(document) => document.expect("YAML is parsed").value,
        Err(failure) => return placed(input, &failure),
    };
    sound(&value, DOCUMENT_MAX_DEPTH);
    let written = value.to_string();
    assert!(written.len() <= UNFOLDED_MAX_BYTES, "{} bytes", written.len());
    // NUL can be written in YAML only by an escape, and in JSON too.
    let json = parse(PolicyKind::Json, written.as_bytes()).expect("as JSON it passes");
    assert_eq!(json.expect("parsed").value, value);
    if let Ok(Some(json)) = parse(PolicyKind::Json, input) {
        assert_eq!(json.value, value, "one text, two documents");
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    texts(&[
        "name: limit # of calls\nrules:\n  - &first\n    when: {role: \"user\", at: '09:00'}\n    max: 10.5\n  - *first\n",
        "? long key\n: !!str 1\ntext: >-\n  folded\n  lines\nblock: |\n  two\n  lines\n",
        "%YAML 1.2\n---\n[~, yes, 0o17, 0xff, 1e3, .5, -0, .inf]\n...\n",
        "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n",
        "{\"a\": [1, -2.5, \"x\", null, true]}",
        "- - - - 1\n",
        "<<: 1\n",
        "a: 1\na: 2\n",
        "\"\\0\\x41\\u00e9\\U0001F600\"\n",
        "--- !!map {a: !!seq [!!int 1]}\n",
        "a: 1\n---\nb: 2\n",
        " -0",
    ])
}
