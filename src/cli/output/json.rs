//! Makes JSON text safe to show on a terminal.

use crate::cli::output::terminal_style::is_acted_on;

/// Escapes in a JSON text the characters that a terminal or a viewer acts on: controls, and marks that change the direction of
/// text. The value stays the same.
pub fn escaped(json: &str) -> String {
    // All such characters are within strings: outside of them JSON is ASCII, and this one has no white space.
    let mut text = String::with_capacity(json.len());
    for letter in json.chars() {
        if is_acted_on(letter) {
            let mut units = [0; 2];
            for unit in letter.encode_utf16(&mut units) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            text.push(letter);
        }
    }
    text
}
