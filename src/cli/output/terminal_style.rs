//! How text looks: coloured where somebody looks at it, and plain everywhere else.
//!
//! Invariant: whatever is written for people passes [`TerminalStyle::guarded`] or `text::line` last, so only what this module paints has
//! escapes.

use std::io;

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};

/// Of what was added, is active, or passed.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// Of what was removed or failed.
pub const BAD: Style = AnsiColor::Red.on_default();
/// Of cursors and headings.
pub const HEADING: Style = AnsiColor::Cyan.on_default();
/// Of what is to be seen first.
pub const STRONG: Style = Style::new().bold();
/// Of everything else.
pub const PLAIN: Style = Style::new();
/// Of what may be passed over.
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

/// How one stream is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalStyle {
    colour: bool,
    /// Whether a terminal reads it: then nothing of others may reach it raw.
    pub terminal: bool,
}

impl Color {
    /// For the whole process, before anything is printed.
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
    /// Without colours, as to a file.
    #[cfg(test)]
    pub const PLAIN: Self = Self { colour: false, terminal: false };
    /// With colours, as to a terminal.
    #[cfg(test)]
    pub const COLOURED: Self = Self { colour: true, terminal: true };

    /// Of stdout.
    #[must_use]
    pub fn stdout() -> Self {
        let stdout = io::stdout();
        Self::of(AutoStream::choice(&stdout), io::IsTerminal::is_terminal(&stdout))
    }

    /// Of stderr.
    #[must_use]
    pub fn stderr() -> Self {
        let stderr = io::stderr();
        Self::of(AutoStream::choice(&stderr), io::IsTerminal::is_terminal(&stderr))
    }

    fn of(choice: ColorChoice, terminal: bool) -> Self {
        Self { colour: choice != ColorChoice::Never, terminal }
    }

    /// Whether exact bytes may pass: nobody looks at them, and nobody asked for colours.
    #[must_use]
    pub fn is_plain(self) -> bool {
        !self.colour && !self.terminal
    }

    /// The text in a style, when there are colours.
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
    /// Lines with what a terminal would act on made visible, but for the colours of this look. Tabs and ends of lines stay: whoever
    /// puts words of others in a line cleans them by `text::line` first, or they could begin a line of their own.
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

/// The sequence that sets a colour or a style, when the text begins with one (SGR of ECMA-48).
fn colour_at(text: &str) -> Option<&str> {
    let parameters = text.strip_prefix("\u{1b}[")?;
    let end = parameters.find(|letter: char| !letter.is_ascii_digit() && letter != ';')?;
    let is_colour = parameters.get(end..)?.starts_with('m');
    text.get(.."\u{1b}[".len() + end + 1).filter(|_| is_colour)
}

/// A line with what a terminal would act on made visible; tabs stay.
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

/// Whether a terminal does something else with a character than show it where it stands: controls, what turns the direction of
/// the text around (UAX #9), and what has no width.
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
        assert!(TerminalStyle::PLAIN.is_plain() && !TerminalStyle { colour: false, terminal: true }.is_plain());
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
