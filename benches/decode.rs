//! Decodes the event columns of Parquet files and does nothing else: what any engine must pay.
//!
//! `decode FOLDER [THREADS [COLUMN,…]]`; without columns all of the file's are decoded.
//! Row groups are decoded in parallel, the largest first; columns of names stay codes into their
//! dictionaries, text is not copied out of its page, and every batch is dropped at once.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs, reason = "a bench may say so")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use rayon::prelude::*;

// Dealmill's own allocator, so that the comparison is of the work.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rows of a batch; of 1,024 to 131,072 none is measurably faster.
const BATCH_ROWS: usize = 32_768;

/// A file whose footer has been read.
struct Input {
    path: PathBuf,
    metadata: ArrowReaderMetadata,
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|a| !a.starts_with("--"));
    // `cargo bench` runs every bench; this one has nothing to do without files.
    let Some(folder) = arguments.next() else {
        return println!("decode: no folder given, see benches/README.md");
    };
    let threads = arguments.next().map_or(0, |n| n.parse().unwrap());
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().unwrap();
    let columns: Option<Vec<String>> =
        arguments.next().map(|names| names.split(',').map(str::to_owned).collect());
    let begin = Instant::now();
    let inputs: Vec<Input> = files(Path::new(&folder)).par_iter().map(|p| open(p)).collect();
    let mut groups: Vec<(&Input, usize, i64)> = Vec::new();
    for input in &inputs {
        let sizes = input.metadata.metadata().row_groups().iter().map(|g| g.total_byte_size());
        groups.extend(sizes.enumerate().map(|(group, size)| (input, group, size)));
    }
    groups.sort_by_key(|(_, _, size)| std::cmp::Reverse(*size));
    // Bridged, so that they are begun in this order.
    let rows: usize = groups
        .into_iter()
        .par_bridge()
        .map(|(input, group, _)| decode(input, group, columns.as_deref()))
        .sum();
    println!("{rows} rows in {:.3} s", begin.elapsed().as_secs_f64());
}

/// Rows of a row group, every one of them decoded.
fn decode(input: &Input, group: usize, columns: Option<&[String]>) -> usize {
    let schema = input.metadata.parquet_schema();
    let mask = columns.map_or_else(ProjectionMask::all, |names| {
        ProjectionMask::columns(schema, names.iter().map(String::as_str))
    });
    // Opened again, because a cloned handle shares its place in the file with other threads.
    let file = File::open(&input.path).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, input.metadata.clone())
        .with_row_groups(vec![group])
        .with_projection(mask)
        .with_batch_size(BATCH_ROWS)
        .build()
        .unwrap();
    reader.map(|batch| batch.unwrap().num_rows()).sum()
}

fn open(path: &Path) -> Input {
    let file = File::open(path).unwrap();
    let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).unwrap();
    // Plain text becomes views of its pages; dictionaries stay what the file says.
    let fields = metadata.schema().fields().iter().map(|field| match field.data_type() {
        DataType::Utf8 => Field::new(field.name(), DataType::Utf8View, field.is_nullable()),
        _ => field.as_ref().clone(),
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let options = ArrowReaderOptions::new().with_schema(schema);
    let metadata = ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options).unwrap();
    Input { path: path.to_owned(), metadata }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}
