//! CSV as it comes: which characters part fields, which bytes make text, and where lines are broken.
//!
//! A line that cannot be read for certain (too few or too many fields, text after a closing quote,
//! bytes that are no text) is handed over apart, with its number and what stands there; no field is
//! ever taken for its neighbour. What makes the rest of a file uncertain, a quote that is never
//! closed or a damaged archive, is a broken file.

mod records;
#[cfg(test)]
mod tests;
mod text;

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use encoding_rs::{Encoding, UTF_8};

use crate::config::Input;
use crate::error::Fault;
use crate::quality::Rule;
use records::{Records, Shape};

/// A batch ends with so many bytes of text, however few its rows are.
const BATCH_BYTES: usize = 8 << 20;
/// So much of a refused line is kept.
const QUOTED_CHARS: usize = 1_000;

/// What parts the fields of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delimiter {
    /// This character.
    Given(u8),
    /// Whichever of comma, semicolon, tab and bar the header has most of.
    Auto,
}

/// How the CSV files of an input are written.
#[derive(Debug, Clone)]
pub(crate) struct Dialect {
    delimiter: Option<Delimiter>,
    quote: Option<u8>,
    encoding: &'static Encoding,
    null_values: Vec<String>,
}

/// Why a file cannot be read, or cannot be read on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broken {
    /// The line, in words; empty for the file.
    pub(crate) place: String,
    pub(crate) problem: String,
    /// What to do about it; empty where the file has to be written again.
    pub(crate) hint: String,
}

impl Broken {
    /// As a fault of a file.
    pub(crate) fn fault(self, path: &Path) -> Fault {
        let readable = std::fs::File::open(path).is_ok();
        let hint = match self.hint.as_str() {
            "" if readable => "write the file again, or remove it from the input",
            "" => "check its permissions",
            hint => hint,
        };
        Fault {
            file: path.to_path_buf(),
            place: self.place,
            problem: self.problem,
            hint: hint.to_owned(),
        }
    }

    pub(crate) fn file(problem: impl Into<String>) -> Self {
        Self { place: String::new(), problem: problem.into(), hint: String::new() }
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: hint.into(), ..self }
    }

    fn at(self, line: u64) -> Self {
        Self { place: format!("line {line}"), ..self }
    }
}

impl From<std::io::Error> for Broken {
    fn from(error: std::io::Error) -> Self {
        Self::file(format!("cannot be read: {error}"))
    }
}

/// A key of the configuration and what is wrong with its value.
type Refusal = (&'static str, String);

impl Dialect {
    /// The dialect that an input declares.
    ///
    /// # Errors
    /// The key and what is wrong with its value.
    pub(crate) fn of(input: &Input) -> Result<Self, Refusal> {
        let delimiter = input.delimiter.as_deref().map(delimiter).transpose()?;
        let quote = match input.quote.as_deref() {
            None => Some(b'"'),
            Some("") => None,
            Some(text) => Some(character("quote", text, "or \"\" for none")?),
        };
        let given = match delimiter {
            Some(Delimiter::Given(given)) => Some(given),
            Some(Delimiter::Auto) => None,
            None => Some(b','),
        };
        if given.is_some() && given == quote {
            return Err(("quote", "cannot be the delimiter, too".into()));
        }
        let encoding = match input.encoding.as_deref() {
            None => UTF_8,
            Some(label) => {
                Encoding::for_label_no_replacement(label.trim().as_bytes()).ok_or_else(|| {
                    let known = "such as utf-8, utf-16, gb18030, shift_jis, windows-1252";
                    ("encoding", format!("{label:?} is no known encoding, {known}"))
                })?
            }
        };
        Ok(Self { delimiter, quote, encoding, null_values: input.null_values.clone() })
    }

    /// What parts the fields of a file: tabs where its name says so and nothing is declared.
    fn of_file(&self, path: &Path) -> Delimiter {
        let name = path.to_string_lossy().to_lowercase();
        let is_tsv = [".tsv", ".tsv.gz"].iter().any(|ending| name.ends_with(ending));
        self.delimiter.unwrap_or(Delimiter::Given(if is_tsv { b'\t' } else { b',' }))
    }
}

/// Whether an input says anything of CSV.
pub(crate) fn is_declared(input: &Input) -> bool {
    let Input { delimiter, quote, encoding, null_values, .. } = input;
    delimiter.is_some() || quote.is_some() || encoding.is_some() || !null_values.is_empty()
}

fn delimiter(text: &str) -> Result<Delimiter, Refusal> {
    match text {
        "auto" => Ok(Delimiter::Auto),
        "tab" => Ok(Delimiter::Given(b'\t')),
        _ => character("delimiter", text, "\"tab\" or \"auto\"").map(Delimiter::Given),
    }
}

fn character(key: &'static str, text: &str, or: &str) -> Result<u8, Refusal> {
    match text.as_bytes() {
        [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r' | 0) => Ok(*byte),
        _ => Err((key, format!("expected one ASCII character, {or}, found {text:?}"))),
    }
}

/// A file opened past its header.
pub(crate) struct Opened {
    names: Vec<String>,
    records: Records,
    null_values: Vec<String>,
}

impl Opened {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// A file that cannot be read, is empty, or has no header that is text.
    pub(crate) fn open(path: &Path, dialect: &Dialect) -> Result<Self, Broken> {
        let text = text::open(path, dialect.encoding)?;
        let mut records = Records::new(text, dialect.of_file(path), dialect.quote)?;
        let names = header(&mut records, dialect)?;
        Ok(Self { names, records, null_values: dialect.null_values.clone() })
    }

    /// The columns, all of them text.
    pub(crate) fn schema(&self) -> SchemaRef {
        let text = |name: &String| Field::new(name, DataType::Utf8, true);
        Arc::new(Schema::new(self.names.iter().map(text).collect::<Vec<Field>>()))
    }

    /// The rows of these columns (ascending), at most so many a batch.
    pub(crate) fn rows(self, roots: &[usize], batch_rows: usize) -> Rows {
        let fields = roots.iter().filter_map(|root| self.names.get(*root));
        let text = |name: &String| Field::new(name, DataType::Utf8, true);
        Rows {
            schema: Arc::new(Schema::new(fields.map(text).collect::<Vec<Field>>())),
            roots: roots.to_vec(),
            columns: self.names.len(),
            batch_rows,
            refused: None,
            opened: self,
        }
    }
}

fn header(records: &mut Records, dialect: &Dialect) -> Result<Vec<String>, Broken> {
    let again = "the first line must name the columns";
    if !records.next()? {
        return Err(Broken::file("is empty: it has no header line").hint(again));
    }
    let mut names = Vec::with_capacity(records.fields());
    for field in 0..records.fields() {
        let Some(name) = records.field(field) else {
            let problem = format!("its header is no {} text", dialect.encoding.name());
            let hint = "say which it is, such as encoding = \"gb18030\", in the input's section";
            return Err(Broken::file(problem).hint(hint));
        };
        if name.contains('\0') {
            let hint = "say which text it is, such as encoding = \"utf-16le\"";
            return Err(Broken::file("its header holds zero bytes").hint(hint));
        }
        names.push(name.trim().to_owned());
    }
    if names.iter().all(String::is_empty) {
        return Err(Broken::file("its header line names no column").hint(again));
    }
    Ok(names)
}

/// A line that is kept out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RefusedLine {
    pub(crate) rule: Rule,
    /// The number of the line it begins with, from 1.
    pub(crate) line: u64,
    /// What stands there, cut where it is long.
    pub(crate) text: String,
}

/// Rows that are good, or one that is not; in the order of the file.
pub(crate) enum Piece {
    Batch(RecordBatch),
    Refused(RefusedLine),
}

/// The rows of a file, batch by batch.
pub(crate) struct Rows {
    opened: Opened,
    schema: SchemaRef,
    roots: Vec<usize>,
    columns: usize,
    batch_rows: usize,
    /// A line that comes after the batch handed over last.
    refused: Option<RefusedLine>,
}

impl Rows {
    /// The next rows, or the next line that is kept out; `None` at the end.
    ///
    /// # Errors
    /// What makes the rest of the file unreadable.
    pub(crate) fn next(&mut self) -> Result<Option<Piece>, Broken> {
        if let Some(refused) = self.refused.take() {
            return Ok(Some(Piece::Refused(refused)));
        }
        let mut columns: Vec<StringBuilder> =
            self.roots.iter().map(|_| StringBuilder::new()).collect();
        let (mut rows, mut bytes) = (0, 0);
        while rows < self.batch_rows && bytes < BATCH_BYTES {
            if !self.opened.records.next()? {
                break;
            }
            if let Some(refused) = self.judge() {
                if rows == 0 {
                    return Ok(Some(Piece::Refused(refused)));
                }
                self.refused = Some(refused);
                break;
            }
            for (column, root) in columns.iter_mut().zip(&self.roots) {
                let text = self.opened.records.field(*root).unwrap_or_default();
                bytes += text.len();
                if text.is_empty() || is_null(text, &self.opened.null_values) {
                    column.append_null();
                } else {
                    column.append_value(text);
                }
            }
            rows += 1;
        }
        if rows == 0 {
            return Ok(None);
        }
        let arrays = columns.iter_mut().map(|c| Arc::new(c.finish()) as ArrayRef).collect();
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)
            .map(|batch| Some(Piece::Batch(batch)))
            .map_err(|e| Broken::file(format!("cannot be decoded: {e}")))
    }

    /// The rule that the present line breaks, if any.
    fn judge(&self) -> Option<RefusedLine> {
        let records = &self.opened.records;
        let rule = match records.shape() {
            Shape::TextAfterQuote => Rule::BadQuotes,
            Shape::NoText => Rule::UndecodableText,
            Shape::Whole if records.fields() != self.columns => Rule::RaggedRows,
            Shape::Whole => return None,
        };
        let raw = String::from_utf8_lossy(records.raw());
        let mut text: String = raw.chars().take(QUOTED_CHARS).collect();
        if text.len() < raw.len() {
            text.push('…');
        }
        Some(RefusedLine { rule, line: records.line(), text })
    }
}

fn is_null(text: &str, null_values: &[String]) -> bool {
    !null_values.is_empty() && null_values.iter().any(|null| null == text.trim())
}
