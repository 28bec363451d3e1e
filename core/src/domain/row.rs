//! The bytes of a row: what its tag is over, and what the event that wrote it has the digest of.
//!
//! The table, then each column by name, kind and value; every part has its length in front, so that no two rows have the same
//! bytes. Whoever has the bytes can prove them by the log, without the database they come from.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Error, Result};

/// Kinds of a column, as one byte each.
const BOOL: &[u8] = b"b";
const INT: &[u8] = b"i";
const TEXT: &[u8] = b"s";
const BYTES: &[u8] = b"x";

/// The value of a column. One that is NULL is not in the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is what it is called")]
pub enum Cell {
    Bool(bool),
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// A row that was read from its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its table.
    pub table: String,
    cells: BTreeMap<String, Cell>,
}

/// A row as it is exported, and for a version also its manifest and content.
#[derive(Debug)]
pub struct RowWithContent {
    /// The row as bytes.
    pub bytes: Vec<u8>,
    /// The newest manifest of a version.
    pub manifest: String,
    /// The content of a version.
    pub content: Bytes,
}

/// Writes the bytes of a row.
#[derive(Debug)]
pub struct RowBytes(Vec<u8>);

impl RowBytes {
    /// Begins a row of a table.
    ///
    /// # Errors
    /// `INTERNAL` for a part of 4 GiB.
    pub fn of(table: &str) -> Result<Self> {
        let mut bytes = Self(Vec::new());
        bytes.put(table.as_bytes())?;
        Ok(bytes)
    }

    /// Adds a column.
    ///
    /// # Errors
    /// `INTERNAL` for a part of 4 GiB.
    pub fn add(&mut self, column: &str, cell: &Cell) -> Result<()> {
        self.put(column.as_bytes())?;
        match cell {
            Cell::Bool(value) => self.value(BOOL, &[u8::from(*value)]),
            Cell::Int(value) => self.value(INT, &value.to_be_bytes()),
            Cell::Text(value) => self.value(TEXT, value.as_bytes()),
            Cell::Bytes(value) => self.value(BYTES, value),
        }
    }

    fn value(&mut self, kind: &[u8], value: &[u8]) -> Result<()> {
        self.put(kind)?;
        self.put(value)
    }

    fn put(&mut self, part: &[u8]) -> Result<()> {
        let length = u32::try_from(part.len()).map_err(|_| Error::internal("a column is too long for a tag"))?;
        self.0.extend(length.to_be_bytes());
        self.0.extend(part);
        Ok(())
    }

    /// Returns the bytes.
    #[must_use]
    pub fn end(self) -> Vec<u8> {
        self.0
    }
}

impl Row {
    /// Reads the bytes of a row; none when they are none.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let table = text(part(&mut rest)?)?;
        let mut cells = BTreeMap::new();
        while !rest.is_empty() {
            let column = text(part(&mut rest)?)?;
            let (kind, value) = (part(&mut rest)?, part(&mut rest)?);
            let cell = match (kind, value) {
                (BOOL, [value @ (0 | 1)]) => Cell::Bool(*value == 1),
                (INT, value) => Cell::Int(i64::from_be_bytes(value.try_into().ok()?)),
                (TEXT, value) => Cell::Text(text(value)?),
                (BYTES, value) => Cell::Bytes(value.to_vec()),
                _ => return None,
            };
            if cells.insert(column, cell).is_some() {
                return None;
            }
        }
        Some(Self { table, cells })
    }

    /// Returns a column that is a text.
    #[must_use]
    pub fn text(&self, column: &str) -> Option<&str> {
        match self.cells.get(column) {
            Some(Cell::Text(value)) => Some(value),
            _ => None,
        }
    }

    /// Returns a column that is a number.
    #[must_use]
    pub fn int(&self, column: &str) -> Option<i64> {
        match self.cells.get(column) {
            Some(Cell::Int(value)) => Some(*value),
            _ => None,
        }
    }

    /// Returns a column that is bytes.
    #[must_use]
    pub fn bytes(&self, column: &str) -> Option<&[u8]> {
        match self.cells.get(column) {
            Some(Cell::Bytes(value)) => Some(value),
            _ => None,
        }
    }

    /// Returns its key as events name it; none for a table that archives do not carry.
    #[must_use]
    pub fn key(&self) -> Option<String> {
        match self.table.as_str() {
            "policies" => Some(self.text("id")?.to_owned()),
            "versions" | "reports" => Some(format!("{}/{}", self.text("policy")?, self.int("number")?)),
            "imports" => Some(self.int("position")?.to_string()),
            _ => None,
        }
    }
}

fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (part, after) = after.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    *rest = after;
    Some(part)
}

fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Vec<u8> {
        let mut bytes = RowBytes::of("versions").expect("short");
        for (column, cell) in [
            ("policy", Cell::Text("p".to_owned())),
            ("number", Cell::Int(-7)),
            ("flag", Cell::Bool(true)),
            ("blob", Cell::Bytes(vec![0, 1])),
        ] {
            bytes.add(column, &cell).expect("short");
        }
        bytes.end()
    }

    #[test]
    fn a_row_is_read_as_it_was_written() {
        let read = Row::read(&row()).expect("a row");
        assert_eq!((read.table.as_str(), read.text("policy"), read.int("number")), ("versions", Some("p"), Some(-7)));
        assert_eq!((read.bytes("blob"), read.text("number"), read.int("none")), (Some(&[0, 1][..]), None, None));
        assert_eq!(read.key().as_deref(), Some("p/-7"));
    }

    #[test]
    fn bytes_that_are_no_row_are_refused() {
        let bytes = row();
        for end in 0..bytes.len() {
            let cut = Row::read(&bytes[..end]);
            // A row that ends early is a row with fewer columns, and no event has its digest.
            assert!(cut.is_none_or(|cut| cut.cells.len() < 4), "cut off at {end}");
        }
        assert_eq!(Row::read(&[&bytes[..], &[0]].concat()), None);
        assert_eq!(Row::read(&[255; 64]), None);
        let twice = {
            let mut bytes = RowBytes::of("t").expect("short");
            for _ in 0..2 {
                bytes.add("a", &Cell::Int(1)).expect("short");
            }
            bytes.end()
        };
        assert_eq!(Row::read(&twice), None);
    }
}
