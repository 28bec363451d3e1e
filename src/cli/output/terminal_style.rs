//! Styles text: with colours on a terminal, plain elsewhere.
//!
//! Invariant: all output for people passes [`TerminalStyle::guarded`] or `text::line` last, so that only this module writes escape
//! sequences.

use std::io;

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};

/// For what was added, is active, or passed.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// For what was removed or failed.
pub const BAD: Style = AnsiColor::Red.on_default();
/// For cursors and headings.
pub const HEADING: Style = AnsiColor::Cyan.on_default();
/// For what must be seen first.
pub const STRONG: Style = Style::new().bold();
/// For everything else.
pub const PLAIN: Style = Style::new();
/// For less important text.
pub const QUIET: Style = Style::new().dimmed();

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The style of one output stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalStyle {
    colour: bool,
    /// Whether a terminal reads the stream: then no untrusted text may reach it unescaped.
    pub terminal: bool,
}

impl Color {
    /// Applies the choice to the whole process. Must be called before anything is printed.
    pub fn apply(self) {
        let choice = match self {
            Self::Auto => ColorChoice::Auto,
            Self::Always => ColorChoice::Always,
            Self::Never => ColorChoice::Never,
        };
        choice.write_global();
    }
}

impl TerminalStyle {
    /// No colours, as for a file.
    #[cfg(test)]
    pub const PLAIN: Self = Self { colour: false, terminal: false };
    /// Colours, as for a terminal.
    #[cfg(test)]
    pub const COLOURED: Self = Self { colour: true, terminal: true };
    /// No colours, as for a terminal of somebody who wants none.
    #[cfg(test)]
    pub const COLOURLESS_TERMINAL: Self = Self { colour: false, terminal: true };

    /// Returns the style of stdout.
    #[must_use]
    pub fn stdout() -> Self {
        let stdout = io::stdout();
        Self::of(AutoStream::choice(&stdout), io::IsTerminal::is_terminal(&stdout))
    }

    /// Returns the style of stderr.
    #[must_use]
    pub fn stderr() -> Self {
        let stderr = io::stderr();
        Self::of(AutoStream::choice(&stderr), io::IsTerminal::is_terminal(&stderr))
    }

    fn of(choice: ColorChoice, terminal: bool) -> Self {
        Self { colour: choice != ColorChoice::Never, terminal }
    }

    /// Returns whether colours are on. Where they are off, `guarded` makes them visible as text.
    #[must_use]
    pub fn has_colours(self) -> bool {
        self.colour
    }

    /// Returns whether exact bytes may be written: the reader is no terminal, and no colours were asked for.
    #[must_use]
    pub fn is_plain(self) -> bool {
        !self.colour && !self.terminal
    }

    /// Returns the text in a style when colours are on.
    #[must_use]
    pub fn paint(self, style: Style, text: &str) -> String {
        if self.colour && !style.is_plain() && !text.is_empty() {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }
}

impl TerminalStyle {
    /// Makes visible what a terminal would act on, except the colours of this style. Tabs and line ends stay: the caller must pass
    /// untrusted text through `text::line` first; otherwise it could start a line of its own.
    #[must_use]
    pub fn guarded(self, text: &str) -> String {
        let mut shown = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(letter) = rest.chars().next() {
            let colour = if self.colour { colour_at(rest) } else { None };
            let length = colour.map_or(letter.len_utf8(), str::len);
            let (piece, after) = rest.split_at(length);
            match letter {
                _ if colour.is_some() => shown.push_str(piece),
                '\n' => shown.push('\n'),
                _ => shown.push_str(&visible(piece)),
            }
            rest = after;
        }
        shown
    }
}

/// Returns the sequence that sets a colour or a style at the start of the text, if there is one (SGR of ECMA-48).
fn colour_at(text: &str) -> Option<&str> {
    let parameters = text.strip_prefix("\u{1b}[")?;
    let end = parameters.find(|letter: char| !letter.is_ascii_digit() && letter != ';')?;
    let is_colour = parameters.get(end..)?.starts_with('m');
    text.get(.."\u{1b}[".len() + end + 1).filter(|_| is_colour)
}

/// Returns a line with characters that a terminal would act on made visible; tabs stay.
#[must_use]
pub fn visible(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    for letter in line.chars() {
        match letter {
            '\t' => shown.push(letter),
            letter if is_acted_on(letter) => shown.extend(letter.escape_unicode()),
            letter => shown.push(letter),
        }
    }
    shown
}

/// Returns whether a terminal does more with a character than show it: controls, characters that change the direction of text (UAX
/// #9), and characters without width.
#[must_use]
pub fn is_acted_on(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{061c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_written_only_where_they_are_wanted() {
        assert_eq!(TerminalStyle::PLAIN.paint(GOOD, "x"), "x");
        assert_eq!(TerminalStyle::COLOURED.paint(GOOD, "x"), "\u{1b}[32mx\u{1b}[0m");
        assert_eq!(TerminalStyle::COLOURED.paint(GOOD, ""), "");
        assert!(TerminalStyle::PLAIN.is_plain() && !TerminalStyle::COLOURLESS_TERMINAL.is_plain());
    }

    #[test]
    fn only_colours_pass_and_only_where_there_are_some() {
        let painted = TerminalStyle::COLOURED.paint(BAD, "x");
        let text = format!("{painted}\t\u{1b}[2J\u{1b}]0;y\u{7}\u{1b}[\n\u{9b}31m\r\u{1b}");
        let rest = "\t\\u{1b}[2J\\u{1b}]0;y\\u{7}\\u{1b}[\n\\u{9b}31m\\u{d}\\u{1b}";
        assert_eq!(TerminalStyle::COLOURED.guarded(&text), format!("{painted}{rest}"));
        assert_eq!(TerminalStyle::PLAIN.guarded(&text), format!("\\u{{1b}}[31mx\\u{{1b}}[0m{rest}"));
    }

    #[test]
    fn what_a_terminal_acts_on_is_made_visible() {
        assert_eq!(visible("a\t\u{1b}[2Jb\u{202e}c\r"), "a\t\\u{1b}[2Jb\\u{202e}c\\u{d}");
    }
}
