//! JSON texts that a terminal may show.

use crate::cli::output::terminal_style::is_acted_on;

/// A JSON text whose strings have no letter that a terminal or a viewer acts on: controls, and marks that turn the direction of
/// text. They are escaped as JSON escapes them, so the value is the same.
pub fn escaped(json: &str) -> String {
    // Whatever is acted on stands in a string: between them JSON has ASCII alone, and this one has no white space.
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
