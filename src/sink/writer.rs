//! From rows to bytes: Parquet, CSV and JSON lines with one fixed setting each.
//!
//! The bytes depend on the rows and on the run's name alone: no clock, no random order. Parquet is
//! the loss-free form and explains itself, since each column carries its unit and meaning. In CSV a
//! text that a spreadsheet would run as a formula is defused by a leading quote.

use std::collections::VecDeque;
use std::error::Error as StdError;
use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray, make_array};
use arrow::compute::concat;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, compute_leaves};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use rayon::prelude::*;

use super::manifest::ColumnEntry;
use crate::config::Format;
use crate::table::{BLOCK_ROWS, ColumnSpec, Role};

/// Version of the tables' columns, in every file's metadata; raised when a column changes its
/// meaning or goes away.
pub const TABLE_SCHEMA_VERSION: u32 = 1;

/// Whatever an encoder or the file under it fails with.
pub(super) type Failure = Box<dyn StdError + Send + Sync>;

/// The ending of a table's file.
pub(super) fn extension(format: Format) -> &'static str {
    match format {
        Format::Parquet => "parquet",
        Format::Csv => "csv",
        Format::Json => "jsonl",
    }
}

/// What there is to a table besides its rows.
#[derive(Debug, Clone)]
pub struct Heading<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its columns, in order.
    pub specs: &'a [ColumnSpec],
    /// The columns of its batches.
    pub schema: SchemaRef,
}

/// Writes a table's rows and returns their number; `run` are the key-value pairs that every file of
/// the run carries.
///
/// Invariant: the bytes do not depend on how the rows are cut into batches.
pub(super) fn write_rows<W: Write + Send>(
    table: &Heading<'_>,
    batches: impl IntoIterator<Item = RecordBatch>,
    format: Format,
    run: &[(&str, String)],
    out: W,
) -> Result<(W, u64), Failure> {
    let mut rows = 0;
    let counted = batches.into_iter().inspect(|batch| rows += batch.num_rows() as u64);
    let out = match format {
        Format::Parquet => write_parquet(table, counted, run, out),
        Format::Csv => write_csv(table, counted, out),
        Format::Json => write_json(counted, out),
    }?;
    Ok((out, rows))
}

fn write_parquet<W: Write + Send>(
    table: &Heading<'_>,
    batches: impl Iterator<Item = RecordBatch>,
    run: &[(&str, String)],
    out: W,
) -> Result<W, Failure> {
    let schema = described(table);
    let columns: Vec<ColumnEntry> = column_entries(table);
    let mut pairs: Vec<KeyValue> = key_values(run);
    pairs.push(KeyValue::new("dealmill.table".into(), table.name.to_owned()));
    let version = TABLE_SCHEMA_VERSION.to_string();
    pairs.push(KeyValue::new("dealmill.table_schema_version".into(), version));
    pairs.push(KeyValue::new("dealmill.columns".into(), serde_json::to_string(&columns)?));
    let keys = table.specs.iter().zip(0_i32..).filter(|(spec, _)| spec.role == Role::Key);
    let order: Vec<SortingColumn> = keys
        .map(|(_, column_idx)| SortingColumn { column_idx, descending: false, nulls_first: true })
        .collect();
    let properties = properties(pairs, order);
    let writer = ArrowWriter::try_new(out, schema.clone(), Some(properties))?;
    let (mut file, columns) = writer.into_serialized_writer()?;
    let mut rows = Waiting { batches, held: VecDeque::new(), rows: 0 };
    for group in 0.. {
        let mut next = rows.take(ROWS_AT_A_TIME);
        if next.is_empty() {
            break;
        }
        let (mut writers, mut written) = (columns.create_column_writers(group)?, 0);
        while !next.is_empty() {
            encode(&schema, &next, &mut writers)?;
            written += next.iter().map(RecordBatch::num_rows).sum::<usize>();
            next = rows.take(ROWS_AT_A_TIME.min(GROUP_ROWS - written));
        }
        let chunks = writers.into_par_iter().map(ArrowColumnWriter::close);
        let mut row_group = file.next_row_group()?;
        for chunk in chunks.collect::<Result<Vec<_>, _>>()? {
            chunk.append_to_row_group(&mut row_group)?;
        }
        row_group.close()?;
    }
    Ok(file.into_inner()?)
}

/// Rows of a row group, in which every column stands by itself.
const GROUP_ROWS: usize = 1 << 20;

/// Rows encoded at a time, column by column on every thread.
const ROWS_AT_A_TIME: usize = 16 * BLOCK_ROWS;

/// Rows that are not encoded yet, of which some have come.
struct Waiting<I> {
    batches: I,
    held: VecDeque<RecordBatch>,
    rows: usize,
}

impl<I: Iterator<Item = RecordBatch>> Waiting<I> {
    /// The first rows, as many as are wanted or there are.
    fn take(&mut self, wanted: usize) -> Vec<RecordBatch> {
        while self.rows < wanted
            && let Some(batch) = self.batches.next()
        {
            self.rows += batch.num_rows();
            self.held.push_back(batch);
        }
        let (mut taken, mut left) = (Vec::new(), wanted.min(self.rows));
        self.rows -= left;
        while left > 0
            && let Some(batch) = self.held.pop_front()
        {
            let own = batch.num_rows().min(left);
            taken.push(batch.slice(0, own));
            if own < batch.num_rows() {
                self.held.push_front(batch.slice(own, batch.num_rows() - own));
            }
            left -= own;
        }
        taken
    }
}

/// Encodes rows block by block, each column by itself.
fn encode(
    schema: &SchemaRef,
    rows: &[RecordBatch],
    writers: &mut [ArrowColumnWriter],
) -> Result<(), Failure> {
    let column = |(position, writer): (usize, &mut ArrowColumnWriter)| -> Result<(), Failure> {
        let parts = rows.iter().filter_map(|batch| batch.columns().get(position));
        let all = concat(&parts.map(AsRef::as_ref).collect::<Vec<_>>())?;
        for begin in (0..all.len()).step_by(BLOCK_ROWS) {
            let block = plain(&all.slice(begin, BLOCK_ROWS.min(all.len() - begin)))?;
            for leaf in
                compute_leaves(schema.fields().get(position).ok_or("no such column")?, &block)?
            {
                writer.write(&leaf)?;
            }
        }
        Ok(())
    };
    writers.par_iter_mut().enumerate().try_for_each(column)
}

/// The column, which says that it has no nulls where it has none: the writer begins pages elsewhere
/// in a column that might have some.
fn plain(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    if column.null_count() > 0 || column.nulls().is_none() {
        return Ok(column.clone());
    }
    let data = column.to_data().into_builder().nulls(None).build()?;
    Ok(make_array(data))
}

/// Writes batches of one schema to Parquet and returns the number of rows.
pub(super) fn write_batches<W: Write + Send>(
    schema: SchemaRef,
    batches: impl IntoIterator<Item = RecordBatch>,
    run: &[(&str, String)],
    out: W,
) -> Result<(W, u64), Failure> {
    let properties = properties(key_values(run), Vec::new());
    let mut writer = ArrowWriter::try_new(out, schema, Some(properties))?;
    let mut rows = 0;
    for batch in batches {
        writer.write(&batch)?;
        rows += batch.num_rows() as u64;
    }
    Ok((writer.into_inner()?, rows))
}

fn key_values(run: &[(&str, String)]) -> Vec<KeyValue> {
    run.iter().map(|(key, value)| KeyValue::new((*key).to_owned(), value.clone())).collect()
}

fn properties(pairs: Vec<KeyValue>, order: Vec<SortingColumn>) -> WriterProperties {
    WriterProperties::builder()
        .set_created_by(format!("dealmill version {}", env!("CARGO_PKG_VERSION")))
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_sorting_columns((!order.is_empty()).then_some(order))
        .set_key_value_metadata(Some(pairs))
        .build()
}

/// What the manifest and the file say of the columns.
pub(super) fn column_entries(table: &Heading<'_>) -> Vec<ColumnEntry> {
    let fields = table.schema.fields().iter();
    table.specs.iter().zip(fields).map(|(s, f)| ColumnEntry::new(s, f.data_type())).collect()
}

/// The columns, each field carrying its unit and meaning.
fn described(table: &Heading<'_>) -> SchemaRef {
    let fields: Vec<Field> = table
        .specs
        .iter()
        .zip(table.schema.fields())
        .map(|(spec, field)| {
            let unit = ("unit".to_owned(), spec.unit.to_owned());
            let meaning = ("meaning".to_owned(), spec.meaning.to_string());
            field.as_ref().clone().with_metadata([unit, meaning])
        })
        .collect();
    Arc::new(Schema::new(fields))
}

fn write_csv<W: Write>(
    table: &Heading<'_>,
    batches: impl Iterator<Item = RecordBatch>,
    out: W,
) -> Result<W, Failure> {
    let mut writer = arrow::csv::WriterBuilder::new().with_header(true).build(out);
    // Without rows there is a header all the same.
    writer.write(&defused_batch(&RecordBatch::new_empty(table.schema.clone()))?)?;
    for batch in batches {
        writer.write(&defused_batch(&batch)?)?;
    }
    Ok(writer.into_inner())
}

fn write_json<W: Write>(batches: impl Iterator<Item = RecordBatch>, out: W) -> Result<W, Failure> {
    let builder = arrow::json::WriterBuilder::new().with_explicit_nulls(true);
    let mut writer = builder.build::<_, arrow::json::writer::LineDelimited>(out);
    for batch in batches {
        writer.write(&batch)?;
    }
    writer.finish()?;
    Ok(writer.into_inner())
}

/// The batch with every text, and every column's name, that begins like a formula defused.
fn defused_batch(batch: &RecordBatch) -> Result<RecordBatch, Failure> {
    let schema = batch.schema();
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|f| Field::new(defused(f.name()), f.data_type().clone(), f.is_nullable()))
        .collect();
    let columns: Vec<ArrayRef> = batch.columns().iter().map(defused_column).collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

fn defused_column(column: &ArrayRef) -> ArrayRef {
    let Some(texts) = column.as_any().downcast_ref::<StringArray>() else {
        return column.clone();
    };
    if !texts.iter().flatten().any(is_formula) {
        return column.clone();
    }
    Arc::new(texts.iter().map(|text| text.map(defused)).collect::<StringArray>())
}

fn defused(text: &str) -> String {
    if is_formula(text) { format!("'{text}") } else { text.to_owned() }
}

/// Whether a spreadsheet may take the text for a formula: the signs that OWASP lists, and the
/// full-width forms that some programs treat alike.
fn is_formula(text: &str) -> bool {
    const SIGNS: &[char] = &['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];
    text.starts_with(SIGNS)
}
