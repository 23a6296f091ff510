//! Opens a written table as a lazy frame, whichever format the run chose.
//!
//! Parquet is scanned. CSV and JSON lines are read with the types that the manifest declares, since
//! neither says them itself; a text that was defused for spreadsheets keeps its leading quote, and
//! an empty text in CSV reads as null.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use polars::prelude as pl;

use crate::config::Format;
use crate::error::Error;
use crate::sink::{ColumnEntry, FinishedRun, TableEntry};
use crate::table::MONEY_PRECISION;

/// A table of a finished run, lazily.
///
/// # Errors
/// The file is missing, damaged, or not of the types that the manifest declares.
pub(super) fn open(run: &FinishedRun, table: &TableEntry) -> Result<pl::LazyFrame, Error> {
    let path = run.path(table)?;
    let file = File::open(&path).map_err(|e| Error::output("read", &path, e))?;
    let sources = match table.format {
        // The open file rather than its path, so that no character of the path is taken for a
        // pattern.
        Format::Parquet => pl::ScanSources::Files(Arc::from([file])),
        Format::Csv | Format::Json => {
            let bytes = as_parquet(table, file, &path)?;
            pl::ScanSources::Buffers(Arc::from([bytes.into()]))
        }
    };
    let hive_options = pl::HiveOptions::new_disabled();
    let arguments = pl::ScanArgsParquet { glob: false, hive_options, ..Default::default() };
    let mut frame = pl::LazyFrame::scan_parquet_sources(sources, arguments)
        .map_err(|e| Error::output("read", &path, e))?;
    // Reads the footer now, so that a damaged file is told from a bad condition.
    frame.collect_schema().map_err(|e| Error::output("read", &path, e))?;
    Ok(frame)
}

/// Reads text with declared types and hands it on as Parquet in memory.
fn as_parquet(table: &TableEntry, file: File, path: &Path) -> Result<Vec<u8>, Error> {
    let schema = declared(&table.columns);
    let batches: Result<Vec<RecordBatch>, ArrowError> = if table.format == Format::Csv {
        arrow::csv::ReaderBuilder::new(schema.clone())
            .with_header(true)
            .build(file)
            .and_then(Iterator::collect)
    } else {
        arrow::json::ReaderBuilder::new(schema.clone())
            .build(BufReader::new(file))
            .and_then(Iterator::collect)
    };
    let batches = batches.map_err(|e| Error::output("read", path, e))?;
    encode(schema, &batches).map_err(|e| Error::output("read", path, e))
}

fn encode(schema: SchemaRef, batches: &[RecordBatch]) -> parquet::errors::Result<Vec<u8>> {
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, None)?;
    for batch in batches {
        writer.write(batch)?;
    }
    writer.into_inner()
}

/// The types that the manifest declares; every column may be null, as CSV has no other empty text.
fn declared(columns: &[ColumnEntry]) -> SchemaRef {
    let field = |column: &ColumnEntry| {
        let dtype = match column.dtype.as_str() {
            "int64" => DataType::Int64,
            "float64" => DataType::Float64,
            "decimal" => DataType::Decimal128(MONEY_PRECISION, column.scale.unwrap_or(2)),
            "bool" => DataType::Boolean,
            "date" => DataType::Date32,
            "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            _ => DataType::Utf8,
        };
        Field::new(column.name.as_str(), dtype, true)
    };
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}
