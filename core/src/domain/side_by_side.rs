//! Two texts line beside line, for people. Only what changed and a few lines around it is in it, and lines are cut when they are long.

/// What differs between two contents, line beside line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SideBySide {
    /// The rows, from the first line to the last.
    pub rows: Vec<SideBySideRow>,
    /// Whether there are more.
    pub is_cut: bool,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SideBySideRow {
    /// The rows that follow are of this file, of a content that has several.
    File(String),
    /// This many lines are the same on both sides, and left out.
    Gap(usize),
    /// A line that is the same on both sides, with its number on the other side.
    Same(NumberedLine, usize),
    /// A line that was changed. A side without a line in its place has none.
    Changed(Option<NumberedLine>, Option<NumberedLine>),
}

/// A line of one side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberedLine {
    /// Its number, from 1.
    pub number: usize,
    /// Its text without the line feed that ends it. `…` stands where a long one was cut.
    pub text: String,
    /// Whether a line feed or a carriage return ends it. Only the last line may have none.
    pub is_ended: bool,
}
