//! Tables for people: columns as wide as what stands in them, two spaces between, nothing at a line's end.
//!
//! Invariant: a row is one line, whatever stands in it.

use std::fmt::Write;

/// Which end of a column its cells keep to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// Rows under a head.
#[derive(Debug)]
pub struct Table<const N: usize> {
    columns: [Align; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub fn new(columns: [(&str, Align); N]) -> Self {
        Self {
            columns: columns.map(|(_, align)| align),
            rows: vec![columns.map(|(name, _)| name.to_owned())],
        }
    }

    /// Control characters in cells are shown as escapes.
    pub fn push(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| plain(&cell)));
    }

    /// Head and rows, each with a line feed.
    pub fn show(&self) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        };
        let widths: [usize; N] = std::array::from_fn(width);
        let mut text = String::new();
        for row in &self.rows {
            let start = text.len();
            for (column, cell) in row.iter().enumerate() {
                let width = widths[column];
                // Writing to a String cannot fail.
                let _ = match self.columns[column] {
                    Align::Left => write!(text, "{cell:width$}  "),
                    Align::Right => write!(text, "{cell:>width$}  "),
                };
            }
            text.truncate(start + text[start..].trim_end().len());
            text.push('\n');
        }
        text
    }
}

/// `text` with what could end the line or move a terminal's cursor as an escape.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_have_no_blank_end() {
        let mut table = Table::new([
            ("NAME", Align::Left),
            ("N", Align::Right),
            ("", Align::Left),
        ]);
        table.push(["ä".into(), "1000".into(), String::new()]);
        table.push(["long name\n".into(), "7".into(), "note".into()]);
        let expected = "NAME            N\nä            1000\nlong name\\n     7  note\n";
        assert_eq!(table.show(), expected);
    }
}
