//! What the tests share: a scratch folder with inputs and a configuration, a run, and its tables
//! read back from disk as plain values.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float64Type, Int64Type, Schema, TimeUnit,
    TimestampMicrosecondType,
};
use dealmill::config::{self, Flags, Resolved};
use dealmill::engine::Backend;
use dealmill::error::Error;
use dealmill::run::{self, RunOptions, Summary};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// One value of a written table. Money is minor units, a date its `YYYY-MM-DD`.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    Null,
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
}

/// One row of a written table by column name.
pub type Row = BTreeMap<String, Cell>;

/// A scratch folder that is removed at the end of the test.
pub struct Scratch {
    folder: tempfile::TempDir,
}

impl Scratch {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    /// Writes a text file (CSV, TOML) below the folder.
    pub fn write(&self, relative: &str, text: &str) -> PathBuf {
        let path = self.path(relative);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Writes a Parquet file below the folder, in row groups of at most `group` rows.
    pub fn parquet(&self, relative: &str, columns: &[(&str, ArrayRef)], group: usize) -> PathBuf {
        let path = self.path(relative);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let batch = RecordBatch::try_from_iter(columns.iter().cloned()).unwrap();
        let properties = parquet::file::properties::WriterProperties::builder()
            .set_max_row_group_row_count(Some(group))
            .build();
        let file = File::create(&path).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        path
    }

    /// Resolves the configuration given as text; outputs go below the folder, into `out`.
    pub fn resolve(&self, toml: &str) -> Result<Resolved, Error> {
        let path = self.write("dealmill.toml", toml);
        config::load(&Flags { config: Some(path), out: Some(self.path("out")), ..Flags::default() })
    }

    /// Runs the configuration given as text.
    pub fn run(&self, toml: &str) -> Result<Summary, Error> {
        execute(&self.resolve(toml)?)
    }

    /// A table of the latest run.
    pub fn table(&self, name: &str) -> Vec<Row> {
        rows_of(&self.path(&format!("out/latest/{name}.parquet")))
    }
}

pub fn execute(resolved: &Resolved) -> Result<Summary, Error> {
    run::execute(resolved, &RunOptions { on_step: &|_| (), backend: Backend::Kernel })
}

/// Destroys a column of a row group of a Parquet file, so that whoever decodes it fails.
pub fn damage(path: &Path, group: usize, column: &str) {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    let metadata = reader.metadata().row_group(group);
    let is_it =
        |c: &&parquet::file::metadata::ColumnChunkMetaData| c.column_path().string() == column;
    let (start, length) = metadata.columns().iter().find(is_it).unwrap().byte_range();
    let mut bytes = std::fs::read(path).unwrap();
    let start = usize::try_from(start).unwrap();
    bytes[start..start + usize::try_from(length).unwrap()].fill(0xFF);
    std::fs::write(path, bytes).unwrap();
}

/// All rows of a Parquet file.
pub fn rows_of(path: &Path) -> Vec<Row> {
    let file = File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let mut rows = Vec::new();
    for batch in reader {
        let batch = batch.unwrap();
        let schema: Arc<Schema> = batch.schema();
        for row in 0..batch.num_rows() {
            let cell = |(i, f): (usize, &Arc<arrow::datatypes::Field>)| {
                (f.name().clone(), cell(batch.column(i), row))
            };
            rows.push(schema.fields().iter().enumerate().map(cell).collect());
        }
    }
    rows
}

fn cell(array: &ArrayRef, row: usize) -> Cell {
    if array.is_null(row) {
        return Cell::Null;
    }
    match array.data_type() {
        DataType::Utf8 => Cell::Text(array.as_string::<i32>().value(row).to_owned()),
        DataType::Int64 => Cell::Int(array.as_primitive::<Int64Type>().value(row)),
        DataType::UInt64 => {
            let n = array.as_primitive::<arrow::datatypes::UInt64Type>().value(row);
            Cell::Int(i64::try_from(n).unwrap())
        }
        DataType::Float64 => Cell::Float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Boolean => Cell::Bool(array.as_boolean().value(row)),
        DataType::Decimal128(..) => {
            let minor = array.as_primitive::<Decimal128Type>().value(row);
            Cell::Int(i64::try_from(minor).unwrap())
        }
        DataType::Date32 => {
            let day = array.as_primitive::<Date32Type>().value(row);
            Cell::Text(dealmill::time::day_text(day))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            Cell::Int(array.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        other => panic!("no cell of type {other}"),
    }
}

/// The rows that have these values, such as `&[("slice", "all"), ("period", "month")]`; "null"
/// stands for null.
pub fn filter(rows: &[Row], wanted: &[(&str, &str)]) -> Vec<Row> {
    let holds = |row: &&Row| {
        wanted.iter().all(|(column, value)| match row.get(*column) {
            Some(Cell::Null) => *value == "null",
            Some(Cell::Text(text)) => text == value,
            Some(Cell::Int(n)) => n.to_string() == *value,
            Some(Cell::Bool(b)) => b.to_string() == *value,
            other => panic!("column {column:?} holds {other:?}"),
        })
    };
    rows.iter().filter(holds).cloned().collect()
}

/// The one row that has these values.
#[track_caller]
pub fn only(rows: &[Row], wanted: &[(&str, &str)]) -> Row {
    let found = filter(rows, wanted);
    assert_eq!(found.len(), 1, "rows with {wanted:?}: {found:?}");
    found.into_iter().next().unwrap()
}

#[track_caller]
pub fn int(row: &Row, column: &str) -> i64 {
    match row.get(column) {
        Some(Cell::Int(n)) => *n,
        other => panic!("{column}: {other:?}"),
    }
}

#[track_caller]
pub fn float(row: &Row, column: &str) -> Option<f64> {
    match row.get(column) {
        Some(Cell::Float(x)) => Some(*x),
        Some(Cell::Null) => None,
        other => panic!("{column}: {other:?}"),
    }
}

#[track_caller]
pub fn close(row: &Row, column: &str, expected: f64, tolerance: f64) {
    let got = float(row, column).unwrap_or_else(|| panic!("{column} is null"));
    assert!((got - expected).abs() <= tolerance, "{column}: {got}, expected {expected}");
}

/// The folder of a shared data set, or `None`, said aloud, where it is absent.
pub fn shared_data(set: &str) -> Option<PathBuf> {
    let root = std::env::var_os("DEALMILL_SHARED_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    let folder = root.join(set);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("SKIPPED: {} is not there; set DEALMILL_SHARED_DATA", folder.display());
    None
}
