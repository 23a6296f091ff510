//! Writes the events into one Parquet file a month, in one pass and in bounded memory.
//!
//! Events arrive in the order of their deals. Each month keeps those that are not written yet;
//! as soon as they fill a row group, or no later deal can add to the month, they are sorted by
//! time, encoded in parallel and appended. What a row group holds depends on the order of arrival
//! only, never on the number of threads.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, Int32Array, Int64Array, StringArray, StringBuilder};
use arrow::datatypes::{Field, Int32Type, Schema, SchemaRef};
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::TypePtr;
use rayon::prelude::*;

use super::Ids;
use super::dice::mix;
use super::history::Event;
use super::world::{PRODUCTS, REGIONS, SOURCES, STAGES, World};
use crate::error::Error;
use crate::time::{Day, MICROS_PER_DAY, to_date};

/// Rows of a row group. Small enough that a month of some million rows is read by several
/// threads, large enough that 2 million deals over six years have one row group a month.
pub(super) const ROW_GROUP_ROWS: usize = 131_072;

/// Customers are numbered from here, so that a customer's number is never mistaken for a deal's.
pub(super) const FIRST_CUSTOMER: u64 = 1_000_000_001;

/// The folder's part for a month, such as `year=2024/month=07`.
pub(super) fn partition(month_start: Day) -> String {
    to_date(month_start).unwrap_or_default().format("year=%Y/month=%m").to_string()
}

/// How every Parquet file of the generator is written.
pub(super) fn properties() -> WriterPropertiesBuilder {
    WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default()))
}

/// The months' files while they are being written.
pub(super) struct MonthFiles<'w, R> {
    world: &'w World,
    encoder: Encoder<R>,
    months: Vec<Month<R>>,
}

/// What a row of any form has.
pub(super) trait Row: Copy + Send + Sync {
    /// Instant and deal: the order in a row group, and the month whose file it is in.
    fn key(&self) -> (i64, u64);
}

impl Row for Event {
    fn key(&self) -> (i64, u64) {
        (self.at, self.deal)
    }
}

/// The columns of a form: their fields, the position of the one that they are sorted by, and how
/// rows become arrays.
pub(super) struct Columns<R> {
    pub(super) fields: fn(Ids) -> Vec<Field>,
    pub(super) sorted_by: &'static str,
    pub(super) arrays: fn(&Names, &[R]) -> Result<Vec<ArrayRef>, ParquetError>,
}

type Writer = SerializedFileWriter<BufWriter<File>>;

struct Month<R> {
    path: PathBuf,
    waiting: Vec<R>,
    writer: Option<Writer>,
}

/// What has been written.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Written {
    pub(super) rows: u64,
    pub(super) files: u64,
}

impl<'w, R: Row> MonthFiles<'w, R> {
    /// Files below `folder`, none of which exists yet.
    pub(super) fn new(
        world: &'w World,
        ids: Ids,
        columns: Columns<R>,
        folder: &Path,
    ) -> Result<Self, Error> {
        let encoder = Encoder::new(world, ids, columns)
            .map_err(|e| Error::output("write files in", folder, e))?;
        let starts = world.month_starts.iter().take(world.months_n());
        let months = starts
            .map(|start| Month {
                path: folder.join(partition(*start)).join("part-0.parquet"),
                waiting: Vec::new(),
                writer: None,
            })
            .collect();
        Ok(Self { world, encoder, months })
    }

    /// Takes events that come after all those taken before, in the order of deals.
    pub(super) fn push(&mut self, events: &[R]) {
        for event in events {
            let month = self.world.month(event.key().0.div_euclid(MICROS_PER_DAY) as Day);
            if let Some(month) = self.months.get_mut(month) {
                month.waiting.push(*event);
            }
        }
    }

    /// Writes what fills a row group, and everything of the months before number `complete`.
    pub(super) fn flush(&mut self, complete: usize) -> Result<Written, Error> {
        let mut groups: Vec<(usize, Vec<R>)> = Vec::new();
        for (number, month) in self.months.iter_mut().enumerate() {
            while month.waiting.len() >= ROW_GROUP_ROWS {
                let rest = month.waiting.split_off(ROW_GROUP_ROWS);
                groups.push((number, std::mem::replace(&mut month.waiting, rest)));
            }
            if number < complete && !month.waiting.is_empty() {
                groups.push((number, std::mem::take(&mut month.waiting)));
            }
        }
        let rows = groups.iter().map(|(_, rows)| rows.len() as u64).sum();
        let encoder = &self.encoder;
        let encoded: Vec<(usize, Result<Vec<ArrowColumnChunk>, ParquetError>)> = groups
            .into_par_iter()
            .map(|(number, events)| (number, encoder.encode(events)))
            .collect();
        for (number, chunks) in encoded {
            if let Some(month) = self.months.get_mut(number) {
                month.append(&self.encoder, chunks)?;
            }
        }
        let mut files = 0;
        for month in self.months.iter_mut().take(complete) {
            files += month.close()?;
        }
        Ok(Written { rows, files })
    }
}

impl<R: Row> Month<R> {
    fn append(
        &mut self,
        encoder: &Encoder<R>,
        chunks: Result<Vec<ArrowColumnChunk>, ParquetError>,
    ) -> Result<(), Error> {
        if self.writer.is_none() {
            self.writer = Some(encoder.create(&self.path)?);
        }
        let failed = |e: ParquetError| Error::output("write", &self.path, e);
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let mut group = writer.next_row_group().map_err(failed)?;
        for chunk in chunks.map_err(failed)? {
            chunk.append_to_row_group(&mut group).map_err(failed)?;
        }
        group.close().map_err(failed)?;
        Ok(())
    }

    /// Finishes the file if there is one, and says how many that were.
    fn close(&mut self) -> Result<u64, Error> {
        let Some(writer) = self.writer.take() else { return Ok(0) };
        let failed = |e: ParquetError| Error::output("write", &self.path, e);
        let buffer = writer.into_inner().map_err(failed)?;
        buffer.into_inner().map_err(|e| Error::output("write", &self.path, e.into_error()))?;
        Ok(1)
    }
}

/// Turns events into column chunks.
struct Encoder<R> {
    columns: Columns<R>,
    schema: SchemaRef,
    root: TypePtr,
    properties: Arc<WriterProperties>,
    factory: ArrowRowGroupWriterFactory,
    names: Names,
}

/// The dictionaries behind the codes of an event, and the form of the ids.
pub(super) struct Names {
    pub(super) ids: Ids,
    pub(super) owners: ArrayRef,
    pub(super) regions: ArrayRef,
    pub(super) sources: ArrayRef,
    pub(super) products: ArrayRef,
    pub(super) stages: ArrayRef,
}

impl<R: Row> Encoder<R> {
    fn new(world: &World, ids: Ids, columns: Columns<R>) -> Result<Self, ParquetError> {
        let schema = Arc::new(Schema::new((columns.fields)(ids)));
        let time = schema.fields().iter().position(|f| f.name() == columns.sorted_by);
        let sorting = SortingColumn {
            column_idx: time.unwrap_or_default() as i32,
            descending: false,
            nulls_first: false,
        };
        // Nearly every id, time and amount differs, so a dictionary would only be thrown away.
        let plain = ["deal_id", "customer_id", "event_time", "amount"];
        let properties = plain
            .into_iter()
            .fold(properties(), |p, c| p.set_column_dictionary_enabled(c.into(), false))
            .set_sorting_columns(Some(vec![sorting]))
            .build();
        let properties = Arc::new(properties);
        let root = ArrowSchemaConverter::new().convert(&schema)?.root_schema_ptr();
        let model = SerializedFileWriter::new(Vec::new(), root.clone(), properties.clone())?;
        let factory = ArrowRowGroupWriterFactory::new(&model, schema.clone());
        let names = Names {
            ids,
            owners: names(world.owners.iter().map(|o| o.id.as_str())),
            regions: names(REGIONS.iter().map(|r| r.name)),
            sources: names(SOURCES.iter().map(|s| s.name)),
            products: names(PRODUCTS.iter().map(|p| p.name)),
            stages: names(STAGES),
        };
        Ok(Self { columns, schema, root, properties, factory, names })
    }

    fn create(&self, path: &Path) -> Result<Writer, Error> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|e| Error::output("create the folder", folder, e))?;
        }
        let file = File::create(path).map_err(|e| Error::output("create", path, e))?;
        let buffer = BufWriter::with_capacity(1 << 20, file);
        SerializedFileWriter::new(buffer, self.root.clone(), self.properties.clone())
            .map_err(|e| Error::output("write", path, e))
    }

    fn encode(&self, mut events: Vec<R>) -> Result<Vec<ArrowColumnChunk>, ParquetError> {
        // A deal never has two events at one instant, so this order is the only one.
        events.sort_unstable_by_key(Row::key);
        let columns = (self.columns.arrays)(&self.names, &events)?;
        drop(events);
        let writers = self.factory.create_column_writers(0)?;
        let mut chunks = Vec::with_capacity(writers.len());
        for ((mut writer, field), column) in
            writers.into_iter().zip(self.schema.fields()).zip(&columns)
        {
            for leaf in compute_leaves(field, column)? {
                writer.write(&leaf)?;
            }
            chunks.push(writer.close()?);
        }
        Ok(chunks)
    }
}

impl Names {
    /// The ids of deals or customers.
    pub(super) fn id_column(
        &self,
        letter: char,
        first: u64,
        ids: impl Iterator<Item = u64>,
    ) -> ArrayRef {
        match self.ids {
            Ids::Int => Arc::new(Int64Array::from_iter_values(ids.map(|id| (first + id) as i64))),
            Ids::String => {
                let mut column = StringBuilder::new();
                let mut text = String::new();
                for id in ids {
                    write_id(&mut text, letter, id);
                    column.append_value(&text);
                }
                Arc::new(column.finish())
            }
        }
    }
}

fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(names))
}

/// A column of names by their codes.
pub(super) fn name_column(
    names: ArrayRef,
    codes: impl Iterator<Item = Option<i32>>,
) -> Result<ArrayRef, ParquetError> {
    let codes: Int32Array = codes.collect();
    Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(codes, names)?))
}

/// Writes a letter and thirteen base-32 digits that look nothing like the number but are its alone.
fn write_id(text: &mut String, letter: char, number: u64) {
    // Letters that are easily misread are left out, as in Crockford's alphabet.
    const DIGITS: &str = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    text.clear();
    text.push(letter);
    let scattered = mix(number);
    for place in (0..13).rev() {
        let digit = (scattered >> (5 * place)) as usize & 31;
        text.push_str(DIGITS.get(digit..=digit).unwrap_or_default());
    }
}
