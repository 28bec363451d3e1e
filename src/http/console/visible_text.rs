//! Text of callers as a browser may show it: what has no shape of its own is made visible, and the length is bounded.
//!
//! Names, notes, reasons and contents are written by anybody who may write. A control character could hide the rest of a line, a
//! bidirectional one (Unicode TR 9) could show a line in another order than it has. Templates escape HTML; this module does the rest.

use std::fmt;

/// Longest text of one line, such as a note or a reason.
pub const LINE_MAX_CHARS: usize = 1_000;

/// A text that is safe to look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VisibleText(String);

impl VisibleText {
    /// Takes a text of one line, at most `LINE_MAX_CHARS` of it.
    #[must_use]
    pub fn line(text: &str) -> Self {
        Self::bounded(text, LINE_MAX_CHARS)
    }

    /// Takes a text, at most `max_chars` of it. A tab stays a tab.
    #[must_use]
    pub fn bounded(text: &str, max_chars: usize) -> Self {
        let mut shown = String::with_capacity(text.len().min(max_chars));
        for (count, letter) in text.chars().enumerate() {
            if count == max_chars {
                shown.push('…');
                break;
            }
            if letter != '\t' && is_invisible(letter) {
                shown.push_str(&format!("\u{27e8}U+{:04X}\u{27e9}", u32::from(letter)));
            } else {
                shown.push(letter);
            }
        }
        Self(shown)
    }

    /// Returns how many bytes it has on a page, where the characters of HTML are written as numbers.
    #[must_use]
    pub fn page_bytes(&self) -> usize {
        let escaped = self.0.bytes().filter(|byte| matches!(byte, b'<' | b'>' | b'&' | b'"' | b'\'')).count();
        self.0.len() + escaped * "#34;".len()
    }

    /// Returns whether there is nothing to show.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for VisibleText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns whether a text has a character that is made visible here, other than those that end lines.
#[must_use]
pub fn has_invisible(text: &str) -> bool {
    text.chars().any(|letter| !matches!(letter, '\t' | '\r' | '\n') && is_invisible(letter))
}

/// Returns whether a character has no shape, or changes the order or the shape of others.
fn is_invisible(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hides_or_turns_text_is_shown() {
        for (text, shown) in [
            ("plain text, ünïcode ✓ 日本", "plain text, ünïcode ✓ 日本"),
            ("a\tb", "a\tb"),
            ("a\u{202e}b", "a⟨U+202E⟩b"),
            ("a\u{2066}b\u{2069}", "a⟨U+2066⟩b⟨U+2069⟩"),
            ("a\r\nb\0\u{1b}[2J", "a⟨U+000D⟩⟨U+000A⟩b⟨U+0000⟩⟨U+001B⟩[2J"),
            ("zero\u{200b}width\u{feff}", "zero⟨U+200B⟩width⟨U+FEFF⟩"),
            ("\u{e0041}", "⟨U+E0041⟩"),
        ] {
            assert_eq!(VisibleText::line(text).to_string(), shown);
        }
    }

    #[test]
    fn a_text_is_cut_at_its_bound() {
        assert_eq!(VisibleText::bounded("abcd", 3).to_string(), "abc…");
        assert_eq!(VisibleText::bounded("abc", 3).to_string(), "abc");
        assert!(VisibleText::line("").is_empty());
        assert_eq!(VisibleText::line("<\u{1}ä>").page_bytes(), "&#60;⟨U+0001⟩ä&#62;".len());
    }
}
