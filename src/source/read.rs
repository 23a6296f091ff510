//! Reading an input's files unit by unit: a row group of a Parquet file, or a CSV file.
//!
//! Units are independent, so they are read in parallel; each knows the position of its first row,
//! so that every row can be named. Only the wanted columns are read.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, DictionaryArray, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Int32Type};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::file::reader::ChunkReader;

use super::alike;
use super::chunks::{self, Chunks};
use super::convert::{self, Clock};
use super::csv::{self, Broken, Dialect, Piece, RefusedLine};
use super::discover::{FoundFile, Listing, discover, modified_micros};
use super::guard::guarded;
use super::pages;
use super::preflight::{CheckedFile, NaiveTimes, Origin, Wanted, check_files};
use crate::config::Input;
use crate::error::{Error, Fault};
use crate::money::{Currency, DecimalMark};
use crate::quality::{Counts, Ledger, QuarantinedRow, Rule};
use crate::time::{Day, Instant, MICROS_PER_DAY};

/// Rows decoded at a time, so few that a batch of ten columns stays in the second-level cache while
/// it is converted and judged.
const BATCH_ROWS: usize = 8_192;

/// An input whose files have been checked.
#[derive(Debug)]
pub struct CheckedInput {
    /// Its name in the configuration.
    pub name: String,
    pub(crate) listing: Listing,
    pub(crate) files: Vec<CheckedFile>,
    pub(crate) clock: Clock,
    /// What the preflight noticed.
    pub warnings: Vec<String>,
    /// Wanted columns that this run does without.
    pub(crate) unread: BTreeSet<usize>,
    /// File and row group of the units whose statistics showed that they need not be read.
    skipped: Mutex<BTreeSet<(usize, usize)>>,
    dialect: Dialect,
    pub(super) decimal: DecimalMark,
    /// Lines of CSV that became no row, since reading began.
    refused: Mutex<Vec<(QuarantinedRow, Rule)>>,
    /// Bytes that they take, about.
    refused_bytes: AtomicU64,
}

/// Whether what an input says of its CSV files can be meant.
///
/// # Errors
/// The key and what is wrong with its value.
pub fn check_dialect(input: &Input) -> Result<(), (&'static str, String)> {
    Dialect::of(input).map(|_| ())
}

/// A part of an input that is read in one go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unit {
    pub(crate) file: usize,
    pub(crate) row_group: Option<usize>,
    /// Position of its first row in the file.
    pub(crate) first_row: u64,
    /// Rows by the footer; an estimate for CSV.
    pub(crate) rows: u64,
    /// Compressed bytes of the wanted columns.
    pub(crate) bytes: u64,
}

impl CheckedInput {
    /// Lists and checks the files of an input.
    ///
    /// # Errors
    /// Everything that is wrong with any file, in one [`Error::Faults`].
    pub(crate) fn open(
        name: &str,
        input: &Input,
        wanted: &[Wanted],
        clock: Clock,
    ) -> Result<Self, Error> {
        let mut listing = discover(name, &input.path, input.follow_links)?;
        let naive =
            if clock.naive.is_some() { NaiveTimes::Declared } else { NaiveTimes::Undeclared };
        let found = std::mem::take(&mut listing.files);
        let dialect = Dialect::of(input).map_err(|(key, problem)| {
            Error::Config(vec![format!("inputs.{name}.{key}: {problem}")])
        })?;
        let (files, more, mut warnings) = check_files(found, wanted, input, naive, &dialect);
        let faults: Vec<Fault> =
            std::mem::take(&mut listing.faults).into_iter().chain(more).collect();
        if !faults.is_empty() {
            return Err(Error::Faults(faults));
        }
        let other = |p: &PathBuf| {
            p.file_name().is_some_and(|n| !n.to_string_lossy().starts_with(['_', '.']))
        };
        let others: Vec<String> =
            listing.ignored.iter().filter(|p| other(p)).map(|p| p.display().to_string()).collect();
        if let Some(first) = others.first() {
            warnings.push(format!(
                "{} files are neither Parquet nor CSV and were ignored, such as {first}",
                others.len()
            ));
        }
        if csv::is_declared(input) && files.iter().all(|file| file.footer.is_some()) {
            let keys = "delimiter, quote, encoding and null_values";
            warnings.push(format!("{keys} are about CSV files, and there are none"));
        }
        warnings.extend(alike::columns(&files, wanted, input));
        let skipped = Mutex::default();
        let unread = BTreeSet::new();
        Ok(Self {
            name: name.to_owned(),
            listing,
            files,
            clock,
            warnings,
            unread,
            skipped,
            dialect,
            decimal: input.decimal,
            refused: Mutex::default(),
            refused_bytes: AtomicU64::new(0),
        })
    }

    /// The units in order of file and row.
    pub(crate) fn units(&self) -> Vec<Unit> {
        let mut units = Vec::new();
        for (file, checked) in self.files.iter().enumerate() {
            let Some(footer) = &checked.footer else {
                // A guess for sizing only: 64 bytes a line, packed to an eighth.
                let bytes = checked.found.bytes;
                let is_packed = checked.found.path.extension().is_some_and(|e| e == "gz");
                let rows = bytes / if is_packed { 8 } else { 64 } + 1;
                units.push(Unit { file, row_group: None, first_row: 0, rows, bytes });
                continue;
            };
            let roots = self.projected(checked);
            let mut first_row = 0;
            for (index, group) in footer.metadata().row_groups().iter().enumerate() {
                let rows = u64::try_from(group.num_rows()).unwrap_or(0);
                let schema = footer.parquet_schema();
                let wanted_bytes = group
                    .columns()
                    .iter()
                    .enumerate()
                    .filter(|(leaf, _)| roots.contains(&schema.get_column_root_idx(*leaf)))
                    .map(|(_, chunk)| u64::try_from(chunk.compressed_size()).unwrap_or(0));
                let bytes = wanted_bytes.sum();
                units.push(Unit { file, row_group: Some(index), first_row, rows, bytes });
                first_row += rows;
            }
        }
        units
    }

    /// Positions of the columns to be read in the file, ascending.
    pub(super) fn projected(&self, checked: &CheckedFile) -> Vec<usize> {
        let is_read = |(index, _): &(usize, &Origin)| !self.unread.contains(index);
        let position = |(_, origin): (usize, &Origin)| match origin {
            Origin::Column(position) => Some(*position),
            _ => None,
        };
        let wanted = checked.origins.iter().enumerate().filter(is_read);
        let mut roots: Vec<usize> = wanted.filter_map(position).collect();
        roots.sort_unstable();
        roots.dedup();
        roots
    }

    /// The folder of the input.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.listing.root
    }

    /// Notes that a unit is not read.
    pub(crate) fn skip(&self, unit: &Unit) {
        if let Some(group) = unit.row_group {
            let mut skipped = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
            skipped.insert((unit.file, group));
        }
    }

    /// Compressed bytes of the wanted columns in all row groups that were not skipped.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.file_facts().iter().map(|(_, _, bytes)| bytes).sum()
    }

    /// Every file with its rows (0 for CSV, which has no footer) and the bytes read of it.
    #[must_use]
    pub fn file_facts(&self) -> Vec<(&FoundFile, u64, u64)> {
        let mut facts: Vec<(&FoundFile, u64, u64)> =
            self.files.iter().map(|f| (&f.found, 0, 0)).collect();
        let skipped = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        for unit in self.units() {
            if let Some((_, rows, bytes)) = facts.get_mut(unit.file) {
                let is_skipped = unit.row_group.is_some_and(|g| skipped.contains(&(unit.file, g)));
                *rows += if unit.row_group.is_some() { unit.rows } else { 0 };
                *bytes += if is_skipped { 0 } else { unit.bytes };
            }
        }
        facts
    }

    /// Files whose size or time is no longer what it was when they were listed.
    #[must_use]
    pub fn changed_files(&self) -> Vec<PathBuf> {
        let changed = |f: &&CheckedFile| {
            std::fs::metadata(&f.found.path).map_or(true, |m| {
                m.len() != f.found.bytes || modified_micros(&m) != f.found.modified
            })
        };
        self.files.iter().filter(changed).map(|f| f.found.path.clone()).collect()
    }

    /// Money in minor units, as [`convert::money`].
    ///
    /// # Errors
    /// A column that cannot be cast.
    pub(crate) fn money(
        &self,
        array: &ArrayRef,
        currency: &Currency,
    ) -> Result<(Vec<i64>, Vec<usize>), Error> {
        convert::money(array, currency, self.decimal)
    }

    /// Forgets what was refused when the input was read before.
    pub(crate) fn forget_refused(&self) {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.refused_bytes.store(0, Ordering::Relaxed);
    }

    /// Counts the lines that became no row and keeps them in the quarantine; called once when
    /// everything is read.
    pub(crate) fn settle_refused(&self, ledger: &Ledger) {
        let refused =
            std::mem::take(&mut *self.refused.lock().unwrap_or_else(PoisonError::into_inner));
        if self.files.iter().any(|file| file.footer.is_none()) {
            ledger.declare_csv(&self.name);
        }
        if refused.is_empty() {
            return;
        }
        self.refused_bytes.store(0, Ordering::Relaxed);
        let n = refused.len() as u64;
        let mut counts = Counts::default();
        (counts.rows_in, counts.quarantined, counts.events) = (n, n, n);
        for (_, rule) in &refused {
            counts.add(*rule, 1);
        }
        ledger.record(&self.name, &counts);
        ledger.quarantine(&self.name, refused.into_iter().map(|(row, _)| row).collect());
    }

    /// Bytes that lines take that became no row, as long as they are not in the ledger, about.
    #[must_use]
    pub fn refused_bytes(&self) -> u64 {
        self.refused_bytes.load(Ordering::Relaxed)
    }

    /// Notes a line that became no row.
    fn refuse(&self, path: &Path, row: u64, line: RefusedLine) {
        let refused = QuarantinedRow {
            line: Some(line.line),
            text: Some(line.text),
            ..QuarantinedRow::of_fold(path.to_path_buf(), row, line.rule)
        };
        self.refused_bytes.fetch_add(refused.bytes(), Ordering::Relaxed);
        let mut all = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        all.push((refused, line.rule));
    }

    /// The path of a unit's file.
    pub(crate) fn path(&self, unit: &Unit) -> &Path {
        self.files.get(unit.file).map_or(Path::new(""), |f| f.found.path.as_path())
    }

    /// The instants of a wanted column.
    ///
    /// # Errors
    /// [`Error::Faults`] naming file and column for times without a zone where none is declared.
    pub(crate) fn instants(
        &self,
        unit: &Unit,
        wanted: usize,
        array: &ArrayRef,
    ) -> Result<Vec<Instant>, Error> {
        convert::instants(array, &self.clock).map_err(|e| self.placed(unit, wanted, e))
    }

    /// The civil days of a wanted column.
    ///
    /// # Errors
    /// As [`CheckedInput::instants`].
    pub(crate) fn days(
        &self,
        unit: &Unit,
        wanted: usize,
        array: &ArrayRef,
    ) -> Result<Vec<Day>, Error> {
        convert::days(array, &self.clock).map_err(|e| self.placed(unit, wanted, e))
    }

    /// A fault found by its values only, with the file and column it is in.
    fn placed(&self, unit: &Unit, wanted: usize, error: Error) -> Error {
        let Error::Faults(mut faults) = error else { return error };
        let checked = self.files.get(unit.file);
        let column = checked.and_then(|c| match c.origins.get(wanted)? {
            Origin::Column(position) => Some(c.schema.fields().get(*position)?.name()),
            _ => None,
        });
        for fault in &mut faults {
            fault.file = self.path(unit).to_path_buf();
            fault.place = column.map_or_else(String::new, |name| format!("column {name:?}"));
        }
        Error::Faults(faults)
    }

    /// The earliest and the latest instant of a column in a unit, by its statistics; `None` where
    /// they do not tell: there are none, values that stand for none are among them, or the column is
    /// text, whose order is not that of time.
    pub(crate) fn time_range(&self, unit: &Unit, wanted: usize) -> Option<(Instant, Instant)> {
        let (min, max) = self.statistics(unit, wanted)?;
        // Where the clock jumps, local times are not in the order of instants.
        let margin = match min.data_type() {
            DataType::Timestamp(_, Some(_)) => 0,
            DataType::Timestamp(_, None) | DataType::Date32 | DataType::Date64 => MICROS_PER_DAY,
            _ => return None,
        };
        let one = |array: &ArrayRef| -> Option<Instant> {
            let instants = convert::instants(array, &self.clock).ok()?;
            instants.first().copied().filter(|at| convert::is_plausible(*at))
        };
        let (min, max) = (one(&min)?, one(&max)?);
        // Statistics that contradict themselves tell nothing.
        (min <= max).then_some((min - margin, max + margin))
    }

    /// The only value of a text column in a unit, by its path or its statistics.
    pub(crate) fn constant(&self, unit: &Unit, wanted: usize) -> Option<String> {
        let checked = self.files.get(unit.file)?;
        if let Some(Origin::Partition(value)) = checked.origins.get(wanted) {
            return value.clone();
        }
        let (min, max) = self.statistics(unit, wanted)?;
        let (min, max) = (convert::display(Some(&min), 0)?, convert::display(Some(&max), 0)?);
        (min == max).then_some(min)
    }

    fn statistics(&self, unit: &Unit, wanted: usize) -> Option<(ArrayRef, ArrayRef)> {
        // They are bytes of the footer, which may be damaged.
        guarded(|| self.decoded_statistics(unit, wanted)).flatten()
    }

    fn decoded_statistics(&self, unit: &Unit, wanted: usize) -> Option<(ArrayRef, ArrayRef)> {
        let checked = self.files.get(unit.file)?;
        let footer = checked.footer.as_ref()?;
        let Some(Origin::Column(position)) = checked.origins.get(wanted) else { return None };
        let group = footer.metadata().row_groups().get(unit.row_group?)?;
        let name = footer.schema().fields().get(*position)?.name();
        let converter =
            StatisticsConverter::try_new(name, footer.schema(), footer.parquet_schema()).ok()?;
        let nulls = converter.row_group_null_counts([group]).ok()?;
        if nulls.is_empty() || arrow::array::Array::is_null(&nulls, 0) || nulls.value(0) > 0 {
            return None;
        }
        let exact = converter.row_group_is_min_value_exact([group]).ok()?;
        let exact_max = converter.row_group_is_max_value_exact([group]).ok()?;
        if !(exact.iter().flatten().all(|e| e) && exact_max.iter().flatten().all(|e| e)) {
            return None;
        }
        Some((converter.row_group_mins([group]).ok()?, converter.row_group_maxes([group]).ok()?))
    }

    /// Reads a unit batch by batch. `visit` gets one array per wanted column (`None` where the file
    /// lacks it) and the position of the batch's first row in the file.
    ///
    /// # Errors
    /// [`Error::Faults`] naming file and row group when the bytes cannot be decoded, and whatever
    /// `visit` returns.
    pub(crate) fn read(
        &self,
        unit: &Unit,
        mut visit: impl FnMut(&[Option<ArrayRef>], u64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Some(checked) = self.files.get(unit.file) else {
            return Err(Error::Bug("a unit of an unknown file".into()));
        };
        let roots = self.projected(checked);
        let fault = |problem: String| {
            Error::Faults(vec![Fault {
                file: checked.found.path.clone(),
                place: broken_place(checked, unit, &roots),
                problem,
                hint: "write the file again, or remove it from the input".into(),
            }])
        };
        let (Some(footer), Some(group)) = (&checked.footer, unit.row_group) else {
            return self.read_csv(checked, unit, &roots, visit);
        };
        let mut batches = parquet_batches(checked, footer, group, &roots).map_err(fault)?;
        let mut row = unit.first_row;
        loop {
            // The decoder's own bugs may panic on damaged input; that is a broken file.
            let next = match guarded(|| batches.next()) {
                Some(next) => next.transpose().map_err(|e| format!("cannot be decoded: {e}")),
                None => Err("its pages are damaged".to_owned()),
            };
            let Some(batch) = next.map_err(fault)? else { return Ok(()) };
            visit(&arrange(checked, &roots, &batch), row)?;
            row += batch.num_rows() as u64;
        }
    }

    fn read_csv(
        &self,
        checked: &CheckedFile,
        unit: &Unit,
        roots: &[usize],
        mut visit: impl FnMut(&[Option<ArrayRef>], u64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let path = &checked.found.path;
        let fault = |broken: Broken| Error::Faults(vec![broken.fault(path)]);
        let opened = csv::Opened::open(path, &self.dialect).map_err(fault)?;
        let mut rows = opened.rows(roots, BATCH_ROWS);
        let mut row = unit.first_row;
        while let Some(piece) = rows.next().map_err(fault)? {
            match piece {
                Piece::Refused(line) => {
                    self.refuse(path, row, line);
                    row += 1;
                }
                Piece::Batch(batch) => {
                    visit(&arrange(checked, roots, &batch), row)?;
                    row += batch.num_rows() as u64;
                }
            }
        }
        Ok(())
    }
}

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, arrow::error::ArrowError>>>;

fn parquet_batches(
    checked: &CheckedFile,
    footer: &ArrowReaderMetadata,
    group: usize,
    roots: &[usize],
) -> Result<Batches, String> {
    let file = File::open(&checked.found.path).map_err(|e| format!("cannot be read: {e}"))?;
    let bytes = file.metadata().map_err(|e| format!("cannot be read: {e}"))?.len();
    if bytes != checked.found.bytes {
        return Err("changed while it was being read".into());
    }
    let build = || -> Result<Batches, parquet::errors::ParquetError> {
        let options = ArrowReaderOptions::new().with_schema(checked.schema.clone());
        let metadata = ArrowReaderMetadata::try_new(footer.metadata().clone(), options)?;
        let ranges = chunks::ranges(&metadata, group, roots);
        if ranges.iter().map(|r| r.end - r.start).sum::<u64>() <= chunks::HELD_BYTES_MAX {
            let chunks = Chunks::read(&file, bytes, &ranges)?;
            pages::check(&Arc::new(chunks.clone()), &metadata, group, roots)?;
            return decoder(chunks, metadata, group, roots);
        }
        let file = Arc::new(file);
        pages::check(&file, &metadata, group, roots)?;
        let file = file.try_clone()?;
        decoder(file, metadata, group, roots)
    };
    guarded(build)
        .ok_or_else(|| "its pages are damaged".to_owned())?
        .map_err(|e| format!("cannot be decoded: {e}"))
}

fn decoder(
    reader: impl ChunkReader + 'static,
    metadata: ArrowReaderMetadata,
    group: usize,
    roots: &[usize],
) -> Result<Batches, parquet::errors::ParquetError> {
    let mask = ProjectionMask::roots(metadata.parquet_schema(), roots.iter().copied());
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(reader, metadata)
        .with_row_groups(vec![group])
        .with_projection(mask)
        .with_batch_size(BATCH_ROWS)
        .build()?;
    Ok(Box::new(reader))
}

/// Row group and, where one column alone cannot be decoded either, that column.
fn broken_place(checked: &CheckedFile, unit: &Unit, roots: &[usize]) -> String {
    let (Some(footer), Some(group)) = (&checked.footer, unit.row_group) else {
        return String::new();
    };
    let is_broken = |root: &&usize| {
        let Ok(mut batches) = parquet_batches(checked, footer, group, &[**root]) else {
            return true;
        };
        guarded(|| batches.any(|batch| batch.is_err())) != Some(false)
    };
    // Where every column is, the file is: naming one of them would mislead.
    let broken: Vec<&usize> = roots.iter().filter(is_broken).collect();
    let name = |root: &usize| checked.schema.fields().get(*root).map(|f| f.name().clone());
    match broken.as_slice() {
        [first, ..] if broken.len() < roots.len() || roots.len() == 1 => {
            let column = name(first).unwrap_or_default();
            format!("row group {group}, column {column:?}")
        }
        _ => format!("row group {group}"),
    }
}

/// The batch's arrays in the order of the wanted columns, partition values filled in.
fn arrange(checked: &CheckedFile, roots: &[usize], batch: &RecordBatch) -> Vec<Option<ArrayRef>> {
    let array = |origin: &Origin| match origin {
        Origin::Column(position) => {
            let index = roots.binary_search(position).ok()?;
            batch.columns().get(index).cloned()
        }
        Origin::Partition(value) => Some(constant_array(value.as_deref(), batch.num_rows())),
        Origin::Missing => None,
    };
    checked.origins.iter().map(array).collect()
}

fn constant_array(value: Option<&str>, rows: usize) -> ArrayRef {
    let keys = match value {
        Some(_) => Int32Array::from(vec![0; rows]),
        None => Int32Array::from(vec![None; rows]),
    };
    let values = Arc::new(StringArray::from(vec![value.unwrap_or("")]));
    DictionaryArray::<Int32Type>::try_new(keys, values).map_or_else(
        |_| arrow::array::new_null_array(&arrow::datatypes::DataType::Utf8, rows),
        |d| Arc::new(d),
    )
}
