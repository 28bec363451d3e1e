//! The letters of a filter, read from left to right, and where they are.

use crate::api::shown::shown;
use crate::domain::filter::Operator;
use crate::domain::{Error, Result};

/// The words that join comparisons, and no value without quotes.
pub(super) const KEYWORDS: [&str; 3] = ["AND", "OR", "NOT"];

/// What is left of a filter.
pub(super) struct Scanner<'a> {
    rest: &'a str,
    column: usize,
}

/// Returns whether a letter may be in the name of a field or in a word.
fn is_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_' || letter == '-'
}

/// Returns whether a letter may be in a value that has no quotes.
fn is_bare(letter: char) -> bool {
    letter.is_alphanumeric() || "_-.:/+@*%~#$".contains(letter)
}

/// Makes the error of a filter at a column.
pub(super) fn refused(column: usize, problem: impl std::fmt::Display) -> Error {
    Error::invalid("filter", format!("column {column}: {problem}"))
}

impl<'a> Scanner<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { rest: text, column: 1 }
    }

    /// Returns the column of the next letter, in characters from 1.
    pub fn column(&self) -> usize {
        self.column
    }

    pub fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let mut letters = self.rest.chars();
        let letter = letters.next()?;
        self.rest = letters.as_str();
        self.column += 1;
        Some(letter)
    }

    pub fn skip_space(&mut self) {
        while self.peek().is_some_and(|letter| letter.is_ascii_whitespace()) {
            self.take();
        }
    }

    /// Takes a letter, if it is the next one.
    pub fn eat(&mut self, wanted: char) -> bool {
        let is_next = self.peek() == Some(wanted);
        if is_next {
            self.take();
        }
        is_next
    }

    fn take_while(&mut self, is_wanted: fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|letter| !is_wanted(letter)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        self.column += taken.chars().count();
        taken
    }

    /// Takes a name; empty when none is next.
    pub fn name(&mut self) -> &'a str {
        self.take_while(is_name)
    }

    /// Takes a value without quotes; empty when none is next.
    pub fn bare(&mut self) -> &'a str {
        self.take_while(is_bare)
    }

    fn is_at_word(&self, word: &str) -> bool {
        let after = self.rest.strip_prefix(word);
        after.is_some_and(|after| !after.starts_with(|letter| is_name(letter) || letter == '.'))
    }

    pub fn is_at_keyword(&self) -> bool {
        KEYWORDS.iter().any(|word| self.is_at_word(word))
    }

    pub fn is_at_name(&self) -> bool {
        self.peek().is_some_and(is_name)
    }

    /// Takes a keyword, if it is the next word.
    pub fn keyword(&mut self, word: &str) -> bool {
        let is_next = self.is_at_word(word);
        if is_next {
            self.take_while(is_name);
        }
        is_next
    }

    /// Takes an operator, if one is next.
    pub fn operator(&mut self) -> Option<Operator> {
        let first = self.peek()?;
        let then_equal = self.rest.get(1..).is_some_and(|rest| rest.starts_with('='));
        let operator = match (first, then_equal) {
            ('=', _) => Operator::Equal,
            ('!', true) => Operator::NotEqual,
            ('<', true) => Operator::AtMost,
            ('<', false) => Operator::Less,
            ('>', true) => Operator::AtLeast,
            ('>', false) => Operator::Greater,
            (':', _) => Operator::Has,
            _ => return None,
        };
        for _ in operator.as_str().chars() {
            self.take();
        }
        Some(operator)
    }

    /// Takes a text in quotes, if one is next.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for one that does not end, or has a control character or an escape that is not known.
    pub fn quoted(&mut self) -> Result<Option<String>> {
        let begin = self.column;
        let Some(quote) = self.peek().filter(|letter| matches!(letter, '"' | '\'')) else { return Ok(None) };
        self.take();
        let mut text = String::new();
        loop {
            let column = self.column;
            match self.take() {
                None => return Err(refused(begin, "the text in quotes does not end")),
                Some(letter) if letter == quote => return Ok(Some(text)),
                Some('\\') => text.push(self.escaped(column)?),
                Some(letter) if letter.is_control() => {
                    return Err(refused(column, "a control character; write \\n, \\r or \\t"));
                }
                Some(letter) => text.push(letter),
            }
        }
    }

    fn escaped(&mut self, column: usize) -> Result<char> {
        match self.take() {
            Some('n') => Ok('\n'),
            Some('r') => Ok('\r'),
            Some('t') => Ok('\t'),
            Some(letter @ ('"' | '\'' | '\\')) => Ok(letter),
            _ => Err(refused(column, "an escape that is none of \\\" \\' \\\\ \\n \\r \\t")),
        }
    }

    /// Describes what comes next, for errors.
    pub fn next_shown(&self) -> String {
        if self.is_at_end() {
            return "the end".to_owned();
        }
        shown(self.rest.split(char::is_whitespace).next().unwrap_or_default())
    }
}
