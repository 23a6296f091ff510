//! Answers as rows by column name, all tables of one run, and comparisons that name both sides.

use std::collections::BTreeMap;
use std::path::Path;

use crate::support::{Cell, Row, Scratch, float, int};

/// One row of an answers file.
#[derive(Debug, Clone)]
pub struct Answer {
    file: String,
    cells: BTreeMap<String, String>,
}

impl Answer {
    #[track_caller]
    pub fn text(&self, column: &str) -> &str {
        let cell = self.cells.get(column);
        cell.unwrap_or_else(|| panic!("{} has no column {column:?}", self.file))
    }

    /// A number; nothing where the answer is empty, infinite or not a number.
    #[track_caller]
    pub fn number(&self, column: &str) -> Option<f64> {
        let text = self.text(column);
        let number: f64 = if text.is_empty() { f64::NAN } else { text.parse().unwrap() };
        number.is_finite().then_some(number)
    }

    /// A whole number, also where it is printed as `13087.0`.
    #[track_caller]
    pub fn int(&self, column: &str) -> i64 {
        let number = self.number(column).unwrap_or_else(|| panic!("{column} of {self:?}"));
        assert!(number.fract().abs() < 1e-9, "{column} of {self:?} is not whole");
        number as i64
    }

    /// An amount in hundredths.
    #[track_caller]
    pub fn cents(&self, column: &str) -> i64 {
        (self.number(column).unwrap() * 100.0).round() as i64
    }

    /// The name as the tests filter for it: an empty one is null.
    #[track_caller]
    pub fn name(&self, column: &str) -> &str {
        let text = self.text(column);
        if text.is_empty() { "null" } else { text }
    }
}

/// The rows of an answers file, which has no quotes.
pub fn answers(folder: &Path, name: &str) -> Vec<Answer> {
    let path = folder.join("answers").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    let row = |line: &str| {
        assert!(!line.contains('"'), "{name}: {line}");
        let cells: Vec<&str> = line.split(',').collect();
        assert_eq!(cells.len(), header.len(), "{name}: {line}");
        let cells = header.iter().zip(cells).map(|(h, c)| ((*h).to_owned(), c.to_owned()));
        Answer { file: name.to_owned(), cells: cells.collect() }
    };
    let rows: Vec<Answer> = lines.map(row).collect();
    assert!(!rows.is_empty(), "{name} is empty");
    rows
}

/// `summary.json` of a set of answers.
pub fn summary(folder: &Path) -> serde_json::Value {
    let text = std::fs::read_to_string(folder.join("answers/summary.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// A number of a summary; nothing where it is printed as `inf`.
#[track_caller]
pub fn number(value: &serde_json::Value, key: &str) -> Option<f64> {
    match value.get(key) {
        Some(serde_json::Value::Number(n)) => n.as_f64(),
        Some(serde_json::Value::String(text)) if text == "inf" => None,
        other => panic!("{key}: {other:?}"),
    }
}

/// The tables of one run by name.
pub type Tables = BTreeMap<String, Vec<Row>>;

/// Runs a configuration and reads every table it wrote, except the points of curves by slice.
#[track_caller]
pub fn tables(scratch: &Scratch, toml: &str) -> Tables {
    let summary = scratch.run(toml).unwrap_or_else(|e| panic!("{e:?}"));
    let read = |(name, _): (String, u64)| {
        let rows = scratch.table(&name);
        (name, rows)
    };
    summary.tables.into_iter().map(read).collect()
}

/// The float of a row is the expected one, to a tolerance relative to the larger of 1 and it; no
/// expected number stands for null.
#[track_caller]
pub fn same(row: &Row, column: &str, expected: Option<f64>, tolerance: f64) {
    let got = float(row, column);
    let near = match (got, expected) {
        (Some(got), Some(expected)) => {
            (got - expected).abs() <= tolerance * expected.abs().max(1.0)
        }
        (None, None) => true,
        _ => false,
    };
    assert!(near, "{column}: {got:?}, expected {expected:?} in {row:?}");
}

/// The integers of a row are the expected ones.
#[track_caller]
pub fn ints(row: &Row, expected: &[(&str, i64)]) {
    for (column, expected) in expected {
        assert_eq!(int(row, column), *expected, "{column} of {row:?}");
    }
}

/// An amount is the expected number of minor units, which may have a fraction, rounded; an answer
/// that lies on a half but for the noise of its own sum may be rounded either way.
#[track_caller]
pub fn rounded(row: &Row, column: &str, expected_minor: Option<f64>) {
    let near = match (row.get(column), expected_minor) {
        (Some(Cell::Int(got)), Some(expected)) => (*got as f64 - expected).abs() <= 0.501,
        (Some(Cell::Null), None) => true,
        _ => false,
    };
    assert!(near, "{column}: {:?}, expected {expected_minor:?} in {row:?}", row.get(column));
}

/// A text cell; `null` for null.
#[track_caller]
pub fn text<'a>(row: &'a Row, column: &str) -> &'a str {
    match row.get(column) {
        Some(Cell::Text(text)) => text,
        Some(Cell::Null) => "null",
        other => panic!("{column}: {other:?}"),
    }
}
