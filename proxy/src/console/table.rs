//! A table of text and numbers, as rows on the wire.

use crate::wire::backend::tag;
use crate::wire::frame;
use bytes::BytesMut;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `text`.
    Text,
    /// `bigint`.
    Number,
}

impl Kind {
    /// OID and length of the type.
    ///
    /// <https://github.com/postgres/postgres/blob/master/src/include/catalog/pg_type.dat>
    const fn oid_and_bytes(self) -> (u32, i16) {
        match self {
            Kind::Text => (25, -1),
            Kind::Number => (20, 8),
        }
    }
}

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// NULL.
    Null,
    /// Text.
    Text(String),
    /// A number.
    Number(i64),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Cell::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Cell::Text(text)
    }
}

impl From<usize> for Cell {
    fn from(n: usize) -> Self {
        Cell::Number(i64::try_from(n).unwrap_or(i64::MAX))
    }
}

impl From<u64> for Cell {
    fn from(n: u64) -> Self {
        Cell::Number(i64::try_from(n).unwrap_or(i64::MAX))
    }
}

impl From<u32> for Cell {
    fn from(n: u32) -> Self {
        Cell::Number(n.into())
    }
}

impl From<i32> for Cell {
    fn from(n: i32) -> Self {
        Cell::Number(n.into())
    }
}

impl From<bool> for Cell {
    fn from(yes: bool) -> Self {
        Cell::Number(yes.into())
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Cell::Null, Into::into)
    }
}

/// Columns and rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Names and types.
    pub columns: Vec<(&'static str, Kind)>,
    /// As many cells each as there are columns.
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    /// Without rows yet.
    pub fn new(columns: &[(&'static str, Kind)]) -> Self {
        Self { columns: columns.to_vec(), rows: vec![] }
    }

    /// Appends a RowDescription; `binary` says so of each column.
    pub fn put_description(&self, out: &mut BytesMut, formats: &Formats) {
        frame::put(out, tag::ROW_DESCRIPTION, |out| {
            out.extend_from_slice(&(self.columns.len() as u16).to_be_bytes());
            for (i, (name, kind)) in self.columns.iter().enumerate() {
                let (oid, bytes) = kind.oid_and_bytes();
                out.extend_from_slice(name.as_bytes());
                // No table, no column number.
                out.extend_from_slice(&[0; 7]);
                out.extend_from_slice(&oid.to_be_bytes());
                out.extend_from_slice(&bytes.to_be_bytes());
                out.extend_from_slice(&(-1i32).to_be_bytes());
                out.extend_from_slice(&u16::from(formats.is_binary(i)).to_be_bytes());
            }
        });
    }

    /// Appends a row as a DataRow.
    pub fn put_row(row: &[Cell], out: &mut BytesMut, formats: &Formats) {
        frame::put(out, tag::DATA_ROW, |out| {
            out.extend_from_slice(&(row.len() as u16).to_be_bytes());
            for (i, cell) in row.iter().enumerate() {
                let bytes = match cell {
                    Cell::Null => {
                        out.extend_from_slice(&(-1i32).to_be_bytes());
                        continue;
                    }
                    Cell::Number(n) if formats.is_binary(i) => n.to_be_bytes().to_vec(),
                    Cell::Number(n) => n.to_string().into_bytes(),
                    Cell::Text(text) => text.clone().into_bytes(),
                };
                out.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
                out.extend_from_slice(&bytes);
            }
        });
    }
}

/// How a Bind wants its columns: none said: text; one: all alike; else one each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Formats(pub Vec<bool>);

impl Formats {
    fn is_binary(&self, column: usize) -> bool {
        match self.0.as_slice() {
            [] => false,
            [all] => *all,
            each => each.get(column).copied().unwrap_or(false),
        }
    }
}
